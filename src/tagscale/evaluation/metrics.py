"""The metrics of tag scores. `METRICS` has one entry a metric, and everything that shows or judges scores reads it.

Labels are in [0, 1], NaN where a track is not annotated with a tag; such entries count nowhere. A track is positive
for a classification tag when its label is at least 0.5.
Source: Pons et al. 2018, section 5.1: both AUCs for classification tags, root of the MSE for regression tags.

Where the tracks are scored by the models of several folds, both AUCs compare a track with those of its own fold alone
(`TagTracks.areas`). Each model has a level of its own, and the one that is tested on the fold with the most positives
has learned from the fewest: over folds, the scores of a model without any skill order the tracks the wrong way round.
Counts and errors (F1, the MSE ...) are of all tracks together.
Source: Forman and Scholz 2010, "Apples-to-apples in cross-validation studies", sections 3 and 4.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

from tagscale import POSITIVE
from tagscale.evaluation.decisions import OfFolds, OfTags, decide
from tagscale.evaluation.resamples import areas, levels, totals
from tagscale.runtime.errors import TagscaleError

KINDS = ("classification", "regression")
PARTS = ("valid", "test")  # the parts of a partition that are scored
NOTHING = "–"  # printed where there is no score
GUESS = "guess"  # column of `guess` in per_tag.csv
ARTISTS = "artists"  # column of `TagMetrics.artists` there
PER_GROUP = "per_group.csv"  # the file of the groups' means and intervals beside it

FREQUENT_POSITIVES, FREQUENT_ARTISTS = 10, 3  # positive tracks, and artists with some, of a frequent tag in a part
TOP = 3  # tags of a track that `precision_at_3` looks at
BINS = 15  # of probabilities, equally wide (Guo et al. 2017)
MICRO_THRESHOLDS = 512  # at most, in the resamples of the areas over all pairs of track and tag


@dataclass(frozen=True)
class TagTracks:
    """The annotated tracks of one tag; or of many, where a track comes once with each (`Over`).

    Shape:
        labels: (tracks,) float64 in [0, 1]
        scores: (tracks,) float64 in [0, 1]
        probabilities: (tracks,) float64 in [0, 1], as the tag's calibration makes them of the scores
        decided: (tracks,) bool, whether the score reaches the tag's threshold
        each of them (tracks, tags), with NaN labels, where a metric is a mean over tracks
        fold: (tracks,), the number of the fold whose model gave the score; None: one model gave all
    """

    labels: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    decided: np.ndarray
    fold: np.ndarray | None = None

    @cached_property
    def positive(self) -> np.ndarray:
        """(tracks,) bool."""
        return self.labels >= POSITIVE

    @cached_property
    def folds(self) -> list[np.ndarray]:
        """The tracks of each fold that holds positives and negatives, (tracks,) bool each."""
        fold = np.zeros(len(self.labels), int) if self.fold is None else self.fold
        tracks = [fold == number for number in np.unique(fold)]
        return [members for members in tracks if 0 < self.positive[members].sum() < members.sum()]

    @cached_property
    def areas(self) -> tuple[np.ndarray, np.ndarray]:
        """ROC-AUC and average precision, of comparisons within a fold."""
        return self.within_folds(lambda fold: _areas(self.positive[fold], self.scores[fold]))

    @cached_property
    def quick_areas(self) -> tuple[np.ndarray, np.ndarray]:
        """The same; of many tracks in resamples not quite, since exact ones would take long."""
        return self.areas

    def within_folds(self, areas: Callable[[np.ndarray], Sequence[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """ROC-AUC and average precision of all folds: means over all pairs within a fold, and over all positives.

        Args:
            areas: gives both for the tracks of one fold, (tracks,) bool
        """
        sums, weights = np.zeros((2, 2, *self.confusion.shape[1:]))
        for fold in self.folds:
            negatives, positives = self.totals(1.0 * fold, self.positive.astype(int), 2)
            weight = np.stack([positives * negatives, positives * (negatives > 0)])
            sums += np.where(weight > 0, weight * np.stack(areas(fold)), 0.0)
            weights += weight
        roc, precision = _share(sums, weights)
        return roc, precision

    def totals(self, values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
        """The sum of one value a track over each group of tracks, (groups,)."""
        return np.bincount(group, values, groups)

    @cached_property
    def confusion(self) -> np.ndarray:
        """How many tracks are true and false negatives, false and true positives, (4,), in this order."""
        return self.totals(np.ones(len(self.labels)), 2 * self.decided + self.positive, 4)

    def mean(self, values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """The mean of one value a track; NaN where the weights add up to 0."""
        weights = np.ones(len(values)) if weights is None else weights
        one = np.zeros(len(values), int)
        return _share(self.totals(values * weights, one, 1)[0], self.totals(weights, one, 1)[0])


@dataclass(frozen=True)
class ResampledTracks(TagTracks):
    """Such tracks in many resamples of their artists; what is one number there is (resamples,) here.

    Shape:
        artist: (tracks,), the number of each track's artist
        draws:  (artists, resamples), how often each resample holds each artist
    """

    artist: np.ndarray = field(kw_only=True)
    draws: np.ndarray = field(kw_only=True)

    @cached_property
    def areas(self) -> tuple[np.ndarray, np.ndarray]:
        """ROC-AUC and average precision, each (resamples,): one pass gives both."""
        return self._resampled_areas(self.scores)

    @cached_property
    def quick_areas(self) -> tuple[np.ndarray, np.ndarray]:
        """The same at `MICRO_THRESHOLDS` at most: exact for few tracks."""
        return self._resampled_areas(levels(self.positive, self.scores, MICRO_THRESHOLDS))

    def _resampled_areas(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.within_folds(lambda fold: areas(self.positive[fold], scores[fold], self.artist[fold], self.draws))

    def totals(self, values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
        """The sum of one value a track over each group of tracks in every resample, (groups, resamples)."""
        return totals(values, group, groups, self.artist, self.draws)


Over = Literal["tags", "frequent tags", "pairs", "tracks"]
Shown = Literal["scores", "decisions", "averages"]


@dataclass(frozen=True)
class Metric:
    """One way to score tags.

    key: its name in files, tables, settings and MLflow
    label: its name for readers
    kinds: the kinds of tags that it scores; a classification tag only where both classes occur
    score: its value on the annotated tracks of one tag, or on what `over` says; on `ResampledTracks` (resamples,)
    meaning: what it says of one tag, or of what `over` says, for readers of reports
    over: what its one number for a part is. "tags": the mean over the tags that it scores; "frequent tags": the same
        over those with enough positives by enough artists; "pairs": its value on all pairs of a track and a tag; these
        weigh all tracks alike, and so frequent tags more; "tracks": the mean over tracks of a value for all their tags
    of: for frequent tags, the key of the metric whose values are averaged
    shown: the table of the report that it stands in
    lower_is_better: its direction
    decided: whether it rests on the decisions that are learned for a model, not on its scores
    main: whether it stands for its kinds where one metric must: ranks of models, bars of single tags
    bounds: its least and its greatest value
    decimals: how exactly it is printed
    """

    key: str
    label: str
    kinds: tuple[str, ...]
    score: Callable[[TagTracks], np.ndarray]
    meaning: str
    over: Over = "tags"
    of: str = ""
    shown: Shown = "scores"
    lower_is_better: bool = False
    decided: bool = False
    main: bool = False
    bounds: tuple[float, float] = (0.0, 1.0)
    decimals: int = 3

    @property
    def definition(self) -> str:
        """What its one number for a part is, for readers: its meaning, and over what it is averaged.

        >>> PR_AUC.definition.endswith("The mean over the classification tags.")
        True
        """
        over = {"tags": f" The mean over the {' and '.join(self.kinds)} tags.", "tracks": " The mean over the tracks."}
        return self.meaning + over.get(self.over, "")

    @property
    def sign(self) -> int:
        """1 where a higher value is better, -1 where a lower one is."""
        return -1 if self.lower_is_better else 1

    @property
    def best(self) -> float:
        """The value that nothing can be better than."""
        return self.bounds[0] if self.lower_is_better else self.bounds[1]

    def words(self, value: float) -> str:
        """The value as tables and sentences print it; a dash for NaN, and no sign before 0."""
        return NOTHING if np.isnan(value) else f"{round(value, self.decimals) + 0.0:.{self.decimals}f}"


def roc_auc(tag: TagTracks) -> np.ndarray:
    """The chance that a positive track scores above a negative one of its fold; a tie counts half.

    Source: Fawcett 2006, "An introduction to ROC analysis", section 7.
    """
    return tag.areas[0]


def average_precision(tag: TagTracks) -> np.ndarray:
    """The area under the precision-recall curve as a sum of steps: precision weighted by gain in recall.

    Tracks with equal scores enter together. This is scikit-learn's `average_precision_score`; a trapezoid between the
    points would be too high (Davis and Goadrich 2006). It is also the mean over the positives of the precision at their
    score, and so defined over folds: a positive's precision is that of its fold.
    """
    return tag.areas[1]


def _areas(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ROC-AUC and average precision of the tracks of one model, from the highest score as threshold down."""
    order = np.argsort(-scores)
    positive, scores = positive[order], scores[order]
    last_of_ties = np.append(scores[1:] != scores[:-1], True)
    true = np.cumsum(positive)[last_of_ties]
    false = np.flatnonzero(last_of_ties) + 1 - true
    below = false[-1] - false  # negatives scored below each threshold
    gained, tied = np.diff(true, prepend=0), np.diff(false, prepend=0)
    in_order = (gained * (below + tied / 2)).sum() / (true[-1] * false[-1])
    return np.asarray(in_order), np.asarray((gained * true / (true + false)).sum() / true[-1])


