"""The baseline of table 1: a feature extractor and gradient-boosted trees, one model per tag.

Source: Pons et al. 2018, section 5.1, after Prockup et al. 2015 [22]. scikit-learn grows the trees. What is kept is
their thresholds and leaf values as plain arrays, walked by the few lines below: loading a file executes no code and
does not depend on the version of scikit-learn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from tagscale.errors import TagscaleError
from tagscale.files import read_json, write_json

FORMAT = 1
BINS = 64  # candidate thresholds per descriptor: twice as fast as 255, and no worse
SHARE = 0.2  # of the descriptors that each split chooses from, drawn anew: better on small training sets than all
DESCRIPTION, NODES = "trees.json", "trees.safetensors"


@dataclass(frozen=True)
class Growth:
    """How trees are grown: the block `baseline` of params.yaml, and the seed."""

    trees: int  # boosting rounds per tag
    leaves: int  # of one tree
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class Ensemble:
    """The trees of all tags as flat arrays over their nodes; a leaf points to itself.

    A track goes to `left` where its value of descriptor `feature` is at most `threshold`, else to `right`; the sum of
    `value` over the leaves that it reaches, and the tag's `start`, is its score before the sigmoid.
    """

    feature: np.ndarray  # (nodes,) int32
    threshold: np.ndarray  # (nodes,) float64
    left: np.ndarray  # (nodes,) int32
    right: np.ndarray  # (nodes,) int32
    value: np.ndarray  # (nodes,) float64
    root: np.ndarray  # (trees,) int32, index of the tree's first node
    tag: np.ndarray  # (trees,) int32
    start: np.ndarray  # (tags,) float64


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
    ) -> "DescriptorTrees":
        """Grow the trees of every tag on the tracks where it is annotated.

        Args:
            features: a row per track, a column per descriptor, all finite
            labels: (tracks, tags) in [0, 1], NaN = not annotated; a classification label counts as positive from 0.5
            workers: processes, default all cores; the trees do not depend on it
        Raises:
            TagscaleError: a descriptor is not finite.
        """
        names = [str(name) for name in features.columns]
        values = _matrix(features, names)
        columns = np.asarray(labels, dtype=np.float64).T
        grown = Parallel(n_jobs=workers or -1)(
            delayed(_grow)(values, column, kind, growth) for column, kind in zip(columns, kinds, strict=True)
        )
        forests, starts, reasons = zip(*grown, strict=True)
        constant = {tag: reason for tag, reason in zip(tags, reasons, strict=True) if reason}
        return cls(names, tags, kinds, _flattened(forests, starts), constant)

    @property
    def parameters(self) -> int:
        """Numbers that were learned: a threshold per split, a value per leaf and a start per tag."""
        return len(self._trees.value) + len(self.tags)

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Scores (tracks, tags) float32 in [0, 1]; for regression tags the value itself.

        Raises:
            TagscaleError: a descriptor is missing or not finite.
        """
        raw = _walk(self._trees, _matrix(features, self.features), len(self.tags))
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


def _grow(values: np.ndarray, labels: np.ndarray, kind: str, growth: Growth) -> tuple[list[np.ndarray], float, str]:
    """One tag: scikit-learn's trees (an array of nodes each), the start, and a reason where no tree can be grown."""
    known = ~np.isnan(labels)
    values, labels = values[known], labels[known]
    regression = kind == "regression"
    targets = labels if regression else (labels >= 0.5).astype(np.float64)
    if len(targets) == 0:
        return [], 0.5 if regression else 0.0, "not annotated in the training tracks"  # 0 is a score of 0.5
    if targets.min() == targets.max():
        value = float(targets[0])
        start = value if regression else (30.0 if value else -30.0)  # sigmoid(30) is 1 in float32
        return [], start, f"{value:g} in all annotated training tracks"
    model = (HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier)(
        max_iter=growth.trees,
        max_leaf_nodes=growth.leaves,
        learning_rate=growth.learning_rate,
        max_bins=BINS,
        max_features=SHARE,
        early_stopping=False,
        random_state=growth.seed,
    )
    with threadpool_limits(1):  # trees this small: threads would spend ten times the work on waiting for each other
        model.fit(values, targets)
    # The grown trees have no public name in scikit-learn; a test holds these lines to its own predictions.
    return [tree.nodes for (tree,) in model._predictors], float(np.ravel(model._baseline_prediction)[0]), ""


def _flattened(forests: Sequence[list[np.ndarray]], starts: Sequence[float]) -> Ensemble:
    """The trees of all tags, node after node."""
    trees = [nodes for forest in forests for nodes in forest]
    sizes = np.array([len(nodes) for nodes in trees], dtype=np.int64)
    root = np.cumsum(sizes) - sizes
    first = np.repeat(root, sizes)  # of the tree that a node belongs to

    def column(name: str, dtype: type[np.generic]) -> np.ndarray:
        return np.concatenate([np.zeros(0, dtype), *(nodes[name].astype(dtype) for nodes in trees)])

    leaf, itself = column("is_leaf", np.bool_), np.arange(sizes.sum())
    return Ensemble(
        feature=column("feature_idx", np.int32),
        threshold=column("num_threshold", np.float64),
        left=np.where(leaf, itself, column("left", np.int64) + first).astype(np.int32),
        right=np.where(leaf, itself, column("right", np.int64) + first).astype(np.int32),
        value=np.where(leaf, column("value", np.float64), 0.0),
        root=root.astype(np.int32),
        tag=np.repeat(np.arange(len(forests)), [len(forest) for forest in forests]).astype(np.int32),
        start=np.array(starts, dtype=np.float64),
    )


def _walk(trees: Ensemble, values: np.ndarray, tags: int) -> np.ndarray:
    """(tracks, tags): the tags' starts plus the leaf values that every track reaches."""
    scores = np.tile(trees.start, (len(values), 1))
    for track, row in enumerate(values):
        node = trees.root
        for _ in range(len(trees.value)):  # all trees at once, one step down, until every one stands on a leaf
            below = np.where(row[trees.feature[node]] <= trees.threshold[node], trees.left[node], trees.right[node])
            if np.array_equal(below, node):
                break
            node = below
        scores[track] += np.bincount(trees.tag, weights=trees.value[node], minlength=tags)
    return scores
