"""The uncertainty of scores: metrics in resamples of the test tracks, which hold whole artists.

Tracks of one artist resemble each other, so they are not independent trials. A resample draws as many artists as there
are, with replacement, and takes all tracks of an artist as often as the artist was drawn. The standard deviation of a
metric over the resamples is its standard error; no formula for the error of an average precision is needed. And each
resample remains a score: subtracting or averaging resample by resample gives the difference of two models or the mean
over seeds.

An interval is the score ± Student's t times this error (`interval`). Its confidence is that of a statement about the
mean score of test parts of as many artists: of 100 such parts, about 95 give an interval of 95 % that holds that mean.
It says nothing about the score of a larger part. Percentiles of the resamples, and methods that correct their bias
(basic; BC, and with it BCa) or studentise, hold that mean less often with few artists, since a resample repeats some
artists and lacks others, which with rare tags lifts its PR-AUC by about one of its standard deviations:
`benchmarks/bootstrap.py` shows it.
Sources: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapters 6, 12 and 13; Hesterberg 2015, "What
teachers should know about the bootstrap", on t and √(n / (n - 1)) for few draws; Cameron, Gelbach and Miller 2008,
"Bootstrap-based improvements for inference with clustered errors", on few clusters; Satterthwaite 1946, "An approximate
distribution of estimates of variance components", on an error of two parts, artists and seeds (`effective_artists`).
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy  # loads scipy.special where it is used

from tagscale.evaluation.decisions import OfFolds, OfTags
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
MEASURED = 0.95, {20: 0.93, 50: 0.91, 200: 0.94}  # confidence; share that holds, by artists (benchmarks/coverage.py)
LIMITS = 0.002, 0.998  # between which a tag's score is turned into log-odds
UNBOUNDED = -np.inf, np.inf
OF_DIFFERENCES = -1.0, 1.0  # bounds of the difference of two metrics, which are between 0 and 1
OfSeeds = tuple[float, int]  # the variance that the seeds add to an error, and its degrees of freedom


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
    artists: (tags,), the artists behind a tag: those with positives or those with negatives, the fewer, in folds that
        hold both; for a regression tag, those with annotated tracks
    of_all: the artists of the part
    """

    values: dict[str, np.ndarray]
    of_part: dict[str, np.ndarray]
    frequent: np.ndarray
    artists: np.ndarray
    of_all: int

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

        The degrees of freedom are those of the artists behind the tag. A classification tag's ends are found in
        log-odds, which keeps them inside 0 and 1 and moves them away from the nearer one. A tag whose positives are all
        by one artist has none: its resamples say nothing about another artist's.

        Args:
            scores: (tags,), the metric on the tracks themselves
        """
        error = standard_error(self.values[metric], self.of_all)
        log_odds = "classification" in METRICS[metric].kinds
        return interval(scores, error, self.artists, confidence, METRICS[metric].bounds, log_odds=log_odds)


def centred(values: np.ndarray, score: float) -> np.ndarray:
    """A metric's resamples, (resamples,), shifted so that their mean is its score; some may leave its bounds.

    >>> centred(np.array([0.5, 0.7, np.nan]), score=0.5)
    array([0.4, 0.6, nan])
    """
    return values + (score - mean_of_known(values))


def standard_error(values: np.ndarray, artists: int) -> np.ndarray:
    """The standard error of a score, from its values in resamples of some artists.

    The resamples of n artists vary by (n - 1) / n of what test parts of n artists do, and the factor makes up for it.

    Shape:
        values:  (..., resamples), NaN where a resample has none
        returns: (...), NaN where no resample has one

    >>> round(float(standard_error(np.array([0.4, 0.6]), artists=2)), 3)
    0.141
    """
    variance = mean_of_known(np.moveaxis((values - mean_of_known(np.moveaxis(values, -1, 0))[..., None]) ** 2, -1, 0))
    return np.asarray(np.sqrt(variance * artists / max(artists - 1, 1)))


def interval(
    score: float | np.ndarray,
    error: float | np.ndarray,
    artists: float | np.ndarray,
    confidence: float,
    bounds: tuple[float, float] = UNBOUNDED,
    *,
    log_odds: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the interval of a score: the score ± t error, t with artists - 1 degrees of freedom.

    NaN where there is no score or error, and with fewer than two artists.

    Shape: score, error, artists and both ends are numbers, or arrays of one shape.
    Args:
        error: its standard error
        artists: how many independent artists the error comes from (`effective_artists`)
        bounds: the least and the greatest value of the metric, at which the interval ends
        log_odds: for a score between 0 and 1; the interval is symmetric in the log-odds of the score

    >>> low, high = interval(0.5, 0.1, artists=3, confidence=0.95)
    >>> round(float(low), 3), round(float(high), 3)
    (0.07, 0.93)
    """
    score, error = np.asarray(score, float), np.asarray(error, float)
    reach = t_of((1 + confidence) / 2, artists) * error
    if not log_odds:
        low, high = score - reach, score + reach
    else:
        inside = np.clip(score, *LIMITS)
        odds, reach = scipy.special.logit(inside), reach / (inside * (1 - inside))
        low, high = scipy.special.expit(odds - reach), scipy.special.expit(odds + reach)
    return np.clip(np.minimum(low, score), *bounds), np.clip(np.maximum(high, score), *bounds)


