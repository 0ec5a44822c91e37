"""How sure a score is: metrics of resamples of the test tracks, drawn by whole artists.

Tracks of one artist resemble each other, so they are no independent trials: a resample draws as many artists as there
are, with replacement, and takes all tracks of an artist as often as it was drawn. An interval lies between two
percentiles of a metric's resamples: what another test part, of as many other artists, might have given.

A resample repeats some artists and lacks others, which with rare tags lifts its PR-AUC by about one of its standard
deviations. So the resamples are shifted until their mean is the score itself (`centred`), and then their percentiles
are taken. Percentiles need no formula for the error of an average precision, and a resample stays a number by itself:
the difference of two models, or the mean over seeds, is had by subtracting or averaging resample by resample. Intervals
that mirror the resamples or correct their median (basic; BC, and with it BCa) shift twice as far, and hold the mean
score of such test parts less often: `benchmarks/bootstrap.py` shows it.
Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapters 8 and 13.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tagscale.evaluation.areas import areas, rmse
from tagscale.evaluation.metrics import METRICS, POSITIVE, checked, checked_kinds, mean_of_known
from tagscale.runtime.machine import cores

FEWEST_ARTISTS = 2  # with positives, and with negatives, that the interval of a tag rests on


@dataclass(frozen=True)
class Draw:
    """Which artists each resample holds, how often.

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
    """Draw resamples of the artists of some tracks; the first ones are the same however many are asked for.

    Args:
        artists: of each track, by name
        seed: any text, as the hash of a partition: the same text and artists give the same resamples

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
    """Metrics of every tag in every resample, each (tags, resamples); NaN where there is none.

    A tag that a resample leaves without positives, or without negatives, has no AUC there.
    certain: (tags,), whether enough artists stand behind a tag for an interval: two with positives and two with
        negatives; for a regression tag, two with annotated tracks.
    """

    roc_auc: np.ndarray
    pr_auc: np.ndarray
    rmse: np.ndarray
    certain: np.ndarray

    def macro(self) -> pd.DataFrame:
        """A row a resample, as drawn: `resample`, and the mean of each metric over the tags that have it in it.

        So a tag with few positive artists is missing from some of the means. The same tags are missing for every
        model, since that depends on the labels alone.
        """
        means = {metric: mean_of_known(getattr(self, metric)) for metric in METRICS}
        return pd.DataFrame({"resample": np.arange(self.roc_auc.shape[1])} | means)

    def intervals(self, metric: str, scores: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends of every tag's interval, each (tags,); NaN where the tag has none.

        A tag whose positives are all by one artist has none: its resamples say nothing about another artist's.

        Args:
            scores: (tags,), the metric on the tracks themselves
        """
        ends = [
            interval(centred(row, score), confidence) for row, score in zip(getattr(self, metric), scores, strict=True)
        ]
        low, high = np.array(ends, float).reshape(-1, 2).T
        return np.where(self.certain, low, np.nan), np.where(self.certain, high, np.nan)


def centred(values: np.ndarray, score: float) -> np.ndarray:
    """A metric's resamples, (resamples,), shifted so that their mean is its score, and cut to [0, 1].

    >>> centred(np.array([0.5, 0.7, np.nan]), score=0.5)
    array([0.4, 0.6, nan])
    """
    return np.clip(values + (score - mean_of_known(values)), 0, 1)


def interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """The percentiles between which the share `confidence` of the values lies; NaN values count nowhere.

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
    """The first of two models against the second, on the same test tracks.

    difference: first minus second, with the ends `low` and `high` of its interval
    ahead: share of the resamples in which the first is the better one, a tie counted as half; 0.5 is a draw
    """

    difference: float
    low: float
    high: float
    ahead: float


def paired(
    first: np.ndarray, second: np.ndarray, difference: float, confidence: float, lower_is_better: bool = False
) -> Difference:
    """The difference of two models from their metric in the same resamples, each (resamples,), in the same order.

    Args:
        first, second: centred on their scores
        difference: of the two on the tracks themselves
    """
    gaps = np.asarray(first, float) - np.asarray(second, float)
    gaps = gaps[~np.isnan(gaps)]
    better = -gaps if lower_is_better else gaps
    ahead = float(((better > 0) + (better == 0) / 2).mean()) if len(gaps) else float("nan")
    return Difference(difference, *interval(gaps, confidence), ahead)


def resampled_metrics(
    labels: np.ndarray, scores: np.ndarray, regression: np.ndarray, drawn: Draw, threads: int | None = None
) -> Resampled:
    """ROC-AUC and PR-AUC of the classification tags, √MSE of the regression tags, in every resample.

    Args:
        labels, scores, regression: as `metrics.evaluate` takes them
        threads: tags done at a time; the cores of this process where not given
    Raises:
        ValueError: shapes that do not fit, values out of range.
    """
    labels, scores = checked(labels, scores)
    regression = checked_kinds(regression, labels)
    if drawn.artist_of.shape != labels.shape[:1]:
        raise ValueError(f"artists: expected {labels.shape[:1]}, found {drawn.artist_of.shape}")
    found = {metric: np.full((labels.shape[1], drawn.resamples), np.nan) for metric in METRICS}
    certain = np.zeros(labels.shape[1], bool)

    def one_tag(tag: int) -> None:
        known = ~np.isnan(labels[:, tag])
        truth, guess, artist = labels[known, tag], scores[known, tag], drawn.artist_of[known]
        if regression[tag]:
            certain[tag] = _artists(artist) >= FEWEST_ARTISTS
            found["rmse"][tag] = rmse((truth - guess) ** 2, artist, drawn.counts)
            return
        positive = truth >= POSITIVE
        certain[tag] = min(_artists(artist[positive]), _artists(artist[~positive])) >= FEWEST_ARTISTS
        if positive.any() and not positive.all():
            found["roc_auc"][tag], found["pr_auc"][tag] = areas(positive, guess, artist, drawn.counts)

    with ThreadPoolExecutor(threads or cores()) as pool:  # numpy and scipy let go of the interpreter's lock
        for _ in pool.map(one_tag, range(labels.shape[1])):
            pass
    return Resampled(**found, certain=certain)


def _artists(artist: np.ndarray) -> int:
    return len(np.unique(artist))
