"""Boosted trees as flat arrays of numbers: how they are kept, checked and walked.

Many tracks walk at once, tree by tree, after QuickScorer (Lucchese et al. 2015): leaves are bits from left to right; a
track that goes right at a split rules out the leaves on its left; where it arrives is the first leaf that is left.
That takes three operations on whole columns a split, and no jumping about in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WORDS = (np.uint8, np.uint16, np.uint32, np.uint64)  # a bit per leaf
BITS = 64  # leaves of a tree, or of a part of a larger one, that are looked up at once
BLOCK = 16_384  # tracks at once: the columns that a tree looks at stay in the cache
FEW = 32  # tracks up to which each for itself is faster


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

    def check(self, features: int, tags: int) -> None:
        """Raise ValueError where an array is of another shape than the others say, or leads out of the arrays, or
        round in circles: children stand behind their parent, and before the next tree."""
        nodes, trees = len(self.value), len(self.root)
        for name, length in (
            ("feature", nodes),
            ("threshold", nodes),
            ("left", nodes),
            ("right", nodes),
            ("tag", trees),
        ):
            if getattr(self, name).shape != (length,):
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, expected ({length},)")
        if self.start.shape != (tags,):
            raise ValueError(f"start has shape {self.start.shape}, expected ({tags},)")
        itself, ends = np.arange(nodes), np.append(self.root, nodes)[1:]
        ordered = trees == 0 or (self.root[0] == 0 and bool((np.diff(self.root) > 0).all()) and self.root[-1] < nodes)
        if not ordered or (trees == 0) != (nodes == 0):
            raise ValueError("the roots are not in order")
        end = np.repeat(ends, ends - self.root)
        leaf = self.left == itself
        for child in (self.left, self.right):
            if not np.where(leaf, child == itself, (child > itself) & (child < end)).all():
                raise ValueError("a node leads out of its tree")
        for name, values, limit in (("feature", self.feature[~leaf], features), ("tag", self.tag, tags)):
            if len(values) and not 0 <= values.min() <= values.max() < limit:
                raise ValueError(f"{name} {values.min()} to {values.max()}, expected 0 to {limit - 1}")


def flattened(forests: Sequence[list[np.ndarray]], starts: Sequence[float]) -> Ensemble:
    """The trees of all tags, node after node, from scikit-learn's arrays of nodes."""
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


Looked = tuple[list[tuple[int, float, np.unsignedinteger[Any]]], np.ndarray]
# of a tree with few leaves: descriptor, threshold and bits of the leaves on the left, split by split; leaves' values


class Walk:
    """The way of tracks through all trees, worked out once for an ensemble that was checked."""

    def __init__(self, trees: Ensemble) -> None:
        self._trees = trees
        self._feature, self._threshold = trees.feature.tolist(), trees.threshold.tolist()
        self._left, self._right, self._value = trees.left.tolist(), trees.right.tolist(), trees.value.tolist()
        self._leaves = [1] * len(self._value)  # below each node
        for node in reversed(range(len(self._value))):
            if self._left[node] != node:
                self._leaves[node] = self._leaves[self._left[node]] + self._leaves[self._right[node]]
        self._small: dict[int, Looked] = {}

    def scores(self, values: np.ndarray) -> np.ndarray:
        """(tracks, features) float64, finite -> (tracks, tags): the starts plus the leaves that every track reaches."""
        if len(values) <= FEW:
            return self.one_by_one(values)
        found = np.empty((len(values), len(self._trees.start)))
        roots, tags = self._trees.root.tolist(), self._trees.tag.tolist()
        ends = [*roots, len(self._value)][1:]
        for first in range(0, len(values), BLOCK):
            columns = np.ascontiguousarray(values[first : first + BLOCK].T)  # (features, tracks)
            sums = np.zeros((found.shape[1], columns.shape[1]))
            for root, end, tag in zip(roots, ends, tags, strict=True):
                sums[tag] += self._reached(columns, root, end)
            found[first : first + BLOCK] = (self._trees.start[:, None] + sums).T
        return found

    def one_by_one(self, values: np.ndarray) -> np.ndarray:
        """The same for few tracks: each goes down all trees at once, step by step."""
        trees = self._trees
        found = np.tile(trees.start, (len(values), 1))
        for track, row in enumerate(values):
            node = trees.root
            while True:
                below = np.where(row[trees.feature[node]] <= trees.threshold[node], trees.left[node], trees.right[node])
                if np.array_equal(below, node):
                    break
                node = below
            found[track] += np.bincount(trees.tag, weights=trees.value[node], minlength=len(trees.start))
        return found

    def _reached(self, columns: np.ndarray, root: int, end: int) -> np.ndarray:
        """(tracks,): the value of the leaf that each track reaches in one tree; of many leaves, part by part."""
        if self._leaves[root] <= BITS:
            return self._looked_up(columns, root)
        parts: dict[int, np.ndarray] = {}
        for node in reversed(range(root, end)):  # children first
            if self._leaves[node] > BITS:
                low, high = (
                    parts.pop(child) if child in parts else self._looked_up(columns, child)
                    for child in (self._left[node], self._right[node])
                )
                parts[node] = np.where(columns[self._feature[node]] > self._threshold[node], high, low)
        return parts[root]

    def _looked_up(self, columns: np.ndarray, root: int) -> np.ndarray:
        if root not in self._small:
            self._small[root] = self._bits(root)
        splits, values = self._small[root]
        word = splits[0][2].dtype if splits else np.dtype(np.uint8)
        dead = np.zeros(columns.shape[1], word)
        above = np.empty(len(dead), bool)
        ruled_out = np.empty_like(dead)
        bits = above.view(np.uint8)
        for feature, threshold, mask in splits:
            np.greater(columns[feature], threshold, out=above)
            np.multiply(bits, mask, out=ruled_out)
            np.bitwise_or(dead, ruled_out, out=dead)
        return values[np.bitwise_count(dead & ~(dead + word.type(1)))]  # how many are dead before the first alive

    def _bits(self, root: int) -> Looked:
        splits: list[tuple[int, float, int]] = []
        leaves: list[float] = []

        def visit(node: int) -> None:
            if self._left[node] == node:
                leaves.append(self._value[node])
                return
            before = len(leaves)
            visit(self._left[node])
            splits.append((self._feature[node], self._threshold[node], (1 << len(leaves)) - (1 << before)))
            visit(self._right[node])

        visit(root)
        word = next(word for word in WORDS if len(leaves) <= 8 * word().nbytes)
        return [(feature, threshold, word(mask)) for feature, threshold, mask in splits], np.array(leaves)