def rmse(tag: TagTracks) -> np.ndarray:
    """The root of the mean squared error.

    A study's number is the mean of these roots over the regression tags, not the root of their pooled error.
    """
    return np.sqrt(tag.mean((tag.labels - tag.scores) ** 2))


def f1(tag: TagTracks) -> np.ndarray:
    """The harmonic mean of precision and recall at the tag's threshold; NaN in a resample without positives."""
    _, missed, false, true = tag.confusion
    return _share(2 * true, 2 * true + false + missed, where=true + missed > 0)


def precision(tag: TagTracks) -> np.ndarray:
    """The share of the decided tracks that are positive; NaN where none is decided."""
    _, _, false, true = tag.confusion
    return _share(true, true + false)


def recall(tag: TagTracks) -> np.ndarray:
    """The share of the positive tracks that are decided."""
    _, missed, _, true = tag.confusion
    return _share(true, true + missed)


def calibration_error(tag: TagTracks) -> np.ndarray:
    """The expected calibration error: how far the mean probability is from the share of positives, bin by bin.

    It is above 0 for perfect probabilities, too, since a share of few tracks is uncertain.
    Source: Guo et al. 2017, "On calibration of modern neural networks", equation 3, for each tag by itself.
    """
    place = np.minimum((tag.probabilities * BINS).astype(int), BINS - 1)
    gaps = np.abs(tag.totals(tag.probabilities - tag.positive, place, BINS)).sum(axis=0)
    return _share(gaps, tag.confusion.sum(axis=0))


