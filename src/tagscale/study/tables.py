"""The files of a study's runs as tables: one row a run, one a run and tag, one a run and resample."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NotRequired

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import FiniteFloat, NonNegativeInt
from typing_extensions import TypedDict

from tagscale.evaluation.decisions import DECISIONS, Decisions
from tagscale.evaluation.metrics import ARTISTS, GUESS, METRICS, OF_TAGS, PARTS, PER_GROUP
from tagscale.models.spec import stage_of
from tagscale.runtime.identity import ENSEMBLE, RunIdentity, command_of, run_name, run_output
from tagscale.runtime.reading import Output, Seal, parse_json
from tagscale.runtime.tables import csv_in, schema, table_in, wide_in

TEXT = ("tag", "group", "kind", "part")
ENDS = tuple(f"{metric}_{end}" for metric in OF_TAGS for end in ("low", "high"))  # of a tag's intervals
PER_TAG = (*TEXT, "positives", "tracks", ARTISTS, *OF_TAGS, GUESS, *ENDS)
RESAMPLES = ("resample", *METRICS)
CURVES = ("step", "train_loss", "valid_loss")
HISTORY = ("step", "train_loss", "valid_loss")
OF_GROUPS = ("group", "kind", "tags", "score", "low", "high")
Record = dict[str, Any]  # what a run.json or metrics.json says, with its folder
Scores = dict[str, FiniteFloat | None]  # by metric; None where nothing can be scored


class Bootstrap(TypedDict):
    """How the intervals of a result were made."""

    hash: str
    artists: NonNegativeInt
    resamples: NonNegativeInt
    confidence: FiniteFloat


class ResultFacts(TypedDict):
    """The content of metrics.json."""

    identity: RunIdentity
    valid: Scores
    test: Scores
    unscored: dict[str, dict[str, str]]
    bootstrap: NotRequired[Bootstrap | None]
    intervals: NotRequired[dict[str, dict[str, list[FiniteFloat | None]]]]  # by part and metric: low, high


def result_output(folder: Path) -> Output:
    """The folder of a run's results."""
    return Output(folder, "metrics.json", command_of("evaluate", folder))


@dataclass(frozen=True)
class RunCell:
    """One cell of the grid."""

    model: str
    size: str
    seed: int

    @property
    def name(self) -> str:
        return run_name(self.model, self.size, self.seed)

    @property
    def command(self) -> str:
        """What makes this cell's run and result."""
        stage = stage_of("evaluate", self.model)
        return f"dvc repro {stage}" if stage == ENSEMBLE else f"dvc repro {stage}@{self.name}"


Pair = tuple[RunCell, Record, Record]  # a cell, its run, its result


def run_row(cell: RunCell, run: Record, result: Record) -> dict[str, Any]:
    """The run's numbers as a row of `Study.runs`."""
    row: dict[str, Any] = {"model": cell.model, "size": cell.size, "seed": cell.seed}
    row |= {key: run[key] for key in ("train_tracks", "parameters", "seconds")}
    for part, metric in product(PARTS, METRICS):
        value = result[part].get(metric)
        row[f"{part}_{metric}"] = np.nan if value is None else float(value)
    return row


def stacked(pairs: list[Pair], read: Callable[[Pair], pd.DataFrame], columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """One table of the files of all runs; each row begins with its run's model, size and seed.

    columns: the table's columns where there is no run.
    """
    if not pairs:
        return pd.DataFrame(columns=["model", "size", "seed", *columns])
    frames = []
    for pair in pairs:
        frame = read(pair)
        for place, key in enumerate(("model", "size", "seed")):
            frame.insert(place, key, getattr(pair[0], key))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def read_history(pair: Pair) -> pd.DataFrame:
    """history.csv: a row a validation. Raises Damaged.

    `kept` says whether the run has the weights of that validation; no row of a run in folds, which has several models'.
    """
    history = csv_in(run_output(pair[1]["folder"]), "history.csv", (), HISTORY)
    return history.assign(kept=history["step"] == pair[1].get("kept_step"))


def read_tags(pair: Pair) -> pd.DataFrame:
    """per_tag.csv; the ends of intervals are NaN where the results have none. Raises Damaged."""
    return csv_in(result_output(pair[2]["folder"]), "per_tag.csv", TEXT, PER_TAG[len(TEXT) :])


def read_groups(folder: Path) -> pd.DataFrame:
    """per_group.csv; no rows where the results have no intervals. Raises Damaged."""
    output = result_output(folder)
    if not (folder / PER_GROUP).exists() and PER_GROUP not in output.facts(Seal).get("files", {}):
        return pd.DataFrame(columns=list(OF_GROUPS))
    return csv_in(output, PER_GROUP, OF_GROUPS[:2], OF_GROUPS[2:])


def read_resamples(pair: Pair) -> pd.DataFrame:
    """resamples.parquet. Raises Damaged, also where it does not match metrics.json."""
    output, expected = result_output(pair[2]["folder"]), pair[2]["bootstrap"]["resamples"]
    columns = schema(resample="whole", **dict.fromkeys(METRICS, "number?"))
    table = table_in(output, "resamples.parquet", columns)
    if len(table) != expected:
        raise output.damaged("resamples.parquet", f"{len(table)} resamples, but metrics.json beside it says {expected}")
    return table


def read_predictions(folder: Path) -> tuple[pd.Series, pd.DataFrame]:
    """predictions.parquet of a run's results: every track's part, and its score of every tag, both by track_id.

    Raises:
        Damaged: the file is missing or not as evaluate wrote it.
    """
    keys, scores = wide_in(
        result_output(folder), "predictions.parquet", schema(track_id="text", part="text"), pa.float32()
    )
    return keys.set_index("track_id")["part"], scores.set_index(pd.Index(keys["track_id"]))


def read_decisions(folder: Path) -> Decisions | None:
    """decisions.json of a run's results; None where they have none. Raises Damaged where it is not as written."""
    output = result_output(folder)
    if not (folder / DECISIONS).exists() and DECISIONS not in output.facts(Seal).get("files", {}):
        return None
    return parse_json(output.content(DECISIONS), folder / DECISIONS, Decisions, output.command)


def unlearned(runs: Iterable[Record]) -> pd.DataFrame:
    """Training tracks, tag and reason of every tag that the training tracks of a run say nothing about."""
    rows = {(run["train_tracks"], tag, reason) for run in runs for tag, reason in run.get("unlearned", {}).items()}
    return pd.DataFrame(sorted(rows), columns=["train_tracks", "tag", "reason"])


def unscored(results: Iterable[Record]) -> pd.DataFrame:
    """Part, tag and reason of every tag that a run could not be scored on."""
    rows = {
        (part, tag, reason) for result in results for part in PARTS for tag, reason in result["unscored"][part].items()
    }
    order = sorted(rows, key=lambda row: (PARTS.index(row[0]), row[1:]))
    return pd.DataFrame(order, columns=["part", "tag", "reason"])
