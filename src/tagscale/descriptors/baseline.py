"""The baseline of table 1: a feature extractor and gradient-boosted trees, an ensemble for each tag.

Source: Pons et al. 2018, section 5.1, after Prockup et al. 2015 [22]. XGBoost grows the trees of all tags side by side,
on gradients that are computed here: a track counts for the tags that are annotated on it, and for no other. The file
of a trained baseline is XGBoost's own (UBJSON, compressed); loading one executes no code from it.
"""

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from tagscale import POSITIVE
from tagscale.catalog.constant import constant_reasons
from tagscale.descriptors.describe import VERSION
from tagscale.params.blocks import BaselineParams
from tagscale.runtime.bounded import gunzip
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import command_of
from tagscale.runtime.progress import progress_bar
from tagscale.runtime.reading import Damaged

if TYPE_CHECKING:  # importing it takes a second, and evaluating any other model needs none of it
    from xgboost import Booster, DMatrix

FILE = "trees.ubj.gz"
FACTS = "tagscale"  # the attribute of XGBoost's model that holds version, tags, kinds and constants as JSON
BINS = 64  # candidate thresholds per descriptor: twice as fast as 255, and no worse
SHARE = 0.15  # of the descriptors, drawn for each split: fewer rank better (PR-AUC), more regress better (RMSE)
LEAF = 20.0  # least weight of a leaf, where the tracks of a tag weigh 1 on average, ...
LEAF_SHARE = 0.4  # ... but no more than this share of the tag's tracks: a split of 40 tracks needs no 20 on both sides
ROUNDS = (60, 150)  # least and most; more of them overfit a small training set and help a large one
ROUNDS_PER_TRACK = 0.75
SURE = 30.0  # log-odds of a tag that no training track contradicts: its sigmoid is 1 in float32
LEAST = 1e-3  # tracks of a leaf, where `leaf` is 0
RARE = 5  # positive or negative tracks; a tag with fewer is learned (better than chance) and named


