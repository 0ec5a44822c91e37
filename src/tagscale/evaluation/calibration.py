"""Learn decisions on the validation part: each tag's calibration and threshold.

Few validation tracks have a rare tag, and a curve or a threshold from two positives is noise. So every tag starts from
one sigmoid that fits all tags together, and moves away from it as far as its own tracks speak for that (a Gaussian
prior). A tag with enough positives gets an isotonic curve, which bends as it must. The threshold is not the best one
of the labels, which a few tracks decide, but the best one that the probabilities of these tracks promise. That is the
better one on other artists' tracks at every number of positives: `benchmarks/decisions.py` measures all three.
Sources: Platt 1999 (sigmoid, targets); Zadrozny and Elkan 2002 (isotonic regression); Lipton et al. 2014, "Optimal
thresholding of classifiers to maximize F1 measure".
"""

from collections.abc import Sequence

import numpy as np
import scipy  # loads scipy.optimize where it is used
from scipy.special import expit

from tagscale import POSITIVE
from tagscale.evaluation.decisions import Decisions, OfFolds, Sigmoid, Steps, TagDecision, logit
from tagscale.params.blocks import ThresholdRule, WantedPrecision

ALL_TAGS = (1.0, 1.0)  # weights of slope 1 and offset 0 when one sigmoid is fitted to all tags
ONE_TAG = (30.0, 10.0)  # weights of the slope and the offset of all tags when a sigmoid is fitted to one tag
ISOTONIC_POSITIVES = 500  # from so many positives, and as many negatives, a tag has an isotonic curve
LEAST_SLOPE = 0.05  # scores that contradict the labels keep their order
APART = 1e-9  # least gap between two steps of an isotonic curve
TILT = 0.01  # how far a step of an isotonic curve rises, as a share of the gap to the next one
DIGITS = 9  # of a sigmoid: fewer than the order of a sum, or another library's exp, changes after the POLISHES
POLISHES = 3  # steps of Newton's method; the optimiser before it leaves an error of 1e-8, each step squares it


def learn(
    labels: np.ndarray, scores: np.ndarray, regression: np.ndarray, tags: Sequence[str], rule: ThresholdRule
) -> Decisions:
    """The decisions of all classification tags.

    Args:
        labels: (tracks, tags) in [0, 1], NaN where a track is not annotated
        scores: (tracks, tags) in [0, 1]
        regression: (tags,) bool
        rule: "f1" for the threshold with the best F1, or a wanted precision for the lowest one that reaches it
    """
    known, positive = ~np.isnan(labels), labels >= POSITIVE
    pooled = known & ~np.asarray(regression, bool)
    start = fit_sigmoid(scores[pooled], positive[pooled], Sigmoid(slope=1, offset=0), ALL_TAGS)
    decisions = {}
    for tag in np.flatnonzero(~np.asarray(regression, bool)).tolist():
        rows = known[:, tag]
        own, truth = scores[rows, tag], positive[rows, tag]
        enough = min(truth.sum(), (~truth).sum()) >= ISOTONIC_POSITIVES
        curve = fit_steps(own, truth) if enough else fit_sigmoid(own, truth, start, ONE_TAG)
        threshold = choose_threshold(own, curve(own), rule)
        decisions[tags[tag]] = TagDecision(
            calibration=curve, threshold=threshold, positives=int(truth.sum()), tracks=len(own)
        )
    return Decisions(tags=decisions)


def learn_without(
    labels: np.ndarray,
    scores: np.ndarray,
    regression: np.ndarray,
    tags: Sequence[str],
    rule: ThresholdRule,
    fold: np.ndarray,
) -> OfFolds:
    """For the tracks of each fold, by its number, the decisions that `learn` learns on those of all others.

    Where every track is both a validation track and a test track, each of another fold's model, decisions that were
    learned on all of them know the test labels: F1 would be too high by about .01, the calibration error too low.

    Args:
        labels, scores, regression, tags, rule: as `learn` takes them
        fold: (tracks,), the number of each track's fold
    """
    others = {number: fold != number for number in np.unique(fold).tolist()}
    return {
        number: learn(labels[rows], scores[rows], regression, tags, rule).of(tags) for number, rows in others.items()
    }


