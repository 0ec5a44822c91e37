"""The results of one run: from its scores of the validation and test tracks to the folder that `study` reads.

Every stage that scores tracks, in whatever way, ends here.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from tagscale import tracking
from tagscale.catalog.tables import Catalog
from tagscale.evaluation.bootstrap import Draw, Resampled, centred, draw, interval, resampled_metrics
from tagscale.evaluation.metrics import METRICS, PARTS, TagMetrics
from tagscale.evaluation.metrics import evaluate as evaluate_tags
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.runtime.files import replacing, seal
from tagscale.runtime.identity import RunFacts, RunIdentity
from tagscale.runtime.tables import write_csv, write_table, write_wide

ENDS = ("low", "high")
DIGITS = 6  # of the numbers in metrics.json and per_tag.csv
RESAMPLES_DIGITS = 9  # in resamples.parquet: fewer than the order of a sum changes, so the file has the same bytes


def scored_tracks(parts: Partition) -> list[str]:
    """The tracks that every run is scored on, part by part, in the order of predictions.parquet."""
    return [track for part in PARTS for track in parts.tracks(part)]


def write_results(
    params: Params, scores: pd.DataFrame, data: Catalog, parts: Partition, facts: RunFacts, *, run: Path, results: Path
) -> None:
    """Write the folder `results`: predictions.parquet, per_tag.csv and metrics.json; log the metrics to the run.

    With evaluate.resamples, also resamples.parquet: the means over the tags in every bootstrap resample of the test
    part's artists, centred on the scores. The resamples depend on the partition alone. So they hold the same artists in
    every run, and runs can be compared resample by resample. Their percentiles are the intervals in the other files.

    Args:
        scores: in [0, 1], index track_id with all of `scored_tracks`, a column a tag with all tags of the partition
        facts: those of the run: its identity, its training tracks and its parameters
        run: its folder
    """
    identity = facts["identity"]
    tracks = {part: parts.tracks(part) for part in PARTS}
    scores = scores.loc[scored_tracks(parts), parts.tags]
    tags = data.tags.loc[parts.tags]
    regression = (tags["kind"] == "regression").to_numpy()
    arrays = {
        part: (data.labels.loc[ids, parts.tags].to_numpy(), scores.loc[ids].to_numpy(), regression)
        for part, ids in tracks.items()
    }
    metrics = {part: evaluate_tags(*arrays[part]) for part in PARTS}
    certainty = None
    if params.evaluate.resamples:
        draws = draw(_artists(parts, tracks["test"]), params.evaluate.resamples, parts.hash)
        resampled = resampled_metrics(*arrays["test"], draws)
        certainty = Certainty(draws, metrics["test"], resampled, params.evaluate.confidence)
    numbers: dict[str, Any] = {"identity": identity.as_dict()}
    numbers |= {"train_tracks": facts["train_tracks"], "parameters": facts["parameters"]}
    numbers |= {part: {key: _rounded(value) for key, value in metrics[part].macro().items()} for part in PARTS}
    numbers["unscored"] = {part: _unscored(parts.tags, metrics[part]) for part in PARTS}
    numbers |= certainty.facts() if certainty else {}
    keys = pd.DataFrame({"track_id": scores.index, "part": np.repeat(PARTS, [len(tracks[part]) for part in PARTS])})
    per_tag = [_table(part, tags, metrics[part], certainty if part == "test" else None) for part in PARTS]
    with replacing(results) as fresh:
        fresh.mkdir()
        write_wide(keys, scores, fresh / "predictions.parquet")
        table = pd.concat(per_tag)
        write_csv(table, fresh / "per_tag.csv", float_format=f"%.{DIGITS}f")
        if certainty:
            write_table(certainty.table(), fresh / "resamples.parquet")
        seal(fresh, "metrics.json", numbers)
    with tracking.find_run(params.tracking.experiment, identity, run) as tracked:
        log_results(tracked, numbers, results)
    _print_scores(identity, numbers, len(tracks["test"]))


def log_results(tracked: tracking.TrackedRun, numbers: dict[str, Any], results: Path) -> None:
    """Log the contents of metrics.json (`numbers`), and the files, to the run's MLflow run."""
    tracked.log_metrics(metrics_in(numbers))
    for file in ("metrics.json", "per_tag.csv"):
        tracked.log_artifacts(results / file, "results")