def _share(part: np.ndarray, whole: np.ndarray, where: np.ndarray | bool = True) -> np.ndarray:
    """part / whole; NaN where the whole is 0, or where not asked for."""
    return np.asarray(part / np.where((whole > 0) & where, whole, np.nan))


def precision_at_top(tracks: TagTracks) -> np.ndarray:
    """The share of a track's `TOP` highest scores whose tags are true, mean over tracks with so many annotated tags.

    Tags that share the last of these places by equal scores get equal parts of it.
    """
    known = ~np.isnan(tracks.labels)
    counted = 1.0 * (known.sum(axis=1) >= TOP)
    if not counted.any():
        return tracks.mean(counted, counted)
    scores = np.where(known, tracks.scores, -1.0)
    last = np.partition(scores, -TOP, axis=1)[:, [-TOP]]
    above, tied = scores > last, scores == last
    share = (TOP - above.sum(axis=1)) / tied.sum(axis=1)
    hits = (above & tracks.positive).sum(axis=1) + share * (tied & tracks.positive).sum(axis=1)
    return tracks.mean(hits / TOP, counted)


def _over_pairs(metric: Metric, label: str, score: Callable[[TagTracks], np.ndarray]) -> Metric:
    meaning = f"{metric.label} of all pairs of a track and a tag taken together, so that frequent tags weigh more."
    made = replace(metric, key=f"micro_{metric.key}", label=label, score=score, meaning=meaning)
    return replace(made, over="pairs", shown="averages", main=False)


def _over_frequent(metric: Metric) -> Metric:
    made = replace(metric, key=f"frequent_{metric.key}", label=f"{metric.label}, frequent tags", of=metric.key)
    meaning = (
        f"{metric.label} as the mean over the frequent tags alone: those with at least {FREQUENT_POSITIVES} positive "
        f"tracks, by at least {FREQUENT_ARTISTS} artists."
    )
    return replace(made, over="frequent tags", meaning=meaning, shown="averages", main=False)


