"""Evaluate: the scores of one run for every validation and test track, the metrics of these scores, and how sure
those of the test part are.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from tagscale import tracking
from tagscale.catalog.tables import Catalog
from tagscale.descriptors.baseline import DescriptorTrees
from tagscale.evaluation.bootstrap import Draw, Resampled, centred, draw, interval, resampled_metrics
from tagscale.evaluation.metrics import METRICS, TagMetrics
from tagscale.evaluation.metrics import evaluate as evaluate_tags
from tagscale.evaluation.predict import predict
from tagscale.models.spec import BASELINE
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, replacing
from tagscale.runtime.identity import RunIdentity
from tagscale.stages.train_trees import read_descriptors
from tagscale.store.read import Store
from tagscale.training import checkpoint
from tagscale.training.memory import keep_freed_memory

PARTS = ("valid", "test")
ENDS = ("low", "high")
DIGITS = 6  # of the numbers in metrics.json and per_tag.csv
RESAMPLES_DIGITS = 9  # in resamples.parquet: below what the order of a sum changes, so that it has the same bytes


def run(params: Params, *, run: Path, catalog: Path, partition: Path, inputs: Path | str, results: Path) -> None:
    """Write the folder `results`: predictions.parquet, per_tag.csv and metrics.json; log the metrics to the run.

    With evaluate.resamples, also resamples.parquet: the means over the tags in every bootstrap resample of the test
    part's artists, centred on the scores. The resamples depend on the partition alone, so they hold the same artists
    in every run, and runs may be compared resample by resample. Their percentiles are the intervals in the other files.

    Args:
        run: folder that the train stage wrote
        inputs: the store (a folder, or an address of `Store.open`); for the baseline the folder of descriptors
    Raises:
        TagscaleError: no run there, or one that was trained on other data or on another partition; a window shorter
            than the model can take.
    """
    data, parts = Catalog.load(catalog), Partition.load(partition)
    facts = _facts(run)
    identity = RunIdentity(**facts["identity"])
    _check_same_data(run, identity, data, parts)
    tracks = {part: parts.tracks(part) for part in PARTS}
    everyone = [track for part in PARTS for track in tracks[part]]
    settings = params.evaluate
    scores = (
        _baseline_scores(run, Path(inputs), everyone)
        if identity.model == BASELINE
        else _model_scores(run, inputs, everyone, settings.hop_seconds, settings.window_seconds)
    )[parts.tags]
    regression = (data.tags.loc[parts.tags, "kind"] == "regression").to_numpy()
    labels = {part: data.labels.loc[ids, parts.tags].to_numpy() for part, ids in tracks.items()}
    found = {part: evaluate_tags(labels[part], scores.loc[ids].to_numpy(), regression) for part, ids in tracks.items()}
    sure = None
    if settings.resamples:
        drawn = draw(_artists(parts, tracks["test"]), settings.resamples, parts.hash)
        again = resampled_metrics(labels["test"], scores.loc[tracks["test"]].to_numpy(), regression, drawn)
        sure = Certainty(drawn, found["test"], again, settings.confidence)
    macro = {part: {name: _rounded(value) for name, value in found[part].macro().items()} for part in PARTS}
    unscored = {part: _unscored(parts.tags, found[part]) for part in PARTS}
    facts_of_test = sure.facts() if sure else {}
    with replacing(results) as fresh:
        fresh.mkdir()
        predictions = scores.rename_axis("track_id").reset_index()
        predictions.insert(1, "part", np.repeat(PARTS, [len(tracks[part]) for part in PARTS]))
        predictions.to_parquet(fresh / "predictions.parquet", index=False)
        per_tag = pd.concat(
            [_table(part, data.tags.loc[parts.tags], found[part], sure if part == "test" else None) for part in PARTS]
        )
        per_tag.to_csv(fresh / "per_tag.csv", index=False, float_format=f"%.{DIGITS}f", lineterminator="\n")
        if sure:
            sure.macro.round(RESAMPLES_DIGITS).to_parquet(fresh / "resamples.parquet", index=False)
        numbers = {key: facts[key] for key in ("identity", "train_tracks", "parameters")}
        text = json.dumps(numbers | macro | {"unscored": unscored} | facts_of_test, indent=2, sort_keys=True)
        (fresh / "metrics.json").write_text(text + "\n", encoding="utf-8")
    with tracking.find_run(params.tracking.experiment, identity, run) as tracked:
        tracked.log_metrics({f"{part}_{name}": macro[part][name] for part in PARTS for name in METRICS})
        for name, ends in (facts_of_test["intervals"]["test"] if sure else {}).items():
            tracked.log_metrics({f"test_{name}_{end}": value for end, value in zip(ENDS, ends, strict=True)})
        for file in ("metrics.json", "per_tag.csv"):
            tracked.log_artifacts(results / file, "results")
    _say(identity, macro["test"], facts_of_test, unscored["test"], len(tracks["test"]))


class Certainty:
    """How sure the metrics of the test part are: what its resamples say, with intervals of one confidence."""

    def __init__(self, drawn: Draw, found: TagMetrics, again: Resampled, confidence: float) -> None:
        self.drawn, self.found, self.again, self.confidence = drawn, found, again, confidence
        means = again.macro()
        self.macro = means.assign(**{name: centred(means[name].to_numpy(), found.macro()[name]) for name in METRICS})

    def facts(self) -> dict[str, Any]:
        """For metrics.json: the intervals of the means, and how they were made."""
        ends = {name: interval(self.macro[name].to_numpy(), self.confidence) for name in METRICS}
        return {
            "intervals": {"test": {name: [_rounded(end) for end in both] for name, both in ends.items()}},
            "bootstrap": {
                "artists": len(self.drawn.counts),
                "resamples": self.drawn.resamples,
                "confidence": self.confidence,
                "hash": self.drawn.hash,
            },
        }

    def of_tags(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends of every tag's interval."""
        return self.again.intervals(metric, getattr(self.found, metric), self.confidence)


