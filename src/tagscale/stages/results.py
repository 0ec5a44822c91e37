"""The results of one run: from its scores of the validation and test tracks to the folder that `study` reads.

Every stage that scores tracks, in whatever way, ends here.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tagscale import tracking
from tagscale.catalog.tables import Catalog
from tagscale.evaluation.bootstrap import (
    Draw,
    Resampled,
    centred,
    draw,
    interval,
    resampled_metrics,
    standard_error,
)
from tagscale.evaluation.calibration import learn, learn_without
from tagscale.evaluation.decisions import DECISIONS, OfFolds, OfTags
from tagscale.evaluation.metrics import (
    ARTISTS,
    GUESS,
    METRICS,
    OF_TAGS,
    PARTS,
    PER_GROUP,
    TagMetrics,
    guess,
    main_metric,
    mean_of_known,
    precision_recall,
    shown_in,
)
from tagscale.evaluation.metrics import evaluate as evaluate_tags
from tagscale.params.blocks import ThresholdRule, WantedPrecision
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing, seal, write_json
from tagscale.runtime.identity import RunFacts, RunIdentity, command_of
from tagscale.runtime.tables import write_csv, write_table, write_wide
from tagscale.runtime.words import counted

ENDS = ("low", "high")
FOLDS = "folds.csv"
SHOWN = 10  # tags in a line
DIGITS = 6  # of the numbers in metrics.json and per_tag.csv
RESAMPLES_DIGITS = 9  # in resamples.parquet: fewer than the order of a sum changes, so the file has the same bytes


def check_same_data(run: Path, identity: RunIdentity, parts: Partition) -> None:
    """A run may be tested only on the partition that it was trained on: in another one it knows test tracks."""
    present = {"dataset_hash": parts.data_hash, "partition_hash": parts.hash}
    for key, value in present.items():
        if getattr(identity, key) != value:
            raise TagscaleError(
                f"{Path(run) / 'run.json'}: {key} {getattr(identity, key)}, but the present one is {value}. The run "
                "may have learned from tracks that are now test tracks: train it again "
                f"(`{command_of('train', identity.name)}`)."
            )


def scored_tracks(parts: Partition) -> list[str]:
    """The tracks that every run is scored on, part by part, in the order of predictions.parquet.

    With folds each track is in it twice: as a validation track of one fold's model, and as a test track of another's.
    """
    return [track for part in PARTS for track in parts.tracks(part)]


def pool_folds(parts: Partition, score: Callable[[str, Partition], pd.DataFrame]) -> pd.DataFrame:
    """The scores of `scored_tracks(parts)`, where each fold's model scores its own validation and test tracks.

    Args:
        score: takes a fold's name and its partition, or "" and `parts` where there are no folds; returns the scores of
            `scored_tracks` of that partition, in this order
    """
    scores = {name: (view, score(name, view)) for name, view in parts.views().items()}
    pooled = [
        pd.concat([_of_part(table, view, part) for view, table in scores.values()]).loc[parts.tracks(part)]
        for part in PARTS
    ]
    return pd.concat(pooled)


def _of_part(scores: pd.DataFrame, parts: Partition, part: str) -> pd.DataFrame:
    """The rows of one part in the scores of `scored_tracks(parts)`."""
    first = sum(len(parts.tracks(earlier)) for earlier in PARTS[: PARTS.index(part)])
    return scores.iloc[first : first + len(parts.tracks(part))]


def write_results(
    params: Params, scores: pd.DataFrame, data: Catalog, parts: Partition, facts: RunFacts, *, run: Path, results: Path
) -> None:
    """Write the folder `results`: predictions.parquet, per_tag.csv and metrics.json; log the metrics to the run.

    Each tag's calibration and threshold are learned on the validation part, and kept in decisions.json. So the metrics
    that rest on them are those of unseen tracks in the test part alone.

    With evaluate.resamples, also resamples.parquet: the means over the tags in every bootstrap resample of the test
    part's artists, centred on the scores. The resamples depend on the partition alone. So they hold the same artists in
    every run, and runs can be compared resample by resample. Their spread gives the intervals in the other files. And
    per_group.csv, the means of the groups of tags with such intervals.

    With folds, all these numbers are of all tracks, every track once in each part; areas under curves compare those of
    a fold (`evaluation.metrics`), and a fold's test tracks are decided by what the others' validation scores taught.
    decisions.json is for the mean of the folds' models, which is less sure than each of them: it is learned on the
    means of two, of those that did not hear a track, one validated and one tested on it. folds.csv has the metrics of
    each fold by itself, and metrics.json their mean and standard deviation.

    Args:
        scores: in [0, 1], index track_id as `scored_tracks` gives them, a column a tag with all tags of the partition
        facts: those of the run: its identity, its training tracks and its parameters
        run: its folder
    """
    identity, evaluation = facts["identity"], params.evaluate
    tracks = {part: parts.tracks(part) for part in PARTS}
    scores = scores[parts.tags]
    tags = data.tags.loc[parts.tags]
    regression = (tags["kind"] == "regression").to_numpy()
    arrays = {
        part: (data.labels.loc[ids, parts.tags].to_numpy(), _of_part(scores, parts, part).to_numpy(), regression)
        for part, ids in tracks.items()
    }
    rule, (labels, valid_scores, _) = evaluation.thresholds, arrays["valid"]
    decisions = learn(*arrays["valid"], parts.tags, rule)
    fold = {part: parts.fold_of(ids) for part, ids in tracks.items()}
    applied: dict[str, OfTags | OfFolds] = dict.fromkeys(PARTS, decisions.of(parts.tags))
    if parts.folds:
        applied["test"] = learn_without(*arrays["valid"], parts.tags, rule, fold["valid"])
        means = (valid_scores + arrays["test"][1]) / 2  # both parts have all tracks, each by two models in turn
        decisions = learn(labels, means, regression, parts.tags, rule)
    kept = decisions.of(parts.tags)
    metrics = {
        part: evaluate_tags(*arrays[part], applied[part], parts.artist_of(ids), fold[part])
        for part, ids in tracks.items()
    }
    certainty = None
    if evaluation.resamples:
        draws = draw(parts.about(tracks["test"], "artist"), evaluation.resamples, parts.hash)
        resampled = resampled_metrics(*arrays["test"], draws, decisions=applied["test"], fold=fold["test"])
        certainty = Certainty(draws, metrics["test"], resampled, evaluation.confidence)
    numbers: dict[str, Any] = {"identity": identity.as_dict()}
    numbers |= {"train_tracks": facts["train_tracks"], "parameters": facts["parameters"]}
    numbers |= {part: {key: _rounded(value) for key, value in metrics[part].overall().items()} for part in PARTS}
    numbers["unscored"] = {
        part: {tag: reason for tag, reason in zip(parts.tags, metrics[part].reasons, strict=True) if reason is not None}
        for part in PARTS
    }
    numbers |= certainty.facts() if certainty else {}
    by_fold = _by_fold(scores, data, parts, applied) if parts.folds else None
    numbers |= {"folds": _spread(by_fold)} if by_fold is not None else {}
    keys = pd.DataFrame({"track_id": scores.index, "part": np.repeat(PARTS, [len(tracks[part]) for part in PARTS])})
    per_tag = [
        _table(part, tags, metrics[part], of_part, kept, applied[part], arrays[part], fold[part])
        for part, of_part in zip(PARTS, (None, certainty), strict=True)
    ]
    with replacing(results) as fresh:
        fresh.mkdir()
        write_wide(keys, scores, fresh / "predictions.parquet")
        table = pd.concat(per_tag)
        write_csv(table, fresh / "per_tag.csv", float_format=f"%.{DIGITS}f")
        if certainty:
            write_table(certainty.table(), fresh / "resamples.parquet")
            write_csv(certainty.of_groups(tags), fresh / PER_GROUP, float_format=f"%.{DIGITS}f")
        if by_fold is not None:
            write_csv(by_fold, fresh / FOLDS, float_format=f"%.{DIGITS}f")
        write_json(fresh / DECISIONS, decisions.model_dump())
        seal(fresh, "metrics.json", numbers)
    with tracking.find_run(params.tracking.experiment, identity, run) as tracked:
        log_results(tracked, numbers, results)
    _print_scores(identity, numbers, len(tracks["test"]))
    if never := [tag for tag, decision in decisions.tags.items() if decision.threshold is None]:
        print(_never_decided(never, len(decisions.tags), evaluation.thresholds), flush=True)


def log_results(tracked: tracking.TrackedRun, numbers: dict[str, Any], results: Path) -> None:
    """Log the contents of metrics.json (`numbers`), and the files, to the run's MLflow run."""
    tracked.log_metrics(metrics_in(numbers))
    for file in ("metrics.json", "per_tag.csv", DECISIONS, *([FOLDS] if "folds" in numbers else [])):
        tracked.log_artifacts(results / file, "results")


