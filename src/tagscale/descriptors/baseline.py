"""The baseline of table 1: a feature extractor and gradient-boosted trees, one model per tag.

Source: Pons et al. 2018, section 5.1, after Prockup et al. 2015 [22]. scikit-learn grows the trees. What is kept is
their thresholds and leaf values as plain arrays (`baselines.trees`): loading a file executes no code and does not
depend on the version of scikit-learn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from tagscale.descriptors.trees import Ensemble, Walk, flattened
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, write_json

FORMAT = 1
BINS = 64  # candidate thresholds per descriptor: twice as fast as 255, and no worse
RARE = 5  # positive tracks; with fewer the trees are grown all the same (better than chance), and the tag is named
SHARE = 0.2  # of the descriptors that each split chooses from, drawn anew: better on small training sets than all
DESCRIPTION, NODES = "trees.json", "trees.safetensors"
Grown = tuple[list[np.ndarray], float, str]  # of a tag: scikit-learn's nodes of each tree, the start, why it has none
NOTHING: Grown = ([], 0.0, "")


@dataclass(frozen=True)
class Growth:
    """How trees are grown: the block `baseline` of params.yaml, and the seed."""

    trees: int  # boosting rounds per tag
    leaves: int  # of one tree
    learning_rate: float
    seed: int
    class_weights: Literal["none", "balanced"] = "none"  # balanced: positives weigh as much as negatives, tag by tag


class TagsPerSecond(ProgressColumn):
    """Speed over the last half minute."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.1f} tags/s")