CLASSES, VALUES = (("classification",), ("regression",))
ROC_AUC = Metric(
    "roc_auc",
    "ROC-AUC",
    CLASSES,
    score=roc_auc,
    meaning="The chance that a track with the tag scores above a track without it. 0.5 is guessing, 1 is perfect.",
)
PR_AUC = Metric(
    "pr_auc",
    "PR-AUC",
    CLASSES,
    score=average_precision,
    meaning="The mean, over the tracks with the tag, of the share of such tracks among those that score as high or "
    "higher (average precision). Guessing gets the share of tracks with the tag, 1 is perfect.",
    main=True,  # it tells more than ROC-AUC on rare tags (section 5.1)
)
RMSE = Metric(
    "rmse",
    "√MSE",
    VALUES,
    score=rmse,
    meaning="The root of the mean squared difference between score and label. 0 is perfect.",
    lower_is_better=True,
    main=True,
)
F1 = Metric(
    "f1",
    "F1",
    CLASSES,
    score=f1,
    meaning="The harmonic mean of precision (how many of the tracks that are given the tag have it) and recall (how "
    "many of the tracks that have it are given it), at the tag's threshold, which the validation part sets.",
    shown="decisions",
    decided=True,
)
PRECISION_AT_TOP = Metric(
    f"precision_at_{TOP}",
    f"precision at {TOP}",
    CLASSES,
    score=precision_at_top,
    meaning=f"The share of true tags among a track's {TOP} highest scores.",
    over="tracks",
    shown="decisions",
)
ECE = Metric(
    "ece",
    "ECE",
    CLASSES,
    score=calibration_error,
    meaning=f"The expected calibration error: how far a tag's probabilities are from the share of tracks that have it, "
    f"in {BINS} steps of probability. 0 is perfect; few tracks give more than 0 by chance.",
    shown="decisions",
    lower_is_better=True,
    decided=True,
)
AVERAGES = (
    _over_pairs(ROC_AUC, "micro ROC-AUC", lambda pairs: pairs.quick_areas[0]),
    _over_pairs(PR_AUC, "micro PR-AUC", lambda pairs: pairs.quick_areas[1]),
    _over_pairs(F1, "micro F1", f1),
    _over_frequent(ROC_AUC),
    _over_frequent(PR_AUC),
    _over_frequent(F1),
)

ALL = (ROC_AUC, PR_AUC, RMSE, F1, PRECISION_AT_TOP, ECE, *AVERAGES)
METRICS = {metric.key: metric for metric in ALL}  # in the order of columns
OF_TAGS = {key: metric for key, metric in METRICS.items() if metric.over == "tags"}  # each has a value a tag
OF_PART = [metric for metric in METRICS.values() if metric.over in ("pairs", "tracks")]  # one value a part


def shown_in(table: Shown) -> list[Metric]:
    """The metrics of one of the report's tables; "scores" is the first, with the paper's metrics."""
    return [metric for metric in METRICS.values() if metric.shown == table]