def effective_artists(error: float, artists: int, of_seeds: Sequence[OfSeeds]) -> float:
    """As many artists alone would tell an error as surely as these artists and the seeds do together.

    The spread of two or three seeds is little known, so an error that rests on it takes a larger t.

    Args:
        error: of both together
        of_seeds: of each model with several seeds

    >>> effective_artists(1.0, 20, []), effective_artists(1.0, 20, [(1.0, 1)]), effective_artists(1.0, 20, [(0.0, 1)])
    (20.0, 2.0, 20.0)
    """
    variances = [(variance, degrees) for variance, degrees in of_seeds if variance > 0]
    if not variances or artists < FEWEST_ARTISTS:
        return float(artists)
    over_seeds = sum(variance for variance, _ in variances)
    over_artists = max(error**2 - over_seeds, 0.0)
    doubt = over_artists**2 / (artists - 1) + sum(variance**2 / degrees for variance, degrees in variances)
    return 1 + (over_artists + over_seeds) ** 2 / doubt


def interval_of_share(count: int, of: int, confidence: float) -> tuple[float, float]:
    """The ends of the interval of a share of independent trials. Source: Wilson 1927, "Probable inference".

    >>> low, high = interval_of_share(4, 164, confidence=0.95)
    >>> round(low, 3), round(high, 3)
    (0.01, 0.061)
    """
    import scipy.stats  # here: it takes half a second

    ends = scipy.stats.binomtest(count, of).proportion_ci(confidence, "wilson")
    return float(ends.low), float(ends.high)


def share_that_holds(artists: int, confidence: float) -> float | None:
    """How many of the intervals of a macro PR-AUC hold what they should, with so few artists, by simulation.

    It is the lower share of two populations; None where that is as many as they should, or was not measured. Between
    the sizes that were measured it goes with 1 / artists; fewer artists than those count as the fewest.

    >>> share_that_holds(20, 0.95), share_that_holds(500, 0.95)
    (0.93, None)
    """
    measured, shares = MEASURED
    if confidence != measured or artists >= max(shares):
        return None
    sizes = sorted(shares, reverse=True)
    share = float(np.interp(1 / max(artists, 1), [1 / size for size in sizes], [shares[size] for size in sizes]))
    return share if share < confidence else None


def t_of(share: float, artists: float | np.ndarray) -> np.ndarray:
    """The quantile of Student's t with artists - 1 degrees of freedom; NaN for fewer than two artists."""
    degrees = np.asarray(artists, float) - 1
    return np.asarray(scipy.special.stdtrit(np.where(degrees > 0, degrees, np.nan), share))


@dataclass(frozen=True)
class Difference:
    """How much better the first of two models is than the second, on the same test tracks.

    difference: first minus second, with its standard error and the ends `low` and `high` of its interval
    artists: as many independent ones tell the error (`effective_artists`)
    p: the chance of so large a difference, in either direction, between two models that are equal in truth
    """

    difference: float
    error: float
    low: float
    high: float
    artists: float
    p: float