def metrics_in(numbers: dict[str, Any]) -> dict[str, float | None]:
    """The numbers by which people compare runs, of all in metrics.json: {"test_pr_auc": 0.41, "test_pr_auc_low": 0.38}.

    These are the paper's metrics and the mean over frequent tags, with intervals of those that stand for their kinds of
    tags. MLflow's pages have a column and a chart for each; the file has all.
    """
    shown = shown_in("scores")
    main, test = [metric.key for metric in shown if metric.main], numbers["test"]
    scores = {f"{part}_{metric.key}": numbers[part].get(metric.key) for part in PARTS for metric in shown}
    frequent = {f"test_{metric.key}": test.get(metric.key) for metric in METRICS.values() if metric.of in main}
    ends = {
        f"test_{key}_{end}": value for key in main for end, value in zip(ENDS, _interval(numbers, key), strict=True)
    }
    of_folds = numbers.get("folds", {}).get("test", {})
    spread = {f"test_{key}_fold_{name}": value for key in main for name, value in of_folds.get(key, {}).items()}
    return scores | frequent | ends | spread


def _interval(numbers: dict[str, Any], metric: str) -> list[float | None]:
    """The ends of a test metric's interval in the contents of metrics.json; None, None without resamples."""
    ends: list[float | None] = numbers.get("intervals", {}).get("test", {}).get(metric, [None, None])
    return ends