class DescriptorTrees:
    """Gradient-boosted trees on descriptors, one ensemble per tag.

    Attributes:
        features: names of the descriptors
        tags, kinds: the outputs, in order; kinds are classification | regression
        constant: tags that the training tracks say nothing about -> why; their score is the same for every track
    """

    def __init__(
        self,
        features: Sequence[str],
        tags: Sequence[str],
        kinds: Sequence[str],
        trees: Ensemble,
        constant: Mapping[str, str],
    ) -> None:
        self.features, self.tags, self.kinds = list(features), list(tags), list(kinds)
        self.constant = dict(constant)
        self._trees = trees

    @classmethod
    def fit(
        cls,
        features: pd.DataFrame,
        labels: np.ndarray,
        tags: Sequence[str],
        kinds: Sequence[str],
        growth: Growth,
        workers: int | None = None,
        console: Console | None = None,
    ) -> "DescriptorTrees":
        """Grow the trees of every tag on the tracks where it is annotated.

        Args:
            features: a row per track, a column per descriptor, all finite
            labels: (tracks, tags) in [0, 1], NaN = not annotated; a classification label counts as positive from 0.5
            workers: processes, default all cores; the trees do not depend on it
            console: where the progress is shown, default the terminal
        Raises:
            TagscaleError: a descriptor is not finite.
        """
        names = [str(name) for name in features.columns]
        values = _matrix(features, names)
        columns = np.asarray(labels, dtype=np.float64).T
        jobs = (
            delayed(_grow)(row, values, column, kind, growth)
            for row, (column, kind) in enumerate(zip(columns, kinds, strict=True))
        )
        grown: list[Grown] = [NOTHING] * len(tags)
        shown = (TextColumn("growing trees"), BarColumn(), MofNCompleteColumn(), TagsPerSecond(), TimeRemainingColumn())
        with Progress(*shown, console=console) as progress:
            done = Parallel(n_jobs=workers or -1, return_as="generator_unordered")(jobs)
            for row, result in progress.track(done, total=len(tags)):
                grown[row] = result
        forests, starts, reasons = zip(*grown, strict=True) if grown else ((), (), ())
        constant = {tag: reason for tag, reason in zip(tags, reasons, strict=True) if reason}
        _tell_rare(console or Console(), columns, tags, kinds)
        return cls(names, tags, kinds, flattened(forests, starts), constant)

    @cached_property
    def _walk(self) -> Walk:
        return Walk(self._trees)

    @property
    def parameters(self) -> int:
        """Numbers that were learned: a threshold per split, a value per leaf and a start per tag."""
        return len(self._trees.value) + len(self.tags)

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Scores (tracks, tags) float32 in [0, 1]; for regression tags the value itself.

        Raises:
            TagscaleError: a descriptor is missing or not finite.
        """
        raw = self._walk.scores(_matrix(features, self.features))
        regression = np.array([kind == "regression" for kind in self.kinds], dtype=bool)
        return np.where(regression, np.clip(raw, 0, 1), expit(raw)).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Add trees.json and trees.safetensors to a folder; the same trees give the same bytes."""
        save_file(vars(self._trees), folder / NODES)
        facts = {"features": self.features, "tags": self.tags, "kinds": self.kinds, "constant": self.constant}
        write_json(folder / DESCRIPTION, {"format": FORMAT} | facts)

    @classmethod
    def load(cls, folder: Path) -> "DescriptorTrees":
        """Read what `save` wrote.

        Raises:
            TagscaleError: a file is missing, damaged or of another format.
        """
        folder = Path(folder)
        try:
            facts = read_json(folder / DESCRIPTION)
            if facts["format"] != FORMAT:
                raise ValueError(f"format {facts['format']}, expected {FORMAT}")
            trees = Ensemble(**load_file(folder / NODES))
            trees.check(len(facts["features"]), len(facts["tags"]))
            return cls(facts["features"], facts["tags"], facts["kinds"], trees, facts["constant"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise TagscaleError(
                f"{folder}: no readable trees ({DESCRIPTION}, {NODES}): {error}. Train the baseline again."
            ) from None


def _matrix(features: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """(tracks, descriptors) float64, columns as `names`."""
    missing = [name for name in names if name not in features.columns]
    if missing:
        raise TagscaleError(
            f"Descriptors: {len(missing)} missing that the trees ask for ({', '.join(missing[:3])} ...). "
            "Run `tagscale describe` again, or train the baseline again."
        )
    values = features.loc[:, list(names)].to_numpy(np.float64)
    bad = [name for name, fine in zip(names, np.isfinite(values).all(axis=0), strict=True) if not fine]
    if bad:
        raise TagscaleError(f"Descriptors: not finite: {', '.join(bad[:3])}. Run `tagscale describe` again.")
    return values


def _tell_rare(console: Console, columns: np.ndarray, tags: Sequence[str], kinds: Sequence[str]) -> None:
    """Name the classification tags with few positive tracks, or few negative ones."""
    rare = []
    for tag, kind, labels in zip(tags, kinds, columns, strict=True):
        positive, negative = int((labels >= 0.5).sum()), int((labels < 0.5).sum())
        if kind != "regression" and 0 < min(positive, negative) < RARE:
            rare.append(f"{tag} ({positive} of {positive + negative})")
    if rare:
        told = f"fewer than {RARE} positive or negative training tracks, so their scores mean little: {', '.join(rare)}"
        console.print(told, highlight=False, markup=False, soft_wrap=True)


def _grow(row: int, values: np.ndarray, labels: np.ndarray, kind: str, growth: Growth) -> tuple[int, Grown]:
    """The row of a tag, and what was grown for it."""
    known = ~np.isnan(labels)
    if not known.all():
        values, labels = values[known], labels[known]
    regression = kind == "regression"
    targets = labels if regression else (labels >= 0.5).astype(np.float64)
    if len(targets) == 0:
        return row, ([], 0.5 if regression else 0.0, "not annotated in the training tracks")  # 0 is a score of 0.5
    if targets.min() == targets.max():
        value = float(targets[0])
        start = value if regression else (30.0 if value else -30.0)  # sigmoid(30) is 1 in float32
        return row, ([], start, f"{value:g} in all annotated training tracks")
    settings = {
        "max_iter": growth.trees,
        "max_leaf_nodes": growth.leaves,
        "learning_rate": growth.learning_rate,
        "max_bins": BINS,
        "max_features": SHARE,
        "early_stopping": False,
        "random_state": growth.seed,
    }
    weights = "balanced" if growth.class_weights == "balanced" else None
    model = (
        HistGradientBoostingRegressor(**settings)
        if regression
        else HistGradientBoostingClassifier(**settings, class_weight=weights)
    )
    with threadpool_limits(1):  # trees this small: threads would spend ten times the work on waiting for each other
        model.fit(values, targets)
    # The grown trees have no public name in scikit-learn; a test holds these lines to its own predictions.
    return row, ([tree.nodes for (tree,) in model._predictors], float(np.ravel(model._baseline_prediction)[0]), "")
