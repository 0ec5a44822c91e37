"""The gate: is the candidate better than the champion on the same test tracks?

The gate compares the recorded metrics if both were measured on the same labels, tracks and window. Otherwise, or if the
champion has no record of the metric, the gate scores the champion again on the present test part. It then compares both
over their shared tags.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tagscale.catalog.tables import Catalog
from tagscale.evaluation.metrics import METRICS, evaluate
from tagscale.partition.divide import Partition
from tagscale.registry.folds import folds_of, predict_held_out
from tagscale.registry.tagger import AudioTagger
from tagscale.store.read import Store
from tagscale.study.tables import read_decisions, read_predictions

SAME_TEST = ("tagscale.partition_hash", "tagscale.dataset_hash", "tagscale.hop_seconds")
FOLDS = "tagscale.folds"  # hash of the settings of a partition in folds; missing without folds
WINDOW = "tagscale.window_seconds"  # "None" or a missing tag: the length of the model's own patches


@dataclass(frozen=True)
class Decision:
    """The gate's decision and its reason. The values are the metric on the test part; None if missing."""

    passed: bool
    reason: str
    candidate_value: float | None
    champion_value: float | None


@dataclass(frozen=True)
class Trial:
    """The present test part: folders of the stages; `results` is the candidate's."""

    catalog: Path
    partition: Path
    store: Path | str
    results: Path

    def predictions(self) -> pd.DataFrame:
        """The candidate's scores: (test tracks, tags), index track_id."""
        of_part, scores = read_predictions(self.results)
        return scores[(of_part == "test").to_numpy()].loc[Partition.load(self.partition).tracks("test")]


def judge(metric: str, candidate: float | None, champion: float | None, on: str = "the same test tracks") -> Decision:
    """Compare two values of a metric: only a strictly better candidate passes.

    >>> judge("pr_auc", 0.42, 0.40).passed, judge("pr_auc", 0.40, 0.40).passed, judge("rmse", 0.2, 0.1).passed
    (True, False, False)
    """
    label, decimals = METRICS[metric].label, METRICS[metric].decimals
    if candidate is None:
        return Decision(False, f"the candidate has no {label} on {on}", None, champion)
    if champion is None:
        return Decision(False, f"the champion has no {label} on {on} to compare with", candidate, None)
    better = METRICS[metric].sign * (candidate - champion) > 0
    relation = "better than" if better else "the same as" if candidate == champion else "worse than"
    digits = decimals + 1 if round(candidate, decimals + 1) != round(champion, decimals + 1) else decimals + 3
    reason = f"{label} {candidate:.{digits}f} is {relation} the champion's {champion:.{digits}f} on {on}"
    return Decision(better, reason, candidate, champion)


def same_test(candidate: Mapping[str, str], champion: Mapping[str, str]) -> bool:
    """Whether the metrics in the tags of two versions were measured on the same labels, tracks and window."""
    alike = candidate.get(WINDOW, "None") == champion.get(WINDOW, "None")
    return alike and all(candidate.get(key) == champion.get(key) is not None for key in SAME_TEST)


def judge_again(
    metric: str, champion: AudioTagger, trial: Trial, same: bool = False, same_folds: bool = False
) -> Decision:
    """Score the champion on the present test part, as it tags. Compare over the tags that both have, with one kind.

    A champion of several folds scores each track by its model that was tested on the track's fold.

    same: whether the champion was registered with this test part, so it was trained on none of its tracks
    same_folds: whether its folds were made with the settings of the present ones, so a track is in the same fold
    """
    parts, folds = Partition.load(trial.partition), folds_of(champion.scorer)
    if folds and not (same_folds and folds == parts.folds):
        present = f"in {parts.folds} folds of other settings" if parts.folds else "not in folds"
        reason = (
            f"the champion is the mean of {folds} models, a fold each, and the present partition is {present}: its "
            "models may have learned from the test tracks, so it is not scored; `tagscale promote` decides by hand"
        )
        return Decision(False, reason, None, None)
    catalog, ours = Catalog.load(trial.catalog), trial.predictions()
    kinds = catalog.tags["kind"].to_dict()
    shared = [tag for tag in ours.columns if champion.kinds.get(tag) == kinds[tag]]
    if not shared:
        reason = "the champion was trained for other tags, none of them shared; `tagscale promote` decides by hand"
        return Decision(False, reason, None, None)
    tracks = [str(track) for track in ours.index]
    fold_of = pd.Series(parts.about(tracks, "part"), pd.Index(tracks, name="track_id"))
    theirs = predict_held_out(champion.scorer, Store.open(trial.store), fold_of)
    labels = catalog.labels.loc[tracks, shared].to_numpy()
    regression = np.array([kinds[tag] == "regression" for tag in shared])
    values = []
    about = parts.artist_of(tracks), parts.fold_of(tracks)
    for scores, decisions in ((ours, read_decisions(trial.results)), (theirs, champion.decisions)):
        of_tags = decisions.of(shared) if decisions else None
        value = evaluate(labels, scores[shared].to_numpy(), regression, of_tags, *about).overall()[metric]
        values.append(None if np.isnan(value) else value)
    origin = "" if same else "comes from another partition and "
    doubt = "" if same else ", perhaps on tracks that it learned from"
    if folds:
        doubt = ", each track by its model of that fold"
    on = (
        f"the present test part ({len(tracks)} tracks, {len(shared)} shared tags; the champion {origin}was scored "
        f"again{doubt})"
    )
    return judge(metric, values[0], values[1], on)
