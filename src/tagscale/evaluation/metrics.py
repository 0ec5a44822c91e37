"""Metrics of tag scores, as pure functions of arrays: ROC-AUC, PR-AUC and the root of the mean squared error.

Labels are in [0, 1], NaN where a track is not annotated with a tag; such entries count nowhere. A track is positive
for a classification tag when its label is at least 0.5.
Source: Pons et al. 2018, section 5.1: both AUCs for classification tags, root of the MSE for regression tags.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

POSITIVE = 0.5  # labels from here up are positives of a classification tag
METRICS = ("roc_auc", "pr_auc", "rmse")


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
        return {metric: _mean(getattr(self, metric)) for metric in METRICS}


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
    labels, scores = _checked(labels, scores)
    regression = np.asarray(regression, bool)
    if regression.shape != labels.shape[1:]:
        raise ValueError(f"regression: expected ({labels.shape[1]},), found {regression.shape}")
    known = ~np.isnan(labels)
    tracks, positives = known.sum(axis=0), (labels >= POSITIVE).sum(axis=0)
    return TagMetrics(
        tracks=tracks,
        positives=positives,
        roc_auc=np.where(regression, np.nan, roc_auc(labels, scores)),
        pr_auc=np.where(regression, np.nan, average_precision(labels, scores)),
        rmse=np.where(regression, rmse(labels, scores), np.nan),
        reasons=[_reason(*facts) for facts in zip(tracks, positives, regression, strict=True)],
    )


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Per tag, the chance that a positive track scores above a negative one; a tie counts half.

    Shape:
        labels, scores: (tracks, tags), labels in [0, 1] or NaN, scores in [0, 1]
        returns:        (tags,), NaN without positives or without negatives
    Source: Fawcett 2006, "An introduction to ROC analysis", section 7.
    """
    return _per_tag(_roc_auc, labels, scores)


def average_precision(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Per tag, the area under the precision-recall curve as a sum of steps: precision weighted by gain in recall.

    Tracks with equal scores enter together. Shapes as `roc_auc`. This is scikit-learn's `average_precision_score`;
    a trapezoid between the points would be too high (Davis and Goadrich 2006).
    """
    return _per_tag(_average_precision, labels, scores)


def rmse(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Per tag, the root of the mean squared error over its annotated tracks; NaN without any. Shapes as `roc_auc`.

    A study's number is the mean of these roots over the regression tags, not the root of their pooled error.
    """
    labels, scores = _checked(labels, scores)
    known = ~np.isnan(labels)
    squares = np.where(known, np.nan_to_num(labels) - scores, 0.0) ** 2
    counts = known.sum(axis=0)
    return np.sqrt(np.where(counts > 0, squares.sum(axis=0) / np.maximum(counts, 1), np.nan))


def _roc_auc(positive: np.ndarray, scores: np.ndarray) -> float:
    true, false = _counts_by_threshold(positive, scores)
    below = false[-1] - false  # negatives scored below each threshold
    gained, tied = np.diff(true, prepend=0), np.diff(false, prepend=0)
    return float((gained * (below + tied / 2)).sum() / (true[-1] * false[-1]))


def _average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    true, false = _counts_by_threshold(positive, scores)
    return float((np.diff(true, prepend=0) * true / (true + false)).sum() / true[-1])


def _counts_by_threshold(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives at each distinct score taken as threshold, from the highest score down."""
    order = np.argsort(-scores, kind="stable")
    positive, scores = positive[order], scores[order]
    last_of_ties = np.append(scores[1:] != scores[:-1], True)
    true = np.cumsum(positive)[last_of_ties]
    return true, np.flatnonzero(last_of_ties) + 1 - true


def _per_tag(metric: Callable[[np.ndarray, np.ndarray], float], labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """A metric of one tag's (positive, scores) over the annotated tracks of each tag, where both classes occur."""
    labels, scores = _checked(labels, scores)
    found = np.full(labels.shape[1], np.nan)
    for tag in range(labels.shape[1]):
        known = ~np.isnan(labels[:, tag])
        positive = labels[known, tag] >= POSITIVE
        if positive.any() and not positive.all():
            found[tag] = metric(positive, scores[known, tag])
    return found


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    if labels.ndim != 2 or labels.shape != scores.shape:
        raise ValueError(f"expected labels and scores (tracks, tags), found {labels.shape} and {scores.shape}")
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores: expected values in [0, 1], found others (or NaN)")
    if not (np.isnan(labels) | ((labels >= 0) & (labels <= 1))).all():
        raise ValueError("labels: expected values in [0, 1] or NaN, found others")
    return labels, scores


def _reason(tracks: int, positives: int, regression: bool) -> str | None:
    if tracks == 0:
        return "no annotated track"
    if regression or 0 < positives < tracks:
        return None
    return f"{'no' if positives == 0 else 'only'} positives among {tracks} annotated tracks"


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")
