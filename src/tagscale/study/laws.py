"""Learning curves as power laws: what more training tracks would give, and where one model overtakes another.

A law is score(n) = limit - rise · n^-exponent over n training tracks, with rise >= 0: it climbs towards its limit, ever
more slowly. Everything here is arrays in which a higher score is better; a caller turns errors round.
Such laws describe many learning curves (Cortes et al. 1994, "Learning curves: asymptotic values and rate of
convergence"; Hestness et al. 2017, "Deep learning scaling is predictable, empirically", arXiv:1712.00409), but not all
of them (Viering and Loog 2023, "The shape of learning curves: a review", arXiv:2103.10948). So a law may be refuted by
the scores that it was fitted to (`misfit`) or by a measured score on its other side, and nothing is said beyond `REACH`
times the largest size.

As the exponent falls to 0, such laws become the logarithm of n. Scores of a study often rise like that, as far as they
go. So the logarithm is one of the laws, and exponents a little below 0 are, too: an interval must not end at the
logarithm. They have no limit, and within `REACH` they need none.

Each law is a least-squares fit in closed form for every exponent of a grid; the best one is kept. How sure it is comes
from fitting the resamples of the scores in the same way: the artists of the test part, and the seeds, drawn anew. Two
models are not settled at the sizes at which the interval of the laws' difference holds 0. These sizes are a confidence
set of the crossing, and as with a ratio (Fieller 1954, "Some problems in interval estimation") it may have no end.
`benchmarks/crossing.py` measures how often that is right.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy

EXPONENTS = np.array([-0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0])
FEWEST = 3  # sizes that a law needs
REACH = 2  # times the largest size: as far as a law is drawn on
STEPS = 200  # sizes at which two laws are compared


@dataclass(frozen=True)
class Laws:
    """Laws score(n) = start + slope · (1 - n^-exponent) / exponent, one for each entry of arrays of one shape (...).

    With an exponent above 0, the limit is start + slope / exponent, and the rise slope / exponent.
    """

    start: np.ndarray
    slope: np.ndarray
    exponent: np.ndarray

    def at(self, tracks: np.ndarray) -> np.ndarray:
        """Their scores after so many training tracks: (sizes,) -> (..., sizes)."""
        return np.asarray(self.start[..., None] + self.slope[..., None] * _climb(tracks, self.exponent[..., None]))


def _climb(tracks: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """(1 - n^-exponent) / exponent, and its limit log n for 0: the transformation of Box and Cox (1964)."""
    logs = np.log(np.asarray(tracks, float))
    return np.where(exponent == 0, logs, -np.expm1(-exponent * logs) / np.where(exponent == 0, 1, exponent))


def fit(scores: np.ndarray, tracks: np.ndarray, exponents: np.ndarray = EXPONENTS) -> Laws:
    """The least-squares laws through some scores.

    Shape:
        scores: (..., sizes), higher is better
        tracks: (sizes,)
        exponents: (exponents,), of which each law has the best one
        returns: laws (...)

    >>> law = fit(0.5 - 2.0 * np.array([100, 300, 800.0]) ** -0.4, np.array([100, 300, 800]))
    >>> float(law.exponent), law.at(np.array([1600])).round(6), round(0.5 - 2.0 * 1600**-0.4, 6)
    (0.4, array([0.395436]), 0.395436)
    """
    scores = np.asarray(scores, float)
    climbs = _climb(tracks, exponents[:, None])  # (exponents, sizes)
    means = climbs.mean(axis=1)
    around = climbs - means[:, None]
    slopes = np.maximum(scores @ around.T / (around**2).sum(axis=1), 0.0)  # (..., exponents)
    middle = scores.mean(axis=-1, keepdims=True)
    errors = ((scores[..., None, :] - middle[..., None] - slopes[..., None] * around) ** 2).sum(axis=-1)
    best = errors.argmin(axis=-1)
    slope = np.take_along_axis(slopes, best[..., None], axis=-1)[..., 0]
    return Laws(middle[..., 0] - slope * means[best], slope, exponents[best])


def ends(values: np.ndarray, confidence: float, artists: float) -> np.ndarray:
    """The interval between two percentiles of the resamples, (resamples, ...) -> (2, ...), wider for few artists.

    Resamples of n artists spread too little by the factor sqrt((n - 1) / n), and a spread that n artists tell is itself
    uncertain, as Student's t says. A law's resamples are skewed, so the percentiles move out and not the ends.
    Source: Hesterberg 2015, "What teachers should know about the bootstrap", the expanded percentile interval.
    """
    t = scipy.special.stdtrit(artists - 1, (1 + confidence) / 2) * np.sqrt(artists / (artists - 1))
    outside = scipy.special.ndtr(-t)
    return np.quantile(values, [outside, 1 - outside], axis=0)


def misfit(scores: np.ndarray, resamples: np.ndarray, fitted: np.ndarray, refitted: np.ndarray) -> float:
    """The chance that laws which describe the runs leave residuals as large as these: a test by the bootstrap.

    The residuals' own spread over the resamples is what chance makes of them.

    Shape:
        scores, fitted: (sizes,), the scores and the law's
        resamples, refitted: (resamples, sizes), the same in every resample
    """
    spread = resamples.std(axis=0)
    residuals, changes = (
        np.where(spread > 0, value / np.where(spread > 0, spread, 1.0), 0.0)
        for value in (scores - fitted, (resamples - refitted) - (scores - fitted))
    )
    return float(((changes**2).sum(axis=1) >= (residuals**2).sum()).mean())


@dataclass(frozen=True)
class Gain:
    """What more training tracks would give by a model's law.

    gain: of the law through the scores, with the ends `low` and `high` of its interval
    values: (resamples,), of the laws through the resamples
    """

    gain: float
    low: float
    high: float
    values: np.ndarray


def gain(
    scores: np.ndarray,
    resamples: np.ndarray,
    tracks: np.ndarray,
    more: float,
    confidence: float,
    artists: float,
    best: float = np.inf,
) -> Gain | None:
    """What `more` tracks beyond the largest size would give; None where no law describes the scores.

    Args:
        best: the score that nothing can exceed; a law knows no such limit

    Shape:
        scores: (sizes,)
        resamples: (resamples, sizes)
        tracks: (sizes,)
    Raises:
        ValueError: more than `REACH` times the largest size.
    """
    largest = float(np.max(tracks))
    if largest + more > REACH * largest:
        raise ValueError(f"expected at most {REACH * largest:.0f} tracks in all, found {largest + more:.0f}")
    law, laws = fit(scores, tracks), fit(resamples, tracks)
    if misfit(scores, resamples, law.at(tracks), laws.at(tracks)) < 1 - confidence:
        return None
    where = np.array([largest, largest + more])
    values = np.diff(np.minimum(laws.at(where), best))[..., 0]
    low, high = ends(values, confidence, artists)
    return Gain(float(np.diff(np.minimum(law.at(where), best))[0]), float(low), float(high), values)


@dataclass(frozen=True)
class Span:
    """From `low` to `high` training tracks, the first of two models leads (1), the second (-1), or it is open (0)."""

    low: float
    high: float
    leader: int


def settled(
    scores: np.ndarray, resamples: np.ndarray, tracks: np.ndarray, confidence: float, artists: float
) -> list[Span] | None:
    """Which of two models leads at which size by their laws, up to `REACH` times the largest size.

    None where laws do not describe the difference of the scores, where they describe neither model's scores, or where a
    measured score is on the other side. What artists do to both models alike is no matter to the difference.
    Spans adjoin one another, and an open one lies between two leaders.

    Shape:
        scores: (2, sizes)
        resamples: (resamples, 2, sizes), of the same artists for both models
        tracks: (sizes,), ascending
    """
    tracks = np.asarray(tracks, float)
    grid = np.union1d(np.geomspace(tracks[0], REACH * tracks[-1], STEPS), tracks)
    law, laws = fit(scores, tracks), fit(resamples, tracks)
    given = scores, resamples, law.at(tracks), laws.at(tracks)  # each (..., 2, sizes)
    difference = [of[..., 0, :] - of[..., 1, :] for of in given]
    models = [[of[..., model, :] for of in given] for model in (0, 1)]
    refuted, *each = (misfit(*of) < 1 - confidence for of in (difference, *models))
    if refuted or all(each):
        return None
    gaps = difference[0]
    low, high = ends(-np.diff(laws.at(grid), axis=-2)[..., 0, :], confidence, artists)
    leader = np.where(low > 0, 1, np.where(high < 0, -1, 0))
    at_sizes = leader[np.searchsorted(grid, tracks)]
    return None if (at_sizes * gaps < 0).any() else _spans(grid, leader)


def _spans(grid: np.ndarray, leader: np.ndarray) -> list[Span]:
    """Runs of one leader on the grid; what lies between two of them is open."""
    starts = np.flatnonzero(np.diff(leader, prepend=leader[0] + 9))
    stops = [*(starts[1:] - 1), len(grid) - 1]
    certain = [(grid[a], grid[b], int(leader[a])) for a, b in zip(starts, stops, strict=True) if leader[a]]
    spans, reached = [], grid[0]
    for low, high, who in certain:
        spans += [Span(float(reached), float(low), 0)] if low > reached else []
        spans.append(Span(float(low), float(high), who))
        reached = high
    return [*spans, Span(float(reached), float(grid[-1]), 0)] if reached < grid[-1] else spans


@dataclass(frozen=True)
class Outlook:
    """What the runs settle about two models over the training size, in ranges of training tracks.

    leaders: the leaders one after another, 1 for the first model and -1 for the second; none: nothing is settled
    low, high: with one leader, where it leads by the laws, NaN where they do not tell; with two, the sizes between
        which the second of them overtakes; NaN with more
    lawful: whether the laws describe the runs; if not, only leads measured at a size are known
    measured: with two leaders, the sizes with certain leads between which the leader changes; None where the laws are
        needed to tell it
    """

    leaders: tuple[int, ...]
    low: float
    high: float
    lawful: bool
    measured: tuple[float, float] | None = None


def outlook(gaps: np.ndarray, leads: np.ndarray, tracks: np.ndarray, spans: list[Span] | None) -> Outlook:
    """Leads measured at the sizes, and between and beyond them what the laws add.

    There is no single overtaking where a measured difference, be it certain or not, is on the wrong side of it. Laws
    extend a measured lead, and tell where it changes; where the models are level at every size, they make none.

    Args:
        gaps: (sizes,), the first model's score minus the second one's
        leads: (sizes,), who certainly leads at each measured size: 1 the first model, -1 the second, 0 neither
        tracks: (sizes,), ascending
        spans: of `settled`
    """
    measured = [Span(float(size), float(size), int(lead)) for size, lead in zip(tracks, leads, strict=True) if lead]
    lawful = [span for span in spans or [] if span.leader]
    changes, of_measured = _changes(measured + lawful), _changes(measured)
    if len(changes) == 1:
        before, after = changes[0]
        side = np.where(tracks <= before.high, before.leader, np.where(tracks >= after.low, after.leader, 0))
        wrong = [Span(float(tracks[n]), float(tracks[n]), int(-side[n])) for n in np.flatnonzero(side * gaps < 0)]
        changes = _changes(measured + lawful + wrong)
    if len(changes) > 1:
        return Outlook((changes[0][0].leader, *(after.leader for _, after in changes)), np.nan, np.nan, False)
    if changes:
        before, after = changes[0]
        between = (of_measured[0][0].high, of_measured[0][1].low) if of_measured else None
        return Outlook((before.leader, after.leader), before.high, after.low, spans is not None, between)
    leaders = tuple({span.leader for span in measured})
    if not leaders:  # two models that are level at every size: laws alone make neither of them better
        return Outlook((), np.nan, np.nan, spans is not None)
    widest = max(lawful, key=lambda span: span.high / span.low, default=Span(np.nan, np.nan, 0))
    return Outlook(leaders, widest.low, widest.high, spans is not None)


def _changes(spans: list[Span]) -> list[tuple[Span, Span]]:
    """The neighbours with different leaders: the last span before a change of the leader and the first one after it."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.low, span.high)):
        if joined and joined[-1].leader == span.leader:
            joined[-1] = Span(joined[-1].low, max(joined[-1].high, span.high), span.leader)
        else:
            joined.append(span)
    return list(pairwise(joined))