def metrics_of(kind: str) -> list[Metric]:
    """The metrics that a tag of this kind has values of."""
    return [metric for metric in OF_TAGS.values() if kind in metric.kinds]


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

    values: the arrays by the metric's key, of the metrics `OF_TAGS`
    of_part: the metrics over pairs and over tracks, one number each, by key
    tracks: annotated tracks
    positives: annotated tracks with a label of at least 0.5
    artists: of the positives; of a regression tag's annotated tracks
    frequent: whether a tag has enough positives by enough artists
    reasons: why a tag has no metric; None where it has
    """

    values: dict[str, np.ndarray]
    of_part: dict[str, float]
    tracks: np.ndarray
    positives: np.ndarray
    artists: np.ndarray
    frequent: np.ndarray
    reasons: list[str | None]

    def __getitem__(self, metric: str) -> np.ndarray:
        return self.values[metric]

    def overall(self) -> dict[str, float]:
        """One number for each metric: as its `over` says; NaN where there is nothing to score."""
        return {key: float(value) for key, value in overall(self.values, self.of_part, self.frequent).items()}


def overall(
    values: Mapping[str, np.ndarray], of_part: Mapping[str, float | np.ndarray], frequent: np.ndarray
) -> dict[str, float | np.ndarray]:
    """One number for each metric, or one a resample, from those of the tags and those of the part.

    Shape:
        values:   (tags,) or (tags, resamples) each
        frequent: (tags,) bool
    """
    numbers = dict(of_part) | {key: mean_of_known(values[key]) for key in OF_TAGS}
    numbers |= {metric.key: mean_of_known(values[metric.of][frequent]) for metric in METRICS.values() if metric.of}
    return {key: numbers[key] for key in METRICS}


def evaluate(
    labels: np.ndarray,
    scores: np.ndarray,
    regression: np.ndarray,
    decisions: OfTags | OfFolds | None = None,
    artist: np.ndarray | None = None,
    fold: np.ndarray | None = None,
) -> TagMetrics:
    """All metrics of all tags, each tag by the metrics of its kind.

    Args:
        labels: (tracks, tags) in [0, 1] or NaN
        scores: (tracks, tags) in [0, 1]
        regression: (tags,) bool
        decisions: a tag's calibration and threshold, or those of each fold by its number; without, its scores are
            probabilities and decided from 0.5
        artist: (tracks,), the number of each track's artist; without, each track has its own
        fold: (tracks,), the number of the fold whose model scored each track; without, one model scored all
    Raises:
        ValueError: shapes that do not fit, values out of range.

    >>> labels = np.array([[1, 0.25], [0, np.nan], [1, 0.5], [0, np.nan]])
    >>> scores = np.array([[0.9, 0.5], [0.1, 0.9], [0.2, 0.75], [0.1, 0.0]])
    >>> numbers = evaluate(labels, scores, regression=np.array([False, True])).overall()
    >>> numbers["roc_auc"], numbers["pr_auc"], numbers["rmse"]
    (1.0, 1.0, 0.25)
    """
    part = Part.of(labels, scores, regression, decisions, artist, fold)
    labels, regression = part.labels, part.regression
    tracks, positives = (~np.isnan(labels)).sum(axis=0), (labels >= POSITIVE).sum(axis=0)
    values = {metric: np.full(labels.shape[1], np.nan) for metric in OF_TAGS}
    reasons = []
    for tag, is_regression in enumerate(regression.tolist()):
        annotated = TagTracks(*part.of_tag(tag))
        reasons.append(_reason(annotated, is_regression))
        if reasons[-1] is None:
            for metric in metrics_of(KINDS[is_regression]):
                values[metric.key][tag] = metric.score(annotated)
    wholes = {over: TagTracks(*arrays) for over, (arrays, _) in part.whole().items()}
    of_part = {
        metric.key: float(metric.score(wholes[metric.over])) if metric.over in wholes else np.nan for metric in OF_PART
    }
    return TagMetrics(values, of_part, tracks, positives, part.artists, part.frequent, reasons)


def number_of(
    key: str, labels: np.ndarray, scores: np.ndarray, regression: np.ndarray, fold: np.ndarray | None = None
) -> float:
    """One metric's number alone: that of `evaluate(labels, scores, regression, fold=fold).overall()`, in less time.

    Args:
        key: of METRICS
        labels, scores, regression, fold: as `evaluate` takes them. Raises as it.
    """
    part, metric = Part.of(labels, scores, regression, None, fold=fold), METRICS[key]
    if metric in OF_PART:
        wholes = part.whole()
        return float(metric.score(TagTracks(*wholes[metric.over][0]))) if wholes else np.nan
    of_tag = METRICS[metric.of or key]
    counted = part.frequent if metric.of else np.isin(np.take(KINDS, part.regression), of_tag.kinds)
    values = np.full(counted.sum(), np.nan)
    for place, tag in enumerate(np.flatnonzero(counted).tolist()):
        annotated = TagTracks(*part.of_tag(tag))
        if _reason(annotated, bool(part.regression[tag])) is None:
            values[place] = of_tag.score(annotated)
    return float(mean_of_known(values))


def guess(labels: np.ndarray, regression: np.ndarray, fold: np.ndarray | None = None) -> np.ndarray:
    """The PR-AUC of every tag, (tags,), where all tracks score alike: the share of positives.

    With folds it is the mean over the positives of that share in their fold, which is higher than the share of all.

    Args: as `evaluate` takes them. Raises as it.
    """
    return evaluate(labels, np.zeros_like(labels), regression, fold=fold)[PR_AUC.key]


Arrays = tuple[np.ndarray, ...]  # labels, scores, probabilities, decided and fold, as `TagTracks` takes them


def precision_recall(
    labels: np.ndarray,
    scores: np.ndarray,
    regression: np.ndarray,
    decisions: OfTags | OfFolds,
    fold: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Precision and recall of every tag at its threshold, by these names, each (tags,); NaN where there is none.

    Args: as `evaluate` takes them. Raises as it.
    """
    part = Part.of(labels, scores, regression, decisions, fold=fold)
    both = np.full((2, len(part.regression)), np.nan)
    for tag in np.flatnonzero(~part.regression).tolist():
        annotated = TagTracks(*part.of_tag(tag))
        both[:, tag] = precision(annotated), recall(annotated)
    return {"precision": both[0], "recall": both[1]}


