"""The metrics of tag scores. `METRICS` has one entry a metric, and everything that shows or judges scores reads it.

Labels are in [0, 1], NaN where a track is not annotated with a tag; such entries count nowhere. A track is positive
for a classification tag when its label is at least 0.5.
Source: Pons et al. 2018, section 5.1: both AUCs for classification tags, root of the MSE for regression tags.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tagscale import POSITIVE
from tagscale.evaluation.resamples import areas, means
from tagscale.runtime.errors import TagscaleError

KINDS = ("classification", "regression")
PARTS = ("valid", "test")  # the parts of a partition that are scored
NOTHING = "–"  # printed where there is no score


@dataclass(frozen=True)
class TagTracks:
    """The annotated tracks of one tag.

    Shape:
        labels: (tracks,) float64 in [0, 1]
        scores: (tracks,) float64 in [0, 1]
    """

    labels: np.ndarray
    scores: np.ndarray

    @cached_property
    def positive(self) -> np.ndarray:
        """(tracks,) bool."""
        return self.labels >= POSITIVE

    @cached_property
    def by_threshold(self) -> tuple[np.ndarray, np.ndarray]:
        """True and false positives at each distinct score taken as threshold, from the highest score down."""
        order = np.argsort(-self.scores)
        positive, scores = self.positive[order], self.scores[order]
        last_of_ties = np.append(scores[1:] != scores[:-1], True)
        true = np.cumsum(positive)[last_of_ties]
        return true, np.flatnonzero(last_of_ties) + 1 - true

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The mean of one value a track."""
        return np.asarray(values.mean())