def _artists(parts: Partition, tracks: list[str]) -> list[str]:
    artists: list[str] = parts.table.set_index("track_id")["artist"].loc[tracks].tolist()
    return artists


def _facts(run: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = read_json(Path(run) / "run.json")
    except FileNotFoundError:
        raise TagscaleError(f"{Path(run) / 'run.json'}: no such file. Run `tagscale train` first.") from None
    except ValueError as error:
        raise TagscaleError(f"{Path(run) / 'run.json'}: not JSON: {error}. Run `tagscale train` again.") from None
    return facts


def _check_same_data(run: Path, identity: RunIdentity, data: Catalog, parts: Partition) -> None:
    """A run may be tested only on the partition that it was trained on: in another one it knows test tracks."""
    present = {"dataset_hash": parts.data_hash, "partition_hash": parts.hash}
    for key, value in present.items():
        if getattr(identity, key) != value:
            raise TagscaleError(
                f"{Path(run) / 'run.json'}: {key} {getattr(identity, key)}, but the present one is {value}. The run "
                f"may have learned from tracks that are now test tracks: train it again (`tagscale train --model "
                f"{identity.model} --size {identity.size} --seed {identity.seed}`)."
            )


def _model_scores(
    run: Path, store: Path | str, tracks: list[str], hop_seconds: float, window_seconds: float | None
) -> pd.DataFrame:
    keep_freed_memory()
    model, architecture = checkpoint.load(run)
    return predict(model, architecture, Store.open(store), tracks, hop_seconds, window_seconds)


def _baseline_scores(run: Path, descriptors: Path, tracks: list[str]) -> pd.DataFrame:
    trees = DescriptorTrees.load(run)
    scores = trees.predict(read_descriptors(descriptors, tracks))
    return pd.DataFrame(scores, index=pd.Index(tracks, name="track_id"), columns=trees.tags)


def _table(part: str, tags: pd.DataFrame, found: TagMetrics, sure: Certainty | None) -> pd.DataFrame:
    columns = {name: getattr(found, name) for name in ("positives", "tracks", *METRICS)}
    for name in METRICS:
        low, high = sure.of_tags(name) if sure else (np.nan, np.nan)
        columns |= {f"{name}_low": low, f"{name}_high": high}
    table = tags[["group", "kind"]].rename_axis("tag").reset_index().assign(part=part)
    return table.assign(**columns)


def _unscored(tags: list[str], found: TagMetrics) -> dict[str, str]:
    return {tag: reason for tag, reason in zip(tags, found.reasons, strict=True) if reason is not None}


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, DIGITS)


def _say(
    identity: RunIdentity,
    macro: dict[str, float | None],
    sure: dict[str, Any],
    unscored: dict[str, str],
    tracks: int,
) -> None:
    words = []
    for name, label in zip(METRICS, ("ROC-AUC", "PR-AUC", "√MSE"), strict=True):
        if macro[name] is not None:
            low, high = sure["intervals"]["test"][name] if sure else (None, None)
            ends = f" ({low:.3f} to {high:.3f})" if low is not None else ""
            words.append(f"{label} {macro[name]:.3f}{ends}")
    left_out = f"; {len(unscored)} tags could not be scored" if unscored else ""
    Console().print(
        f"{identity.name} on {tracks} test tracks: {', '.join(words)}{left_out}", highlight=False, soft_wrap=True
    )