class Certainty:
    """The intervals of the test part's metrics, all of one confidence, from its resamples."""

    def __init__(self, draws: Draw, metrics: TagMetrics, resampled: Resampled, confidence: float) -> None:
        self.draws, self.metrics, self.resampled, self.confidence = draws, metrics, resampled, confidence
        scores = metrics.overall()
        self.overall = {key: centred(means, scores[key]) for key, means in resampled.overall().items()}

    def facts(self) -> dict[str, Any]:
        """For metrics.json: the intervals of the means, and how they were made."""
        artists, scores = len(self.draws.counts), self.metrics.overall()
        ends = {
            key: interval(scores[key], standard_error(rows, artists), artists, self.confidence, METRICS[key].bounds)
            for key, rows in self.overall.items()
        }
        return {
            "intervals": {"test": {key: [_rounded(float(end)) for end in both] for key, both in ends.items()}},
            "bootstrap": {
                "artists": artists,
                "resamples": self.draws.resamples,
                "confidence": self.confidence,
                "hash": self.draws.hash,
            },
        }

    def table(self) -> pd.DataFrame:
        """For resamples.parquet: the centred means over the tags, a row a resample."""
        return pd.DataFrame({"resample": np.arange(self.draws.resamples)} | self.overall).round(RESAMPLES_DIGITS)

    def of_tags(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends of every tag's interval."""
        return self.resampled.intervals(metric, self.metrics[metric], self.confidence)

    def of_groups(self, tags: pd.DataFrame) -> pd.DataFrame:
        """Rows of per_group.csv: the mean of every group's main metric over its scored tags, with its interval.

        Args:
            tags: group and kind of every tag
        """
        artists, rows = len(self.draws.counts), []
        for places in tags.groupby(["group", "kind"], sort=False, dropna=False).indices.values():
            group, kind = tags[["group", "kind"]].iloc[places[0]]
            metric = main_metric(kind)
            scores = self.metrics[metric.key][places]
            mean = float(mean_of_known(scores))
            error = standard_error(mean_of_known(self.resampled[metric.key][places]), artists)
            low, high = interval(mean, error, artists, self.confidence, metric.bounds)
            counted = int((~np.isnan(scores)).sum())
            rows.append({"group": group, "kind": kind, "tags": counted, "score": mean, "low": low, "high": high})
        return pd.DataFrame(rows, columns=["group", "kind", "tags", "score", "low", "high"])


def _by_fold(
    scores: pd.DataFrame, data: Catalog, parts: Partition, decisions: Mapping[str, OfTags | OfFolds]
) -> pd.DataFrame:
    """Rows of folds.csv: part, fold, tracks, artists and the metrics of the fold's tracks by themselves."""
    regression = (data.tags.loc[parts.tags, "kind"] == "regression").to_numpy()
    rows = []
    for part in PARTS:
        pooled, ids = _of_part(scores, parts, part), parts.tracks(part)
        fold = pd.Series(parts.fold_of(ids), ids)
        for name, view in parts.views().items():
            tracks = view.tracks(part)
            labels, of_tracks = data.labels.loc[tracks, parts.tags].to_numpy(), pooled.loc[tracks].to_numpy()
            artists, own = view.artist_of(tracks), fold[tracks].to_numpy()
            metrics = evaluate_tags(labels, of_tracks, regression, decisions[part], artists, own).overall()
            rows.append({"part": part, "fold": name, "tracks": len(tracks), "artists": artists.max() + 1} | metrics)
    return pd.DataFrame(rows)


def _spread(by_fold: pd.DataFrame) -> dict[str, dict[str, dict[str, float | None]]]:
    """For metrics.json: mean and standard deviation of each part's metrics over the folds."""
    return {
        part: {key: {"mean": _rounded(rows[key].mean()), "sd": _rounded(rows[key].std())} for key in METRICS}
        for part, rows in ((part, by_fold[by_fold["part"] == part]) for part in PARTS)
    }


def _table(
    part: str,
    tags: pd.DataFrame,
    metrics: TagMetrics,
    certainty: Certainty | None,
    decisions: OfTags,
    applied: OfTags | OfFolds,
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
    fold: np.ndarray,
) -> pd.DataFrame:
    """Rows of per_tag.csv.

    Args:
        decisions, applied: those that are kept, whose thresholds are shown, and those behind the metrics
    """
    columns: dict[str, Any] = {key: getattr(metrics, key) for key in ("positives", "tracks", ARTISTS)} | metrics.values
    columns[GUESS] = guess(arrays[0], arrays[2], fold)
    columns["threshold"] = [np.nan if one is None or one.threshold is None else one.threshold for one in decisions]
    columns |= precision_recall(*arrays, applied, fold)
    for key in OF_TAGS:
        low, high = certainty.of_tags(key) if certainty else (np.nan, np.nan)
        columns |= {f"{key}_low": low, f"{key}_high": high}
    table = tags[["group", "kind"]].rename_axis("tag").reset_index().assign(part=part)
    return table.assign(**columns)


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, DIGITS)