def metrics_in(numbers: dict[str, Any]) -> dict[str, float | None]:
    """The contents of metrics.json as MLflow's metrics: {"test_pr_auc": 0.41, "test_pr_auc_low": 0.38, ...}."""
    ends = {
        f"test_{key}_{end}": value
        for key, interval in _intervals(numbers).items()
        for end, value in zip(ENDS, interval, strict=True)
    }
    return {f"{part}_{key}": numbers[part][key] for part in PARTS for key in METRICS} | ends


def _intervals(numbers: dict[str, Any]) -> dict[str, list[float | None]]:
    """The ends of the test metrics' intervals in the contents of metrics.json; {} without resamples."""
    intervals: dict[str, list[float | None]] = numbers.get("intervals", {}).get("test", {})
    return intervals


class Certainty:
    """How sure the metrics of the test part are: what its resamples say, with intervals of one confidence."""

    def __init__(self, draws: Draw, metrics: TagMetrics, resampled: Resampled, confidence: float) -> None:
        self.draws, self.metrics, self.resampled, self.confidence = draws, metrics, resampled, confidence
        scores = metrics.macro()
        self.macro = {key: centred(means, scores[key], METRICS[key].bounds) for key, means in resampled.macro().items()}

    def facts(self) -> dict[str, Any]:
        """For metrics.json: the intervals of the means, and how they were made."""
        ends = {key: interval(means, self.confidence) for key, means in self.macro.items()}
        return {
            "intervals": {"test": {key: [_rounded(end) for end in both] for key, both in ends.items()}},
            "bootstrap": {
                "artists": len(self.draws.counts),
                "resamples": self.draws.resamples,
                "confidence": self.confidence,
                "hash": self.draws.hash,
            },
        }

    def table(self) -> pd.DataFrame:
        """For resamples.parquet: the centred means over the tags, a row a resample."""
        return pd.DataFrame({"resample": np.arange(self.draws.resamples)} | self.macro).round(RESAMPLES_DIGITS)

    def of_tags(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends of every tag's interval."""
        return self.resampled.intervals(metric, self.metrics[metric], self.confidence)


def _artists(parts: Partition, tracks: list[str]) -> list[str]:
    artists: list[str] = parts.table.set_index("track_id")["artist"].loc[tracks].tolist()
    return artists


def _table(part: str, tags: pd.DataFrame, metrics: TagMetrics, certainty: Certainty | None) -> pd.DataFrame:
    """Rows of per_tag.csv."""
    columns: dict[str, Any] = {"positives": metrics.positives, "tracks": metrics.tracks} | metrics.values
    for key in METRICS:
        low, high = certainty.of_tags(key) if certainty else (np.nan, np.nan)
        columns |= {f"{key}_low": low, f"{key}_high": high}
    table = tags[["group", "kind"]].rename_axis("tag").reset_index().assign(part=part)
    return table.assign(**columns)


def _unscored(tags: list[str], metrics: TagMetrics) -> dict[str, str]:
    return {tag: reason for tag, reason in zip(tags, metrics.reasons, strict=True) if reason is not None}


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, DIGITS)


def _print_scores(identity: RunIdentity, numbers: dict[str, Any], tracks: int) -> None:
    words = []
    for key, metric in METRICS.items():
        value, (low, high) = numbers["test"][key], _intervals(numbers).get(key, (None, None))
        if value is not None:
            ends = "" if low is None or high is None else f" ({metric.words(low)} to {metric.words(high)})"
            words.append(f"{metric.label} {metric.words(value)}{ends}")
    unscored = len(numbers["unscored"]["test"])
    left_out = f"; {unscored} tags could not be scored" if unscored else ""
    Console().print(
        f"{identity.name} on {tracks} test tracks: {', '.join(words)}{left_out}", highlight=False, soft_wrap=True
    )