@dataclass(frozen=True)
class ResampledTracks(TagTracks):
    """The annotated tracks of one tag in many resamples of their artists.

    Shape:
        artist: (tracks,), the number of each track's artist
        draws:  (artists, resamples), how often each resample holds each artist
    """

    artist: np.ndarray
    draws: np.ndarray

    @cached_property
    def areas(self) -> tuple[np.ndarray, np.ndarray]:
        """ROC-AUC and average precision, each (resamples,): one pass gives both."""
        return areas(self.positive, self.scores, self.artist, self.draws)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The mean of one value a track in every resample, (resamples,)."""
        return means(values, self.artist, self.draws)


@dataclass(frozen=True)
class Metric:
    """One way to score a tag.

    key: its name in files, tables, settings and MLflow
    label: its name for readers
    kinds: the kinds of tags that it scores; a classification tag only where both classes occur
    score: its value on the annotated tracks of one tag
    resampled: its value in every resample of them, (resamples,)
    lower_is_better: its direction
    main: whether it stands for its kinds where one metric must: ranks of models, bars of single tags
    bounds: its least and its greatest value
    decimals: how exactly it is printed
    """

    key: str
    label: str
    kinds: tuple[str, ...]
    score: Callable[[TagTracks], np.ndarray]
    resampled: Callable[[ResampledTracks], np.ndarray]
    lower_is_better: bool = False
    main: bool = False
    bounds: tuple[float, float] = (0.0, 1.0)
    decimals: int = 3

    @property
    def sign(self) -> int:
        """1 where a higher value is better, -1 where a lower one is."""
        return -1 if self.lower_is_better else 1

    def words(self, value: float) -> str:
        """The value as tables and sentences print it; a dash for NaN."""
        return NOTHING if np.isnan(value) else f"{value:.{self.decimals}f}"


def roc_auc(tag: TagTracks) -> np.ndarray:
    """The chance that a positive track scores above a negative one; a tie counts half.

    Source: Fawcett 2006, "An introduction to ROC analysis", section 7.
    """
    true, false = tag.by_threshold
    below = false[-1] - false  # negatives scored below each threshold
    gained, tied = np.diff(true, prepend=0), np.diff(false, prepend=0)
    return np.asarray((gained * (below + tied / 2)).sum() / (true[-1] * false[-1]))


def average_precision(tag: TagTracks) -> np.ndarray:
    """The area under the precision-recall curve as a sum of steps: precision weighted by gain in recall.

    Tracks with equal scores enter together. This is scikit-learn's `average_precision_score`; a trapezoid between the
    points would be too high (Davis and Goadrich 2006).
    """
    true, false = tag.by_threshold
    return np.asarray((np.diff(true, prepend=0) * true / (true + false)).sum() / true[-1])


def rmse(tag: TagTracks) -> np.ndarray:
    """The root of the mean squared error.

    A study's number is the mean of these roots over the regression tags, not the root of their pooled error.
    """
    return np.sqrt(tag.mean((tag.labels - tag.scores) ** 2))


ROC_AUC = Metric("roc_auc", "ROC-AUC", ("classification",), score=roc_auc, resampled=lambda tag: tag.areas[0])
PR_AUC = Metric(
    "pr_auc",
    "PR-AUC",
    ("classification",),
    score=average_precision,
    resampled=lambda tag: tag.areas[1],
    main=True,  # it tells more than ROC-AUC on rare tags (section 5.1)
)
RMSE = Metric("rmse", "√MSE", ("regression",), score=rmse, resampled=rmse, lower_is_better=True, main=True)

METRICS = {metric.key: metric for metric in (ROC_AUC, PR_AUC, RMSE)}  # in the order of columns


def metrics_of(kind: str) -> list[Metric]:
    """The metrics of a kind of tags."""
    return [metric for metric in METRICS.values() if kind in metric.kinds]


def main_metric(kind: str) -> Metric:
    """The metric that stands for a kind of tags.

    >>> main_metric("classification").label, main_metric("regression").label
    ('PR-AUC', '√MSE')
    """
    return next(metric for metric in metrics_of(kind) if metric.main)


def check_known(key: str, setting: str) -> None:
    """Raise a TagscaleError that names the setting unless `key` is that of a metric."""
    if key not in METRICS:
        raise TagscaleError(f"{setting}: found {key!r}, expected a metric: {', '.join(METRICS)}. Correct params.yaml.")


def check_fits(key: str, kinds: Collection[str], setting: str) -> None:
    """Raise a TagscaleError that names the setting unless the metric scores one of these kinds of tags."""
    if set(METRICS[key].kinds) & set(kinds):
        return
    fitting = [metric.key for metric in METRICS.values() if set(metric.kinds) & set(kinds)]
    raise TagscaleError(
        f"{setting}: found {key}, which scores {' and '.join(METRICS[key].kinds)} tags, but all tags here are "
        f"{' and '.join(sorted(set(kinds)))} tags. Set it to {' or '.join(fitting)} in params.yaml."
    )


def listing(values: Mapping[str, float]) -> str:
    """Metrics in a sentence. A metric that is no longer known, as of an old version, goes by its key.

    >>> listing({"pr_auc": 0.55, "rmse": 0.2})
    'PR-AUC 0.550, √MSE 0.200'
    """
    known = {key: METRICS[key] for key in values if key in METRICS}
    return ", ".join(
        f"{known[key].label} {known[key].words(value)}" if key in known else f"{key} {value:.3f}"
        for key, value in values.items()
    )


@dataclass(frozen=True)
class TagMetrics:
    """The metrics of every tag, each an array (tags,); NaN where a metric does not apply or cannot be computed.

    values: the arrays by the metric's key
    tracks: annotated tracks
    positives: annotated tracks with a label of at least 0.5
    reasons: why a tag has no metric; None where it has
    """

    values: dict[str, np.ndarray]
    tracks: np.ndarray
    positives: np.ndarray
    reasons: list[str | None]

    def __getitem__(self, metric: str) -> np.ndarray:
        return self.values[metric]

    def macro(self) -> dict[str, float]:
        """The mean of each metric over the tags that have it; NaN where none has."""
        return {metric: float(mean_of_known(values)) for metric, values in self.values.items()}


def evaluate(labels: np.ndarray, scores: np.ndarray, regression: np.ndarray) -> TagMetrics:
    """All metrics of all tags, each tag by the metrics of its kind.

    Args:
        labels: (tracks, tags) in [0, 1] or NaN
        scores: (tracks, tags) in [0, 1]
        regression: (tags,) bool
    Raises:
        ValueError: shapes that do not fit, values out of range.

    >>> labels = np.array([[1, 0.25], [0, np.nan], [1, 0.5], [0, np.nan]])
    >>> scores = np.array([[0.9, 0.5], [0.1, 0.9], [0.2, 0.75], [0.1, 0.0]])
    >>> macro = evaluate(labels, scores, regression=np.array([False, True])).macro()
    >>> macro["roc_auc"], macro["pr_auc"], macro["rmse"]
    (1.0, 1.0, 0.25)
    """
    labels, scores = checked(labels, scores)
    regression = checked_kinds(regression, labels)
    known = ~np.isnan(labels)
    tracks, positives = known.sum(axis=0), (labels >= POSITIVE).sum(axis=0)
    reasons = [_reason(*facts) for facts in zip(tracks, positives, regression, strict=True)]
    values = {metric: np.full(labels.shape[1], np.nan) for metric in METRICS}
    for tag, reason in enumerate(reasons):
        if reason is None:
            annotated = TagTracks(labels[known[:, tag], tag], scores[known[:, tag], tag])
            for metric in metrics_of(KINDS[int(regression[tag])]):
                values[metric.key][tag] = metric.score(annotated)
    return TagMetrics(values, tracks, positives, reasons)


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
    """The mean over the first axis of the values that are not NaN; NaN where none is.

    >>> mean_of_known(np.array([[1.0, np.nan], [2.0, np.nan]]))
    array([1.5, nan])
    """
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    mean: np.ndarray = np.where(known, values, 0.0).sum(axis=0) / np.where(counts > 0, counts, np.nan)
    return mean


def _reason(tracks: int, positives: int, regression: bool) -> str | None:
    if tracks == 0:
        return "no annotated track"
    if regression or 0 < positives < tracks:
        return None
    return f"{'no' if positives == 0 else 'only'} positives among {tracks} annotated tracks"
