"""How sure a score is: metrics in resamples of the test tracks, drawn by whole artists.

Tracks of one artist resemble each other, so they are not independent trials. A resample draws as many artists as there
are, with replacement, and takes all tracks of an artist as often as the artist was drawn. An interval lies between two
percentiles of a metric's resamples: what another test part, of as many other artists, might have given.

A resample repeats some artists and lacks others, which with rare tags lifts its PR-AUC by about one of its standard
deviations. So the resamples are shifted until their mean is the score itself (`centred`) before their percentiles are
taken. Percentiles need no formula for the error of an average precision, and each resample remains a score: subtracting
or averaging resample by resample gives the difference of two models or the mean over seeds. Intervals that mirror the
resamples or correct their median (basic; BC, and with it BCa) shift twice as far, and hold the mean score of such test
parts less often: `benchmarks/bootstrap.py` shows it.
Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapters 8 and 13.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tagscale.evaluation.decisions import TagDecision
from tagscale.evaluation.metrics import (
    KINDS,
    METRICS,
    OF_PART,
    OF_TAGS,
    Part,
    ResampledTracks,
    mean_of_known,
    metrics_of,
    overall,
)
from tagscale.runtime.machine import cores

FEWEST_ARTISTS = 2  # with positives, and with negatives, that the interval of a tag needs


@dataclass(frozen=True)
class Draw:
    """How often each resample holds each artist.

    artist_of: (tracks,), the number of each track's artist
    counts:    (artists, resamples), how often each resample holds each artist; its columns add up to the artists
    """

    artist_of: np.ndarray
    counts: np.ndarray

    @property
    def resamples(self) -> int:
        return int(self.counts.shape[1])

    @property
    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of the artists and counts: resamples of equal hash may be paired."""
        digest = hashlib.sha256(repr(self.counts.shape).encode())
        digest.update(self.artist_of.astype("<i8").tobytes())
        digest.update(self.counts.astype("<u2").tobytes())
        return digest.hexdigest()[:12]


def draw(artists: Sequence[str], resamples: int, seed: str) -> Draw:
    """Draw resamples of the artists of some tracks; a longer draw begins with the resamples of a shorter one.

    Args:
        artists: the name of each track's artist
        seed: any text, as the hash of a partition; the same text and artists give the same resamples

    >>> draw(["a", "b", "a", "c"], resamples=4, seed="0123456789ab").counts.sum(axis=0).tolist()
    [3, 3, 3, 3]
    """
    names, artist_of = np.unique(np.asarray(artists, object).astype(str), return_inverse=True)
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))
    counts = np.zeros((len(names), resamples), np.uint16)
    for resample in range(resamples if len(names) else 0):
        counts[:, resample] = np.bincount(random.integers(len(names), size=len(names)), minlength=len(names))
    return Draw(artist_of, counts)


