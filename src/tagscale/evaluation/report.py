"""The study's report: one HTML file that needs nothing else, and the words and numbers it shows."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tagscale.data.partition import PARTS, Partition
from tagscale.evaluation import pictures
from tagscale.evaluation.compare import comparison, line_scale, tag_scores
from tagscale.evaluation.figures import COLOURS
from tagscale.evaluation.study import LABELS, LOWER_IS_BETTER, Study
from tagscale.evaluation.verdict import Verdict
from tagscale.files import read_json

# Stages that have run when the report is written, in the order of the data.
STAGES = ("synth", "catalog", "preprocess", "validate", "partition", "describe", "train", "evaluate")
NOTHING = "–"


@dataclass(frozen=True)
class StageTime:
    """Wall-clock seconds of a stage; of a matrix stage, the sum over its runs."""

    stage: str
    runs: int
    seconds: float


def render(study: Study, verdict: Verdict, *, dataset: str, partition: Partition, times: list[StageTime]) -> str:
    """The report as HTML without a single reference to anything outside it."""
    table = comparison(study)
    tags = tag_scores(study, study.largest)
    compared = [verdict.front_end, *([verdict.rival] if verdict.rival else [])]
    longest = max((time.seconds for time in times), default=0.0)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["names"] = lambda text: _coloured(str(text), study.everyone)
    return environment.get_template("report.html").render(
        study=study,
        verdict=verdict,
        dataset=dataset,
        labels=LABELS,
        colours=COLOURS,
        sizes=[_rows(rows, table) for _, rows in table.groupby("train_tracks", sort=True)],
        trend_basis=_trend_basis(study),
        largest_tracks=f"{table['train_tracks'].max():,}",
        compared=compared,
        pictures={
            "training_size": pictures.training_size(study),
            "groups": pictures.groups(study, tags),
            "tags": pictures.tags(tags, compared),
            "curves": pictures.learning_curves(study),
        },
        tag_tables=_tag_tables(study, tags),
        unscored=study.unscored.to_dict("records"),
        parts=_parts(partition),
        artists_apart=bool((partition.table.groupby("artist")["part"].nunique() == 1).all()),
        tags_learned=len(partition.tags),
        times=[
            {"stage": time.stage, "runs": time.runs, "words": duration(time.seconds)}
            | {"percent": round(100 * time.seconds / longest, 1) if longest else 0}
            for time in times
        ],
        total_time=duration(sum(time.seconds for time in times)),
    )


def read_times(folder: Path | None, runs: list[str]) -> list[StageTime]:
    """What the command line noted about the stages before this one; of matrix stages only the given runs."""
    notes: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for file in sorted(Path(folder).glob("*.json")) if folder is not None else []:
        try:
            note = read_json(file)
            stage, _, run = str(note["stage"]).partition("@")
            seconds = float(note["seconds"])
        except (ValueError, KeyError, TypeError):
            continue  # a side file that tells nothing is no reason to withhold the report
        if stage in notes and (not run or run in runs):
            notes[stage].append(seconds)
    return [StageTime(stage, len(seconds), sum(seconds)) for stage, seconds in notes.items() if seconds]


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(8.21), duration(200), duration(3900)
    ('8.2 s', '3.3 min', '1.1 h')
    """
    size, unit = (1, "s") if seconds < 60 else (60, "min") if seconds < 3600 else (3600, "h")
    return f"{seconds / size:.1f} {unit}"


def score_words(score: float) -> str:
    """A score with three decimals, or a dash where there is none."""
    return NOTHING if np.isnan(score) else f"{score:.3f}"


def _rows(rows: pd.DataFrame, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Cells of the rows of one size, as the template shows them."""
    tops = {m: table[f"test_{m}"].min() if m in LOWER_IS_BETTER else table[f"test_{m}"].max() for m in LABELS}
    shown = []
    for row in rows.to_dict("records"):
        scores = []
        for part in ("test", "valid"):
            for metric in LABELS:
                mean, deviation = row[f"{part}_{metric}"], row[f"{part}_{metric}_sd"]
                best = part == "test" and metric in str(row["best"]).split()
                marks = ["best"] * best + ["top"] * bool(best and mean == tops[metric])
                spread = "" if np.isnan(deviation) else f"{deviation:.3f}"
                scores.append({"mean": score_words(mean), "deviation": spread, "marks": " ".join(marks)})
        numbers = {key: f"{row[key]:,}" for key in ("train_tracks", "parameters")}
        shown.append({"model": row["model"], **numbers, "scores": scores, "seconds": duration(row["seconds"])})
    return shown


def _tag_tables(study: Study, tags: pd.DataFrame) -> list[dict[str, Any]]:
    """A table a kind of tags: the metrics of that kind, and one row a tag with its facts and every model's scores."""
    tables = []
    for kind, of_kind in tags.groupby("kind"):
        metrics = [metric for metric in LABELS if (metric in LOWER_IS_BETTER) == (kind == "regression")]
        rows = []
        for tag, of_tag in of_kind.groupby("tag", sort=False):
            by_model = {row["model"]: row for row in of_tag.to_dict("records")}
            facts = by_model[study.everyone[0]]
            scores = [score_words(by_model[model][metric]) for model in study.everyone for metric in metrics]
            counts = {key: f"{facts[key]:,}" for key in ("positives", "tracks")}
            rows.append({"tag": tag, "group": facts["group"], **counts, "scores": scores})
        tables.append({"kind": kind, "labels": [LABELS[metric] for metric in metrics], "rows": rows})
    return tables


def _parts(partition: Partition) -> list[dict[str, str]]:
    parts = []
    for part, name in zip(PARTS, ("Training", "Validation", "Test"), strict=True):
        rows = partition.table[partition.table["part"] == part]
        parts.append({"name": name, "tracks": f"{len(rows):,}", "artists": f"{rows['artist'].nunique():,}"})
    return parts


def _trend_basis(study: Study) -> str:
    """How the front-ends' lines were drawn."""
    sizes = study.runs["train_tracks"].nunique()
    if sizes < 3:
        return f"Means are joined; {sizes} size(s) are too few for a fitted line."
    axis = (
        "the logarithm of the number of tracks" if line_scale(study.runs["train_tracks"].to_list()) == "log" else "it"
    )
    return (
        f"A front-end's line is a straight line fitted over {axis}, as in figure 3 of Pons et al. (2018); "
        "the means of the baseline are joined by dashes."
    )


def _coloured(text: str, models: list[str]) -> Markup:
    """The text, with its models' names marked by their colours."""
    safe = str(escape(text))
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, models))})\b", re.IGNORECASE)
    return Markup(pattern.sub(lambda name: f'<span class="model {name[1].lower()}">{name[1]}</span>', safe))