def _never_decided(tags: Sequence[str], of: int, rule: ThresholdRule) -> str:
    """The line about tags without a threshold."""
    why = "no track is annotated with them"
    if isinstance(rule, WantedPrecision):
        why = f"no score promises a precision of {rule.precision:g}"
    more = f" and {len(tags) - SHOWN} more" if len(tags) > SHOWN else ""
    return (
        f"  {len(tags)} of {of} tags {'is' if len(tags) == 1 else 'are'} never decided, since {why} on the validation "
        "part (evaluate.thresholds): "
        f"{', '.join(tags[:SHOWN])}{more}"
    )


def _print_scores(identity: RunIdentity, numbers: dict[str, Any], tracks: int) -> None:
    words = []
    for metric in shown_in("scores"):
        key = metric.key
        value, (low, high) = numbers["test"][key], _interval(numbers, key)
        if value is not None:
            ends = "" if low is None or high is None else f" ({metric.words(low)} to {metric.words(high)})"
            spread = numbers.get("folds", {}).get("test", {}).get(key, {})
            if None not in spread.values() and spread:
                ends += f", of the folds {metric.words(spread['mean'])} ± {metric.words(spread['sd'])}"
            words.append(f"{metric.label} {metric.words(value)}{ends}")
    unscored = len(numbers["unscored"]["test"])
    left_out = f"; {counted(unscored, 'tag')} could not be scored" if unscored else ""
    print(f"{identity.name} on {counted(tracks, 'test track')}: {', '.join(words)}{left_out}", flush=True)
