"""Metrics of tag scores, as pure functions of arrays: ROC-AUC, PR-AUC and the root of the mean squared error.

Labels are in [0, 1], NaN where a track is not annotated with a tag; such entries count nowhere. A track is positive
for a classification tag when its label is at least 0.5.
Source: Pons et al. 2018, section 5.1: both AUCs for classification tags, root of the MSE for regression tags.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

POSITIVE = 0.5  # labels from here up are positives of a classification tag
METRICS = ("roc_auc", "pr_auc", "rmse")
Area = Callable[[np.ndarray, np.ndarray], float]  # from the true and false positives at every threshold


@dataclass(frozen=True)
class TagMetrics:
    """Metrics of every tag, each an array (tags,); NaN where a metric does not apply or cannot be had.

    tracks: annotated tracks; positives: those with a label of at least 0.5; reasons: why a tag has no metric, or
    None where it has.
    """

    tracks: np.ndarray
    positives: np.ndarray
    roc_auc: np.ndarray
    pr_auc: np.ndarray
    rmse: np.ndarray
    reasons: list[str | None]

    def macro(self) -> dict[str, float]:
        """Mean of each metric over the tags that have it; NaN where none has."""
        return {metric: float(mean_of_known(getattr(self, metric))) for metric in METRICS}


def evaluate(labels: np.ndarray, scores: np.ndarray, regression: np.ndarray) -> TagMetrics:
    """All metrics: AUCs of the classification tags, root mean squared error of the regression tags.

    Args:
        labels: (tracks, tags) in [0, 1] or NaN
        scores: (tracks, tags) in [0, 1]
        regression: (tags,) bool
    Raises:
        ValueError: shapes that do not fit, values out of range.

    >>> labels = np.array([[1, 0.25], [0, np.nan], [1, 0.5], [0, np.nan]])
    >>> scores = np.array([[0.9, 0.5], [0.1, 0.9], [0.2, 0.75], [0.1, 0.0]])
    >>> evaluate(labels, scores, regression=np.array([False, True])).macro()
    {'roc_auc': 1.0, 'pr_auc': 1.0, 'rmse': 0.25}
    """
    labels, scores = checked(labels, scores)
    regression = checked_kinds(regression, labels)
    tracks, positives = (~np.isnan(labels)).sum(axis=0), (labels >= POSITIVE).sum(axis=0)
    areas = np.full((2, labels.shape[1]), np.nan)
    areas[:, ~regression] = _areas(labels[:, ~regression], scores[:, ~regression], (_roc_auc, _average_precision))
    roots = np.full(labels.shape[1], np.nan)
    roots[regression] = _rmse(labels[:, regression], scores[:, regression])
    return TagMetrics(
        tracks=tracks,
        positives=positives,
        roc_auc=areas[0],
        pr_auc=areas[1],
        rmse=roots,
        reasons=[_reason(*facts) for facts in zip(tracks, positives, regression, strict=True)],
    )


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Per tag, the chance that a positive track scores above a negative one; a tie counts half.

    Shape:
        labels, scores: (tracks, tags), labels in [0, 1] or NaN, scores in [0, 1]
        returns:        (tags,), NaN without positives or without negatives
    Source: Fawcett 2006, "An introduction to ROC analysis", section 7.
    """
    (found,) = _areas(*checked(labels, scores), (_roc_auc,))
    return found


def average_precision(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Per tag, the area under the precision-recall curve as a sum of steps: precision weighted by gain in recall.

    Tracks with equal scores enter together. Shapes as `roc_auc`. This is scikit-learn's `average_precision_score`;
    a trapezoid between the points would be too high (Davis and Goadrich 2006).
    """
    (found,) = _areas(*checked(labels, scores), (_average_precision,))
    return found


def rmse(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Per tag, the root of the mean squared error over its annotated tracks; NaN without any. Shapes as `roc_auc`.

    A study's number is the mean of these roots over the regression tags, not the root of their pooled error.
    """
    return _rmse(*checked(labels, scores))


def checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (tracks, tags). Raises ValueError: shapes that do not fit, values out of range."""
    labels, scores = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    if labels.ndim != 2 or labels.shape != scores.shape:
        raise ValueError(f"expected labels and scores (tracks, tags), found {labels.shape} and {scores.shape}")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores: expected values in [0, 1], found others (or NaN)")
    if not (np.isnan(labels) | ((labels >= 0) & (labels <= 1))).all():
        raise ValueError("labels: expected values in [0, 1] or NaN, found others")
    return labels, scores


def checked_kinds(regression: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """As bool (tags,). Raises ValueError: another number of tags."""
    regression = np.asarray(regression, bool)
    if regression.shape != labels.shape[1:]:
        raise ValueError(f"regression: expected ({labels.shape[1]},), found {regression.shape}")
    return regression


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of the values that are not NaN; NaN where none is.

    >>> mean_of_known(np.array([[1.0, np.nan], [2.0, np.nan]]))
    array([1.5, nan])
    """
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    mean: np.ndarray = np.where(known, values, 0.0).sum(axis=0) / np.where(counts > 0, counts, np.nan)
    return mean


def _areas(labels: np.ndarray, scores: np.ndarray, areas: Sequence[Area]) -> np.ndarray:
    """Some areas of every tag, (areas, tags), over its annotated tracks, where both classes occur."""
    found = np.full((len(areas), labels.shape[1]), np.nan)
    for tag in range(labels.shape[1]):
        known = ~np.isnan(labels[:, tag])
        positive = labels[known, tag] >= POSITIVE
        if positive.any() and not positive.all():
            counts = _counts_by_threshold(positive, scores[known, tag])
            found[:, tag] = [area(*counts) for area in areas]
    return found


def _roc_auc(true: np.ndarray, false: np.ndarray) -> float:
    below = false[-1] - false  # negatives scored below each threshold
    gained, tied = np.diff(true, prepend=0), np.diff(false, prepend=0)
    return float((gained * (below + tied / 2)).sum() / (true[-1] * false[-1]))


def _average_precision(true: np.ndarray, false: np.ndarray) -> float:
    return float((np.diff(true, prepend=0) * true / (true + false)).sum() / true[-1])


def _counts_by_threshold(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives at each distinct score taken as threshold, from the highest score down."""
    order = np.argsort(-scores)
    positive, scores = positive[order], scores[order]
    last_of_ties = np.append(scores[1:] != scores[:-1], True)
    true = np.cumsum(positive)[last_of_ties]
    return true, np.flatnonzero(last_of_ties) + 1 - true


def _rmse(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return np.sqrt(mean_of_known((labels - scores) ** 2))


def _reason(tracks: int, positives: int, regression: bool) -> str | None:
    if tracks == 0:
        return "no annotated track"
    if regression or 0 < positives < tracks:
        return None
    return f"{'no' if positives == 0 else 'only'} positives among {tracks} annotated tracks"
