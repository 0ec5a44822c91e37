"""The study's report: one self-contained HTML file, and the words and numbers that it shows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from pydantic import FiniteFloat
from typing_extensions import TypedDict

from tagscale.evaluation.bootstrap import FEWEST_ARTISTS
from tagscale.evaluation.metrics import ARTISTS, METRICS, NOTHING, Metric, Shown, metrics_of, shown_in
from tagscale.models.spec import label_of
from tagscale.params.blocks import RegistryParams
from tagscale.params.stage_names import STAGES
from tagscale.partition.divide import PARTS, Partition
from tagscale.report import pictures
from tagscale.report.appearance import colour_of, outline_of
from tagscale.report.templates import templates
from tagscale.report.words import TERMS, Meaning, coverage, directions, duration, interval_words, rate_words
from tagscale.runtime.reading import Damaged, read_json
from tagscale.runtime.words import at_start, listed
from tagscale.study.advice import advice
from tagscale.study.answers import answers
from tagscale.study.compare import first_metrics, groups_of, tag_scores
from tagscale.study.grid import Study
from tagscale.study.laws import FEWEST, REACH
from tagscale.study.paper_rows import Section
from tagscale.study.qualitative import Qualitative, exclusive_words, popularity_words
from tagscale.study.verdict import Verdict

THIN = "†"  # beside the number of artists of a tag that has too few for an interval
MEANINGS = {key: Meaning(metric.label, metric.definition) for key, metric in METRICS.items()} | TERMS


class Note(TypedDict):
    """A file in the folder of timings."""

    stage: str
    seconds: FiniteFloat


@dataclass(frozen=True)
class StageTime:
    """Wall-clock seconds of a stage; of a matrix stage, the sum over its runs."""

    stage: str
    runs: int
    seconds: float


def render(
    study: Study,
    verdict: Verdict,
    *,
    dataset: str,
    partition: Partition,
    times: list[StageTime],
    heard: Qualitative | None = None,
    paper: Sequence[Section] = (),
    registry: RegistryParams | None = None,
    mlflow: str | None = None,
) -> str:
    """The report as HTML, which loads nothing from outside it.

    Args:
        heard: the tables of qualitative.py; None leaves their two sections out.
        paper: the paper's tables on the study's dataset, with the rows that the study has
        registry: see `answers`
        mlflow: address of the page of the trainings, which the report links
    """
    table = study.comparison.assign(rate=training_rates(study))
    metrics = first_metrics(study)
    tags, scored = tag_scores(study, study.largest), _scored(table, metrics)
    longest = max((time.seconds for time in times), default=0.0)
    environment = templates()
    environment.filters["names"] = lambda text: _coloured(str(text), study.everyone)
    environment.filters |= {"name": label_of, "at_start": at_start}
    environment.filters["number"] = lambda value: NOTHING if np.isnan(value) else f"{value:.2f}"
    return environment.get_template("page.html").render(
        study=study,
        verdict=verdict,
        dataset=dataset,
        answers=answers(study, registry),
        mlflow=mlflow,
        steps=_steps(study),
        meanings=MEANINGS,
        linked=set(),
        kinds=set(study.tags["kind"]),
        directions=directions(metrics),
        coverage=coverage(metrics),
        whiskers=f"Whiskers: {study.confidence:.0%} intervals." if study.intervals else "",
        looks={model: {"colour": colour_of(model), "outline": outline_of(model)} for model in study.everyone},
        rates=bool(table["rate"].notna().any()),
        intervals=study.intervals,
        confidence=f"{study.confidence:.0%}",
        scored=scored,
        sizes=_sizes(table, scored),
        further=_further(table),
        trend_basis=_trend_basis(study),
        largest_tracks=f"{table['train_tracks'].max():,}",
        chosen=_chosen(study, verdict),
        pictures={
            "training_size": pictures.training_size(study),
            "groups": pictures.groups(groups_of(study, study.largest), verdict.shown),
            "tags": pictures.tags(tags, verdict.compared),
            "curves": pictures.learning_curves(study, study.front_ends or study.with_curves),
            "published_curves": pictures.learning_curves(study, study.published if study.front_ends else []),
        },
        heard=_heard(study, verdict, heard),
        paper=paper,
        tag_tables=_tag_tables(study, tags),
        unscored=study.unscored.to_dict("records"),
        unlearned=study.unlearned.to_dict("records"),
        parts=_parts(partition),
        folds=partition.folds,
        artists_apart=bool((partition.table.groupby("artist")["part"].nunique() == 1).all()),
        tags_learned=len(partition.tags),
        times=[
            {"stage": time.stage, "runs": time.runs, "words": duration(time.seconds)}
            | {"percent": round(100 * time.seconds / longest, 1) if longest else 0}
            for time in times
        ],
        total_time=duration(sum(time.seconds for time in times)),
    )


def read_times(folder: Path | None, items: list[str]) -> list[StageTime]:
    """The times of the stages before compare that the command line noted.

    Args:
        items: of matrix stages, the times of these runs or models
    """
    notes: dict[str, list[float]] = {stage: [] for stage in STAGES[: STAGES.index("compare")]}
    for file in sorted(Path(folder).glob("*.json")) if folder is not None else []:
        try:
            note = read_json(file, Note, "dvc repro")
        except Damaged:
            continue  # a damaged side file does not stop the report
        stage, _, item = note["stage"].partition("@")
        if stage in notes and (not item or item in items):
            notes[stage].append(note["seconds"])
    return [StageTime(stage, len(seconds), sum(seconds)) for stage, seconds in notes.items() if seconds]


def training_rates(study: Study) -> np.ndarray:
    """Patches a second in training, for every row of the comparison: mean over its runs' curves, NaN where unknown."""
    rows = study.comparison[["model", "size"]]
    if "patches_per_second" not in study.curves:
        return np.full(len(rows), np.nan)
    means = study.curves.groupby(["model", "size"])["patches_per_second"].mean()
    return means.reindex(pd.MultiIndex.from_frame(rows)).to_numpy(float)