@dataclass(frozen=True)
class Resampled:
    """Metrics of every tag in every resample, by the metric's key: each (tags, resamples), NaN where there is none.

    A classification tag has no AUC in a resample that leaves it without positives or without negatives.
    of_part: the metrics over pairs and over tracks by key, each (resamples,)
    frequent: (tags,), the tags that count as frequent in the part itself
    certain: (tags,), whether enough artists stand behind a tag for an interval: two with positives and two with
        negatives, in folds that hold both; for a regression tag, two with annotated tracks.
    """

    values: dict[str, np.ndarray]
    of_part: dict[str, np.ndarray]
    frequent: np.ndarray
    certain: np.ndarray

    def __getitem__(self, metric: str) -> np.ndarray:
        return self.values[metric]

    def overall(self) -> dict[str, np.ndarray]:
        """Each metric in every resample, (resamples,), not centred; a mean over tags is over those that have it there.

        So a tag with few positive artists is missing from some of the means. The same tags are missing for every
        model, since that depends on the labels alone.
        """
        return {key: np.asarray(values) for key, values in overall(self.values, self.of_part, self.frequent).items()}

    def intervals(self, metric: str, scores: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends of every tag's interval, each (tags,); NaN where the tag has none.

        A tag whose positives are all by one artist has none: its resamples say nothing about another artist's.

        Args:
            scores: (tags,), the metric on the tracks themselves
        """
        ends = [
            interval(centred(values, score, METRICS[metric].bounds), confidence)
            for values, score in zip(self.values[metric], scores, strict=True)
        ]
        low, high = np.array(ends, float).reshape(-1, 2).T
        return np.where(self.certain, low, np.nan), np.where(self.certain, high, np.nan)


def centred(values: np.ndarray, score: float, bounds: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """A metric's resamples, (resamples,), shifted so that their mean is its score, and cut to the metric's bounds.

    >>> centred(np.array([0.5, 0.7, np.nan]), score=0.5)
    array([0.4, 0.6, nan])
    """
    return np.clip(values + (score - mean_of_known(values)), *bounds)


def interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """The percentiles between which the share `confidence` of the values lies; NaN values are left out.

    >>> interval(np.arange(101.0), confidence=0.5)
    (25.0, 75.0)
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    rest = (1 - confidence) / 2
    low, high = np.quantile(known, [rest, 1 - rest])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """How much better the first of two models is than the second, on the same test tracks.

    difference: first minus second, with the ends `low` and `high` of its interval
    ahead: share of the resamples in which the first is better, a tie counted as half; 0.5 is a draw
    """

    difference: float
    low: float
    high: float
    ahead: float


def paired(
    first: np.ndarray, second: np.ndarray, difference: float, confidence: float, lower_is_better: bool = False
) -> Difference:
    """The difference of two models from a metric of both in the same resamples.

    Args:
        first, second: (resamples,), in the same order, each centred on its score
        difference: first minus second on the tracks themselves
    """
    gaps = np.asarray(first, float) - np.asarray(second, float)
    gaps = gaps[~np.isnan(gaps)]
    better = -gaps if lower_is_better else gaps
    ahead = float(((better > 0) + (better == 0) / 2).mean()) if len(gaps) else float("nan")
    return Difference(difference, *interval(gaps, confidence), ahead)


def resampled_metrics(
    labels: np.ndarray,
    scores: np.ndarray,
    regression: np.ndarray,
    draws: Draw,
    threads: int | None = None,
    decisions: Sequence[TagDecision | None] | None = None,
    fold: np.ndarray | None = None,
) -> Resampled:
    """All metrics of all tags in every resample, each tag by the metrics of its kind.

    Args:
        labels, scores, regression, decisions, fold: as `metrics.evaluate` takes them
        threads: tags scored at a time; the cores of this process where not given
    Raises:
        ValueError: shapes that do not fit, values out of range.
    """
    part = Part.of(labels, scores, regression, decisions, draws.artist_of, fold)
    tags = part.labels.shape[1]
    values = {metric: np.full((tags, draws.resamples), np.nan) for metric in OF_TAGS}
    of_part = {metric.key: np.full(draws.resamples, np.nan) for metric in OF_PART}
    certain = np.zeros(tags, bool)
    times = draws.counts.astype(np.float64)  # once, for products with sums over tracks

    def score(tag: int) -> None:
        known = part.known(tag)
        tracks = ResampledTracks(*part.of_tag(tag), artist=draws.artist_of[known], draws=times)
        kind, everything = KINDS[int(part.regression[tag])], np.ones(known.sum(), bool)
        compared = np.logical_or.reduce([~everything, *tracks.folds])
        both = [compared & tracks.positive, compared & ~tracks.positive]
        classes = both if kind == "classification" else [everything]
        certain[tag] = min(len(np.unique(tracks.artist[members])) for members in classes) >= FEWEST_ARTISTS
        if all(members.any() for members in classes):
            for metric in metrics_of(kind):
                values[metric.key][tag] = metric.resampled(tracks)

    def score_whole() -> None:
        for over, (arrays, artist) in part.whole().items():
            tracks = ResampledTracks(*arrays, artist=artist, draws=times)
            for metric in OF_PART:
                if metric.over == over:
                    of_part[metric.key][:] = metric.resampled(tracks)

    with ThreadPoolExecutor(threads or cores()) as pool:  # numpy and scipy release the interpreter's lock
        whole = pool.submit(score_whole)
        for _ in pool.map(score, range(tags)):
            pass
        whole.result()
    return Resampled(values, of_part, part.frequent, certain)
