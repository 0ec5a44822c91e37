"""The files of a study's runs as tables: one row a run, one a run and tag, one a run and resample."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tagscale.evaluation.metrics import METRICS, PARTS
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import run_name

PER_TAG = ("tag", "group", "kind", "part", "positives", "tracks", *METRICS)
ENDS = tuple(f"{metric}_{end}" for metric in METRICS for end in ("low", "high"))  # of a tag's intervals
RESAMPLES = ("resample", *METRICS)
BOOTSTRAP = ("hash", "resamples", "confidence")
HISTORY = ("epoch", "train_loss", "valid_loss")
Record = dict[str, Any]  # what a run.json or metrics.json says, with its identity and folder


@dataclass(frozen=True)
class RunCell:
    """One cell of the grid."""

    model: str
    size: str
    seed: int
    baseline: bool

    @property
    def name(self) -> str:
        return run_name(self.model, self.size, self.seed)

    @property
    def command(self) -> str:
        """What makes this cell's run and result."""
        return f"dvc repro {'evaluate_baseline' if self.baseline else 'evaluate'}@{self.name}"


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


def read_csv(file: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A table with at least these columns. Raises TagscaleError where the file has not."""
    try:
        table = pd.read_csv(file, keep_default_na=False, na_values=[""])  # a tag may be called "none" or "NA"
    except (OSError, ValueError) as error:
        raise TagscaleError(f"{file}: cannot be read as a table ({error}). `dvc repro` makes it again.") from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise TagscaleError(f"{file}: column(s) {', '.join(missing)} missing; found {', '.join(table.columns)}.")
    return table


def read_tags(pair: Pair) -> pd.DataFrame:
    """per_tag.csv; the ends of intervals are NaN where it has none."""
    table = read_csv(pair[2]["folder"] / "per_tag.csv", PER_TAG)
    return table.assign(**{end: np.nan for end in ENDS if end not in table})


def read_resamples(pair: Pair) -> pd.DataFrame:
    """resamples.parquet. Raises TagscaleError where it is unreadable or does not match metrics.json."""
    file, expected = pair[2]["folder"] / "resamples.parquet", pair[2]["bootstrap"]["resamples"]
    remedy = f"`{pair[0].command}` makes it again."
    try:
        table = pd.read_parquet(file, columns=list(RESAMPLES))
    except (OSError, ValueError) as error:
        raise TagscaleError(f"{file}: cannot be read as resamples of the metrics ({error}). {remedy}") from None
    if len(table) != expected:
        raise TagscaleError(f"{file}: {len(table)} resamples, but metrics.json beside it says {expected}. {remedy}")
    return table


def unscored(results: Iterable[Record]) -> pd.DataFrame:
    """Part, tag and reason of every tag that a run could not be scored on."""
    rows = {
        (part, tag, reason) for result in results for part in PARTS for tag, reason in result["unscored"][part].items()
    }
    order = sorted(rows, key=lambda row: (PARTS.index(row[0]), row[1:]))
    return pd.DataFrame(order, columns=["part", "tag", "reason"])