def _steps(study: Study) -> list[dict[str, Any]]:
    """The options of what to do next over the recommended model, with their gains in words."""
    told = advice(study, study.recommended)
    return [
        {"what": option.what, "known": option.known, "gain": option.words(told.metric), "seconds": option.seconds}
        | {"time": NOTHING if np.isnan(option.seconds) else duration(option.seconds)}
        for option in told.options
    ]


def _scored(table: pd.DataFrame, metrics: list[Metric]) -> list[dict[str, Any]]:
    """The parts in the first table, each with the metrics; on the test part frequent tags stand beside all tags."""
    test = []
    for metric in metrics:
        frequent = [one for one in METRICS.values() if one.of == metric.key and metric.main]
        test += [metric, *(one for one in frequent if table[f"test_{one.key}"].notna().any())]
    return [
        {"name": "Test", "part": "test", "metrics": test},
        {"name": "Validation", "part": "valid", "metrics": metrics},
    ]


def _further(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The tables of the other metrics, those that some run has; test part only."""
    tables: dict[Shown, str] = {"decisions": "Decisions", "averages": "Other averages"}
    further = []
    for shown, title in tables.items():
        metrics = [metric for metric in shown_in(shown) if table[f"test_{metric.key}"].notna().any()]
        if metrics:
            scored = [{"name": "Test", "part": "test", "metrics": metrics}]
            rows = _sizes(table, scored)
            further.append({"title": title, "scored": scored, "directions": directions(metrics), "sizes": rows})
    return further


def _sizes(table: pd.DataFrame, scored: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Rows of each training size, the smallest first."""
    return [_rows(rows, table, scored) for _, rows in table.groupby("train_tracks", sort=True)]


def _rows(rows: pd.DataFrame, table: pd.DataFrame, scored: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cells of the rows of one size, as the template shows them."""
    columns = [(part["part"], metric) for part in scored for metric in part["metrics"]]
    tops = {one.key: one.words(one.sign * (one.sign * table[f"test_{one.key}"]).max()) for _, one in columns}
    shown = []
    for row in rows.to_dict("records"):
        scores = []
        for part, metric in columns:
            key = metric.key
            best = part == "test" and key in str(row["best"]).split()
            marks = ["best"] * best + ["top"] * bool(best and metric.words(row[f"test_{key}"]) == tops[key])
            scores.append(_cell(row, metric, f"{part}_{key}", " ".join(marks)))
        numbers = {key: f"{row[key]:,}" for key in ("train_tracks", "parameters")}
        ends = {"seconds": row["seconds"], "time": duration(row["seconds"]), "rate": rate_words(row["rate"])}
        shown.append({"model": row["model"], **numbers, "scores": scores, **ends})
    return shown


def _cell(row: dict[Any, Any], metric: Metric, column: str, marks: str = "") -> dict[str, str]:
    """A score, its interval, its standard deviation over seeds and the interval of that; "" for what it has not."""
    intervals = {
        name: interval_words(row.get(f"{column}{ends}_low", np.nan), row.get(f"{column}{ends}_high", np.nan), metric)
        for name, ends in (("interval", ""), ("seeds", "_seeds"))
    }
    deviation = row.get(f"{column}_sd", np.nan)
    words = "" if np.isnan(deviation) else metric.words(deviation)
    return {"mean": metric.words(row[column]), "deviation": words, "marks": marks, **intervals}


def _tag_tables(study: Study, tags: pd.DataFrame) -> list[dict[str, Any]]:
    """A table for each kind of tags: the kind's metrics, and a row a tag with its facts and every model's scores."""
    tables = []
    for kind, of_kind in tags.groupby("kind"):
        metrics = [metric for metric in metrics_of(str(kind)) if metric.shown == "scores"]
        rows = []
        for tag, of_tag in of_kind.groupby("tag", sort=False):
            by_model = {row["model"]: row for row in of_tag.to_dict("records")}
            facts = by_model[study.everyone[0]]
            scores = [_cell(by_model[model], metric, metric.key) for model in study.everyone for metric in metrics]
            counts = {key: f"{facts[key]:,}" for key in ("positives", "tracks")}
            rows.append({"tag": tag, "group": facts["group"], **counts, "artists": _artists(facts), "scores": scores})
        thin = THIN if (of_kind[ARTISTS] < FEWEST_ARTISTS).any() else ""
        tables.append({"kind": kind, "metrics": metrics, "thin": thin, "rows": rows})
    return tables


def _artists(facts: Mapping[Any, Any]) -> str:
    """By how many artists a tag's tracks are, marked where that is too few for an interval."""
    count = facts[ARTISTS]
    return NOTHING if np.isnan(count) else f"{count:.0f}{THIN if count < FEWEST_ARTISTS else ''}"


def _parts(partition: Partition) -> list[dict[str, Any]]:
    """Name, tracks and artists of every part, or of every fold."""
    names = dict(zip(PARTS, ("Training", "Validation", "Test"), strict=True))
    parts = []
    for part in partition.parts:
        rows = partition.table[partition.table["part"] == part]
        name = names.get(part, part.capitalize().replace("-", " "))
        parts.append({"name": name, "tracks": len(rows), "artists": rows["artist"].nunique()})
    return parts


def _trend_basis(study: Study) -> str:
    """How the front-ends' lines are drawn."""
    sizes = study.runs["train_tracks"].nunique()
    if sizes < FEWEST:
        joined = "Means are joined" if sizes > 1 else "There is no line"
        return f"{joined}: a fitted law takes {FEWEST} sizes, and this study has {sizes}."
    laws = (
        ""
        if not study.intervals
        else (
            "A front-end's line is its fitted law, score = limit - rise · tracks^-exponent, with a band, dotted where "
            f"nothing was measured, up to {REACH} times the largest size. "
        )
    )
    return f"{laws}Means of other models are joined by dashes, and those of a front-end that no law describes by lines."


def _chosen(study: Study, verdict: Verdict) -> str:
    """Which models a figure shows that has no room for all; "" where it shows all."""
    kinds = {
        "the {}best front-end{}": study.front_ends,
        "the {}best pretrained encoder{}": study.pretrained,
        "the {}best published baseline{}": study.published,
        "the {}best baseline{} on descriptors": study.baselines,
        "the {}best ensemble{}": study.ensembles,
    }
    groups = []
    for words, models in kinds.items():
        count = len([model for model in models if model in verdict.shown])
        if count:
            groups.append(words.format("two " if count == 2 else "", "s" if count == 2 else ""))
    others = len(study.everyone) - len(verdict.shown)
    rest = "the other one is" if others == 1 else f"the other {others} are"
    return f"Shown: {listed(groups)}; {rest} in the tables." if others else ""


def _heard(study: Study, verdict: Verdict, heard: Qualitative | None) -> dict[str, Any] | None:
    """What the two sections on listening show; None without tables."""
    if heard is None:
        return None
    models = [verdict.front_end, *([verdict.rival] if verdict.rival else [])]
    shown: dict[str, Any] = {
        "popularity": popularity_words(heard, models),
        "popularity_pictures": pictures.popularity(heard, verdict.shown),
        "models": heard.models.to_dict("records"),
        "exclusive": exclusive_words(heard, verdict.front_end, verdict.rival if study.baselines else None),
    }
    if shown["exclusive"]:
        shown["exclusive_pictures"] = pictures.exclusive(heard, verdict.shown)
        shown["pairs"] = _worst_pairs(heard, verdict.shown)
    return shown


def _worst_pairs(heard: Qualitative, models: list[str], count: int = 12) -> list[dict[str, Any]]:
    """The pairs of exclusive tags that the models predict together most often, in tracks (mean over seeds)."""
    table = heard.pairs[heard.pairs["model"].isin(models)]
    about = ["set", "first", "second", "tracks", "labelled"]
    wide = table.pivot(index=about, columns="model", values="predicted")[models]
    worst = wide.assign(most=wide.sum(axis=1)).sort_values("most", ascending=False, kind="stable").query("most > 0")
    return [
        {key: row[key] for key in about} | {"predicted": [f"{row[model]:.3g}" for model in models]}
        for row in worst.head(count).reset_index().to_dict("records")
    ]


def _coloured(text: str, models: list[str]) -> Markup:
    """The text, with its models' names marked by their colours and `commands` as code."""
    safe = re.sub("`(.+?)`", r"<code>\1</code>", str(escape(text)))
    keys = {str(escape(label_of(model))).lower(): model for model in models}
    longest_first = sorted(keys, key=len, reverse=True)  # "multi-scale SampleCNN" before "SampleCNN"
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, longest_first))})\b", re.IGNORECASE)
    return Markup(pattern.sub(lambda name: f'<span class="model {keys[name[1].lower()]}">{name[1]}</span>', safe))