@dataclass(frozen=True)
class Part:
    """What the metrics of a part are computed from; the arrays are (tracks, tags), `artist` and `fold` (tracks,)."""

    labels: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    decided: np.ndarray
    regression: np.ndarray
    artist: np.ndarray
    fold: np.ndarray

    @classmethod
    def of(
        cls,
        labels: np.ndarray,
        scores: np.ndarray,
        regression: np.ndarray,
        decisions: OfTags | OfFolds | None,
        artist: np.ndarray | None = None,
        fold: np.ndarray | None = None,
    ) -> "Part":
        """Check what `evaluate` takes, and apply the decisions. Raises as `evaluate`."""
        labels, scores = checked(labels, scores)
        regression = np.asarray(regression, bool)
        if regression.shape != labels.shape[1:]:
            raise ValueError(f"regression: expected ({labels.shape[1]},), found {regression.shape}")
        artist = np.arange(len(labels)) if artist is None else artist
        fold = np.zeros(len(labels), int) if fold is None else fold
        for name, numbers in (("artists", artist), ("folds", fold)):
            if numbers.shape != labels.shape[:1]:
                raise ValueError(f"{name}: expected {labels.shape[:1]}, found {numbers.shape}")
        return cls(labels, scores, *decide(scores, decisions, fold), regression, artist, fold)

    @cached_property
    def artists(self) -> np.ndarray:
        """(tags,): by how many artists a tag's positive tracks are, or a regression tag's annotated ones."""
        counted = np.where(self.regression, ~np.isnan(self.labels), self.labels >= POSITIVE)
        return np.array([len(np.unique(self.artist[rows])) for rows in counted.T], int)

    @cached_property
    def frequent(self) -> np.ndarray:
        """(tags,) bool: whether a tag has enough positives by enough artists."""
        positives = (self.labels >= POSITIVE).sum(axis=0)
        return ~self.regression & (positives >= FREQUENT_POSITIVES) & (self.artists >= FREQUENT_ARTISTS)

    def known(self, tag: int) -> np.ndarray:
        """(tracks,) bool: whether a track is annotated with a tag."""
        return ~np.isnan(self.labels[:, tag])

    def of_tag(self, tag: int) -> Arrays:
        """The annotated tracks of one tag."""
        known = self.known(tag)
        return (
            self.labels[known, tag],
            self.scores[known, tag],
            self.probabilities[known, tag],
            self.decided[known, tag],
            self.fold[known],
        )

    def whole(self) -> dict[Over, tuple[Arrays, np.ndarray]]:
        """What metrics over pairs and over tracks see, each with its artists; {} where nothing can be scored."""
        classes = ~self.regression
        labels, scores = self.labels[:, classes], self.scores[:, classes]
        tracks = labels, scores, self.probabilities[:, classes], self.decided[:, classes], self.fold
        known = ~np.isnan(labels)
        if not 0 < (labels >= POSITIVE).sum() < known.sum():
            return {}
        artists, folds = (np.broadcast_to(numbers[:, None], known.shape)[known] for numbers in (self.artist, self.fold))
        pairs = labels[known], scores[known], tracks[2][known], tracks[3][known], folds
        return {"pairs": (pairs, artists), "tracks": (tracks, self.artist)}


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


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """The mean over the first axis of the values that are not NaN; NaN where none is.

    >>> mean_of_known(np.array([[1.0, np.nan], [2.0, np.nan]]))
    array([1.5, nan])
    """
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    mean: np.ndarray = np.where(known, values, 0.0).sum(axis=0) / np.where(counts > 0, counts, np.nan)
    return mean


def _reason(tag: TagTracks, regression: bool) -> str | None:
    tracks, positives = len(tag.labels), int(tag.positive.sum())
    if tracks == 0:
        return "no annotated track"
    if regression or tag.folds:
        return None
    if 0 < positives < tracks:
        return f"no fold holds both positives and negatives of {tracks} annotated tracks"
    return f"{'no' if positives == 0 else 'only'} positives among {tracks} annotated tracks"