def fit_sigmoid(scores: np.ndarray, positive: np.ndarray, prior: Sigmoid, weights: tuple[float, float]) -> Sigmoid:
    """The sigmoid of the greatest posterior: a likely one that stays near `prior`.

    Shape:
        scores, positive: (tracks,)
    Args:
        weights: of the squared distance of slope and offset from those of `prior`, in units of log-likelihood
    """
    odds, truth = logit(scores), np.asarray(positive, np.float64)
    centre, stiffness = np.array([prior.slope, prior.offset]), np.array(weights)

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        height, away = at[0] * odds + at[1], at - centre
        error = expit(height) - truth
        value = (np.logaddexp(0, height) - truth * height).sum() + (stiffness * away**2).sum() / 2
        return float(value), np.array([error @ odds, error.sum()]) + stiffness * away

    bounds = [(LEAST_SLOPE, None), (None, None)]
    options = {"ftol": 1e-15, "gtol": 1e-9}
    at = scipy.optimize.minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    for _ in range(POLISHES):
        curvature = (chance := expit(at[0] * odds + at[1])) * (1 - chance)
        mixed = curvature @ odds
        hessian = np.array([[curvature @ odds**2, mixed], [mixed, curvature.sum()]]) + np.diag(stiffness)
        gradient = loss(at)[1]
        if at[0] <= LEAST_SLOPE and gradient[0] >= 0:  # the offset alone moves
            at = at - [0, gradient[1] / hessian[1, 1]]
        else:
            at = np.maximum(at - np.linalg.solve(hessian, gradient), [LEAST_SLOPE, -np.inf])
    return Sigmoid(slope=round(float(at[0]), DIGITS), offset=round(float(at[1]), DIGITS))


def fit_steps(scores: np.ndarray, positive: np.ndarray) -> Steps:
    """Isotonic regression, made strictly monotone: a step rises a little over its scores (`TILT`).

    The targets are Platt's, a little off 0 and 1. So there is room around every step, and no two scores get one
    probability. Straight lines join the steps, (0, 0) and (1, 1).

    Shape:
        scores, positive: (tracks,)
    """
    positives = int(np.sum(positive))
    targets = np.where(positive, (positives + 1) / (positives + 2), 1 / (len(scores) - positives + 2))
    heights, inverse, counts = np.unique(np.asarray(scores, np.float64), return_inverse=True, return_counts=True)
    fitted = scipy.optimize.isotonic_regression(np.bincount(inverse, targets) / counts, weights=counts)
    # Of the scores of each step; what differs by rounding alone is one step.
    first = np.flatnonzero(np.diff(fitted.x, prepend=-1.0) > APART)
    last = np.append(first[1:], len(heights)) - 1
    steps = fitted.x[first]
    rise = TILT * np.diff(steps, prepend=0.0, append=1.0)  # below the first, between neighbours, above the last
    ends = {0.0: 0.0, 1.0: 1.0}
    ends |= dict(zip(heights[last].tolist(), (steps + rise[1:]).tolist(), strict=True))
    ends |= dict(zip(heights[first].tolist(), (steps - rise[:-1]).tolist(), strict=True))
    knots = sorted(ends)
    return Steps(scores=knots, probabilities=[ends[knot] for knot in knots])


def choose_threshold(scores: np.ndarray, probabilities: np.ndarray, rule: ThresholdRule) -> float | None:
    """The threshold with the best expected F1, or the lowest one with the wanted expected precision.

    It lies in the middle between two neighbouring scores. With labels in place of probabilities, it is the best
    threshold of these tracks themselves.

    Shape:
        scores, probabilities: (tracks,)
    Returns:
        None where no threshold reaches the precision, or where there is no track.

    >>> choose_threshold(np.array([0.9, 0.5, 0.3]), np.array([1.0, 0, 0]), "f1")
    0.7
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    heights, hits = np.asarray(scores, np.float64)[order], np.cumsum(np.asarray(probabilities, np.float64)[order])
    ends = np.flatnonzero(np.diff(heights, append=-1.0))  # the last of equal scores
    true, decided = hits[ends], ends + 1
    if isinstance(rule, WantedPrecision):
        reaching = np.flatnonzero(true >= rule.precision * decided)
        if not len(reaching):
            return None
        best = reaching[-1]
    elif len(ends):
        best = (2 * true / (decided + hits[-1] + np.finfo(float).tiny)).argmax()
    else:
        return None
    below = heights[ends[best] + 1] if best + 1 < len(ends) else 0.0
    return float((heights[ends[best]] + below) / 2)