class DescriptorTrees:
    """Gradient-boosted trees on descriptors, an ensemble for each tag.

    Attributes:
        features: names of the descriptors
        version: of their definition
        tags, kinds: the outputs, in order; kinds are classification | regression
        constant: tags that the training tracks say nothing about -> why; their score is the same for every track
        means, deviations: (features,) of the training tracks; empty in trees of an earlier tagscale
    """

    def __init__(self, booster: "Booster") -> None:
        self._booster = booster
        self.features: list[str] = booster.feature_names
        facts = json.loads(booster.attr(FACTS))
        self.version: int = facts["descriptors"]
        self.tags: list[str] = facts["tags"]
        self.kinds: list[str] = facts["kinds"]
        self.constant: dict[str, str] = facts["constant"]
        self.means, self.deviations = (np.array(facts.get(key, []), np.float32) for key in ("means", "deviations"))

    @classmethod
    def fit(
        cls,
        features: pd.DataFrame,
        labels: np.ndarray,
        tags: Sequence[str],
        kinds: Sequence[str],
        params: BaselineParams,
        seed: int,
        class_weights: Literal["none", "balanced"] = "none",
        threads: int | None = None,
    ) -> "DescriptorTrees":
        """Grow the trees of every tag on the tracks where it is annotated.

        Args:
            features: a row per track, a column per descriptor, all finite
            labels: (tracks, tags) in [0, 1], NaN = not annotated; a classification label counts as positive from 0.5
            class_weights: balanced: a tag's positives weigh as much as its negatives
            threads: default all cores; the trees do not depend on it
        Raises:
            TagscaleError: a descriptor is not finite.
        """
        import xgboost

        names = [str(name) for name in features.columns]
        targets = Targets(labels, kinds, params.leaf, balanced=class_weights == "balanced")
        trees = params.trees or rounds_of(len(features))
        constant = {tag: reason for tag, reason in zip(tags, targets.constant, strict=True) if reason}
        values = _matrix(features, names)
        facts = {"descriptors": VERSION, "tags": list(tags), "kinds": list(kinds), "constant": constant}
        facts |= {"means": values.mean(axis=0, dtype=np.float64).tolist(), "deviations": _deviations(values)}
        settings = {
            "max_leaves": params.leaves,
            "max_depth": 0,  # no limit but the leaves: the split that gains most comes first
            "grow_policy": "lossguide",
            "learning_rate": params.learning_rate,
            "max_bin": BINS,
            "colsample_bynode": SHARE,
            "min_child_weight": 1,  # of weights that `Targets` scales, tag by tag
            "reg_lambda": 0,
            "base_score": targets.start.tolist(),
            "disable_default_eval_metric": True,
            "seed": seed,
            "nthread": threads or 0,
        }
        data = xgboost.QuantileDMatrix(values, targets.values, feature_names=names, max_bin=BINS, nthread=threads)
        with progress_bar("rounds") as progress:
            rounds = progress.add_task("growing trees", total=trees)

            def gradients(scores: np.ndarray, _: "DMatrix") -> tuple[np.ndarray, np.ndarray]:
                progress.advance(rounds)
                return targets.gradients(scores)

            booster = xgboost.train(settings, data, trees, obj=gradients)
        booster.set_attr(**{FACTS: json.dumps(facts)})
        if rare := targets.rare(tags):
            named = ", ".join(rare)
            print(f"fewer than {RARE} positive or negative training tracks, so their scores mean little: {named}")
        return cls(booster)

    @property
    def parameters(self) -> int:
        """Numbers that were learned: a threshold per split, a value per leaf and a start per tag."""
        splits = sum(self._booster.get_score(importance_type="weight").values())
        trees = self._booster.num_boosted_rounds() * len(self.tags)
        return int(2 * splits) + trees + len(self.tags)  # a tree has one leaf more than it has splits

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Scores (tracks, tags) float32 in [0, 1]; for regression tags the value itself.

        Raises:
            TagscaleError: a descriptor is missing or not finite.
        """
        values = _matrix(features, self.features)
        scores = self._booster.inplace_predict(values, predict_type="margin").reshape(len(values), len(self.tags))
        regression = np.array(self.kinds) == "regression"
        return np.where(regression, np.clip(scores, 0, 1), expit(scores)).astype(np.float32)

    def standardised(self, features: pd.DataFrame) -> np.ndarray:
        """Descriptors (tracks, features) float32, less the mean of the training tracks, in their deviations.

        Raises:
            TagscaleError: as `predict`.
        """
        return (_matrix(features, self.features) - self.means) / self.deviations

    def save(self, folder: Path) -> None:
        """Add the file of the trees to a folder; the same trees give the same bytes."""
        (folder / FILE).write_bytes(gzip.compress(self._booster.save_raw("ubj"), compresslevel=6, mtime=0))

    @classmethod
    def load(cls, folder: Path, command: str | None = None) -> "DescriptorTrees":
        """Read what `save` wrote.

        Args:
            command: what makes the file again; by default the training of the run that the folder is named after
        Raises:
            TagscaleError: the file is missing, damaged, of another kind, or of another version of the descriptors.
        """
        import xgboost

        file, command = Path(folder) / FILE, command or command_of("train", folder)
        try:
            content = gunzip(file)  # its checksum finds damage, at which XGBoost would crash
            if not content:
                raise ValueError("the file is empty")
            trees = cls(xgboost.Booster(model_file=bytearray(content)))
        except (OSError, EOFError, zlib.error, xgboost.core.XGBoostError, ValueError, LookupError, TypeError) as error:
            raise Damaged(file, f"no readable trees ({error})", command) from None
        if trees.version != VERSION:
            raise TagscaleError(
                f"{file}: these trees were grown on descriptors of version {trees.version}, where this tagscale "
                f"computes version {VERSION}, so they cannot score audio here. Run `dvc repro`: it describes, trains "
                "and registers anew, and what it registers becomes champion if it scores better, or by `tagscale "
                "promote`. Until then a registered version runs on the copy of tagscale that it carries (`mlflow "
                "models serve`)."
            )
        return trees


class Targets:
    """What the trees of every tag learn, and how far their scores are from it.

    The loss is the cross-entropy of a classification tag and half the squared error of a regression tag.

    Args:
        labels: (tracks, tags) in [0, 1], NaN = not annotated; a classification label counts as positive from 0.5
        kinds: (tags,), classification | regression
        leaf: least weight of a leaf in tracks; None: `LEAF_SHARE` of the tag's annotated tracks, `LEAF` at most
        balanced: a tag's positives weigh as much as its negatives
    Attributes:
        leaf: (tags,) least weight of a leaf in tracks
        values: (tracks, tags) float32: 0 or 1 for classification, the label for regression, 0 where not annotated
        start: (tags,) float64: the score before any tree; log-odds for classification
        constant: (tags,) why the trees of a tag have nothing to learn, None where they do
    """

    def __init__(
        self, labels: np.ndarray, kinds: Sequence[str], leaf: float | None = None, balanced: bool = False
    ) -> None:
        self.regression = np.array(kinds) == "regression"
        self.annotated = ~np.isnan(labels)
        values = np.where(self.regression, labels, labels >= POSITIVE)
        self.values = np.where(self.annotated, values, 0).astype(np.float32)
        self.tracks = self.annotated.sum(axis=0)
        self.leaf = np.minimum(LEAF, LEAF_SHARE * self.tracks) if leaf is None else np.full(len(kinds), float(leaf))
        self.positives = self.values.sum(axis=0, dtype=np.float64)
        mean = np.divide(self.positives, self.tracks, out=np.full(len(kinds), 0.5), where=self.tracks > 0)
        self.constant = constant_reasons(labels, kinds)
        learned = np.array([reason is None for reason in self.constant])
        self.weights = (self.annotated & learned).astype(np.float32)
        if balanced:
            weighed = learned & ~self.regression
            ratio = np.where(weighed, 1 / mean.clip(1e-9) - 1, 1).astype(np.float32)  # negatives per positive
            self.weights *= np.where(self.values == 1, ratio, 1)
            mean[weighed] = 0.5
        self.start = np.where(self.regression, mean, logit(mean).clip(-SURE, SURE))

    def gradients(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and second derivative of the loss by the scores, all (tracks, tags) float32.

        The second derivative is the weight of a track in a leaf. It is small for rare tags and shrinks as the trees
        learn, so both derivatives are scaled, tag by tag and round by round, such that as many tracks of mean weight
        as `leaf` says weigh 1. The best split and the values of its leaves do not depend on that scale.
        """
        scores = scores.reshape(self.values.shape)
        estimate = np.where(self.regression, scores, expit(scores))
        weight = self.weights * np.where(self.regression, 1, estimate * (1 - estimate))
        total = weight.sum(axis=0, dtype=np.float64)
        amounts = self.tracks / np.maximum(self.leaf, LEAST)
        scale = np.divide(amounts, total, out=np.zeros_like(total), where=total > 0).astype(np.float32)
        return self.weights * (estimate - self.values) * scale, weight * scale

    def rare(self, tags: Sequence[str]) -> list[str]:
        """The classification tags with few positive or few negative tracks, each with its counts."""
        fewer = np.minimum(self.positives, self.tracks - self.positives)
        few = np.flatnonzero(~self.regression & (fewer > 0) & (fewer < RARE)).tolist()
        return [f"{tags[tag]} ({self.positives[tag]:.0f} of {self.tracks[tag]})" for tag in few]


def rounds_of(tracks: int) -> int:
    """Boosting rounds for a number of training tracks.

    >>> rounds_of(50), rounds_of(128), rounds_of(800)
    (60, 96, 150)
    """
    least, most = ROUNDS
    return min(most, max(least, round(ROUNDS_PER_TRACK * tracks)))


def _deviations(values: np.ndarray) -> list[float]:
    """Standard deviations of the columns; 1 where all values are alike."""
    deviations = values.std(axis=0, dtype=np.float64)
    return [float(deviation) or 1.0 for deviation in deviations]


def _matrix(features: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """(tracks, descriptors) float32, columns as `names`."""
    missing = [name for name in names if name not in features.columns]
    if missing:
        raise TagscaleError(
            f"Descriptors: {len(missing)} missing that the trees ask for ({', '.join(missing[:3])} ...). "
            "Run `tagscale describe` again, or train the baseline again."
        )
    values = features.loc[:, list(names)].to_numpy(np.float32)
    bad = [name for name, finite in zip(names, np.isfinite(values).all(axis=0), strict=True) if not finite]
    if bad:
        raise TagscaleError(f"Descriptors: not finite: {', '.join(bad[:3])}. Run `tagscale describe` again.")
    return values