def paired(
    first: np.ndarray,
    second: np.ndarray,
    difference: float,
    artists: int,
    confidence: float,
    of_seeds: Sequence[OfSeeds] = (),
) -> Difference:
    """The difference of two models from a metric of both in the same resamples.

    Args:
        first, second: (resamples,), in the same order, each centred on its score
        difference: first minus second on the tracks themselves
        artists: of the test tracks
        of_seeds: what the seeds of both models add to the error, which the resamples hold
    """
    error = float(standard_error(np.asarray(first, float) - np.asarray(second, float), artists))
    behind = effective_artists(error, artists, of_seeds)
    low, high = difference_interval(difference, error, behind, confidence)
    return Difference(difference, error, low, high, behind, two_sided(difference, error, behind))


def difference_interval(difference: float, error: float, artists: float, confidence: float) -> tuple[float, float]:
    """The ends of the interval of a difference; it holds 0 where `two_sided` does not reach 1 - confidence.

    Few artists who all tell the same have no spread, and still prove nothing.
    """
    low, high = (float(end) for end in interval(difference, error, artists, confidence, OF_DIFFERENCES))
    if error == 0 and two_sided(difference, error, artists) > 1 - confidence:
        low, high = min(low, 0.0), max(high, 0.0)
    return low, high


def one_sided(difference: float, error: float, artists: float) -> float:
    """The chance of so large a difference, or a larger one, where the true one is 0: by Student's t with its error.

    NaN where there is no error or no second artist. An error of 0 has no t: where no artist changes the difference, the
    sign test is left, with all of them on one side.

    >>> round(one_sided(0.3, 0.1, artists=5), 4), one_sided(0.3, 0.0, artists=5), one_sided(-0.3, 0.0, artists=5)
    (0.02, 0.03125, 1.0)
    """
    if np.isnan(difference) or np.isnan(error) or artists < FEWEST_ARTISTS:
        return float("nan")
    if error == 0:
        return float(0.5**artists) if difference > 0 else 1.0
    return float(scipy.special.stdtr(artists - 1, -difference / error))


def two_sided(difference: float, error: float, artists: float) -> float:
    """The p-value of a difference against 0; see `one_sided`.

    >>> round(two_sided(-0.3, 0.1, artists=5), 4)
    0.0399
    """
    return float(np.minimum(2 * one_sided(abs(difference), error, artists), 1.0))


def holm(p: Sequence[float]) -> list[float]:
    """The p-values of several comparisons, adjusted so that any of them is falsely certain no more often than one is.

    NaN stays NaN and counts as no comparison. Source: Holm 1979, "A simple sequentially rejective multiple test
    procedure", Scandinavian Journal of Statistics 6.

    >>> holm([0.01, 0.04, 0.03, 0.005])
    [0.03, 0.06, 0.06, 0.02]
    """
    values = np.asarray(p, float)
    order = np.argsort(values)[: int((~np.isnan(values)).sum())]  # NaN is sorted to the end
    adjusted = np.full(len(values), np.nan)
    left = np.arange(len(order), 0, -1)  # comparisons that are not smaller
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * left), 1)
    return [float(value) for value in adjusted]


def resampled_metrics(
    labels: np.ndarray,
    scores: np.ndarray,
    regression: np.ndarray,
    draws: Draw,
    threads: int | None = None,
    decisions: OfTags | OfFolds | None = None,
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
    behind = np.zeros(tags, int)
    times = draws.counts.astype(np.float64)  # once, for products with sums over tracks

    def score(tag: int) -> None:
        known = part.known(tag)
        tracks = ResampledTracks(*part.of_tag(tag), artist=draws.artist_of[known], draws=times)
        kind, everything = KINDS[int(part.regression[tag])], np.ones(known.sum(), bool)
        compared = np.logical_or.reduce([~everything, *tracks.folds])
        both = [compared & tracks.positive, compared & ~tracks.positive]
        classes = both if kind == "classification" else [everything]
        behind[tag] = min(len(np.unique(tracks.artist[members])) for members in classes)
        if all(members.any() for members in classes):
            for metric in metrics_of(kind):
                values[metric.key][tag] = metric.score(tracks)

    def score_whole() -> None:
        for over, (arrays, artist) in part.whole().items():
            tracks = ResampledTracks(*arrays, artist=artist, draws=times)
            for metric in OF_PART:
                if metric.over == over:
                    of_part[metric.key][:] = metric.score(tracks)

    with ThreadPoolExecutor(threads or cores()) as pool:  # numpy and scipy release the interpreter's lock
        whole = pool.submit(score_whole)
        for _ in pool.map(score, range(tags)):
            pass
        whole.result()
    return Resampled(values, of_part, part.frequent, behind, len(draws.counts))
