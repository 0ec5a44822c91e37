"""What the paper studied by listening, as numbers: bias towards popular tags, exclusive tags predicted together.

Pure functions of arrays, for the classification tags of one model. Labels are in [0, 1], NaN where a track is not
annotated with a tag; such entries count nowhere.

Popularity: every track picks as many tags as it truly has, those with its highest scores. A threshold per tag would
give each tag its right share, and so remove the bias that is to be measured. The picks keep the number of predictions
right and let the scores decide which tags get them.
Exclusive tags: here a threshold per tag is right, set on the validation part so that each tag is predicted as often
as it is true there. A model with low scores then has no advantage over one with high scores.
Source: Pons et al. 2018, section 5.1, "Qualitative results".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tagscale import POSITIVE

THIRDS = ("popular", "middle", "rare")


@dataclass(frozen=True)
class Popularity:
    """How a model's picks follow the tags' popularity. Arrays are (tags,).

    true, picked: positive tracks, and tracks that picked the tag (a tie at the last place is shared, hence fractions).
    mean_score: over the annotated tracks.
    ratio: picked / true; NaN without positives.
    lift: where PR-AUC stands between guessing (0) and perfect (1).
    third: 0 popular, 1 middle, 2 rare, by the share in training; -1 where the tag has no lift.
    correlation: rank correlation of (picked + 1/2) / (true + 1/2) with the share in training; 0 is no bias. The halves
        keep the tags that the test part happens to lack; without these, every model would seem to neglect rare tags.
    tenth: bool, the most popular tenth of the tags; tenth_picked, tenth_true: its share of all picks, of all positives.
    lifts: mean lift of each third, popular first; NaN where none of its tags has one.
    """

    true: np.ndarray
    picked: np.ndarray
    mean_score: np.ndarray
    ratio: np.ndarray
    lift: np.ndarray
    third: np.ndarray
    correlation: float
    tenth: np.ndarray
    tenth_picked: float
    tenth_true: float
    lifts: tuple[float, float, float]


@dataclass(frozen=True)
class Exclusive:
    """How often mutually exclusive tags were predicted together. Arrays are (pairs,), in the order of `pairs_of`.

    tracks: annotated with both tags; labelled, predicted: how many of them have both in the labels, in the
        predictions; expected: the same for a model that predicts each tag as often, independently of the others.
    share: of the tracks that are annotated with a pair at all, how many have at least one predicted;
        share_expected, share_labelled: the same for such a model and for the labels.
    mean, mean_labelled: pairs a track.
    together: (tracks,), 1 where at least one pair is predicted, else 0; NaN where none is annotated.
    """

    tracks: np.ndarray
    labelled: np.ndarray
    predicted: np.ndarray
    expected: np.ndarray
    share: float
    share_expected: float
    share_labelled: float
    mean: float
    mean_labelled: float
    together: np.ndarray


def shares(labels: np.ndarray) -> np.ndarray:
    """(tracks, tags) -> (tags,): share of positives among the annotated tracks; NaN without any."""
    known = (~np.isnan(labels)).sum(axis=0)
    return np.where(known > 0, (labels >= POSITIVE).sum(axis=0) / np.maximum(known, 1), np.nan)


def picks(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Every track's k best-scored tags, where k is its number of true tags; only tags that it is annotated with.

    Shape:
        labels, scores: (tracks, tags)
        returns:        (tracks, tags) in [0, 1], rows sum to k; tags that tie for the last places share them evenly.

    >>> picks(np.array([[1.0, 1, 0, np.nan]]), np.array([[0.2, 0.5, 0.2, 0.9]]))
    array([[0.5, 1. , 0.5, 0. ]])
    """
    labels, scores = _checked(labels, scores)
    if labels.size == 0:
        return np.zeros(labels.shape)
    known = ~np.isnan(labels)
    count = (labels >= POSITIVE).sum(axis=1)  # k, (tracks,)
    standing = np.where(known, scores, -np.inf)
    ordered = -np.sort(-standing, axis=1)
    last = ordered[np.arange(len(labels)), np.maximum(count - 1, 0)][:, None]  # the k-th best score, (tracks, 1)
    above, level = known & (standing > last), known & (standing == last)
    left = count - above.sum(axis=1)
    each = np.where(count > 0, left / np.maximum(level.sum(axis=1), 1), 0.0)[:, None]
    return np.where(count[:, None] > 0, above + level * each, 0.0)


def popularity(
    train_shares: np.ndarray, labels: np.ndarray, scores: np.ndarray, pr_auc: np.ndarray, guess: np.ndarray
) -> Popularity:
    """Bias of one model towards popular tags on the test part.

    Args:
        train_shares: (tags,) share of positives in the training tracks, NaN = not annotated there
        labels, scores: (tracks, tags) of the test part
        pr_auc: (tags,) of the test part, NaN = not scored
        guess: (tags,) that of guessing
    Raises:
        ValueError: shapes that do not fit, scores that are NaN.
    """
    labels, scores = _checked(labels, scores)
    known = ~np.isnan(labels)
    true, picked = (labels >= POSITIVE).sum(axis=0), picks(labels, scores).sum(axis=0)
    usable = ~np.isnan(train_shares) & known.any(axis=0)
    order = np.flatnonzero(usable)[np.argsort(-train_shares[usable], kind="stable")]  # most popular first
    tenth = np.isin(np.arange(len(train_shares)), order[: -(-len(order) // 10)])
    lift = np.where(usable & (guess < 1), (pr_auc - guess) / np.where(guess < 1, 1 - guess, 1), np.nan)
    third = np.full(len(train_shares), -1)
    for number, members in enumerate(np.array_split(order[~np.isnan(lift[order])], len(THIRDS))):
        third[members] = number
    lifts = [_mean(lift[third == number]) for number in range(len(THIRDS))]
    return Popularity(
        true=true,
        picked=picked,
        mean_score=_divided(np.where(known, scores, 0.0).sum(axis=0), known.sum(axis=0)),
        ratio=_divided(picked, true),
        lift=lift,
        third=third,
        correlation=rank_correlation(train_shares[usable], ((picked + 0.5) / (true + 0.5))[usable]),
        tenth=tenth,
        tenth_picked=float(_divided(picked[tenth].sum(), picked[usable].sum())),
        tenth_true=float(_divided(true[tenth].sum(), true[usable].sum())),
        lifts=(lifts[0], lifts[1], lifts[2]),
    )


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's; 0 where one is the same everywhere (nothing to follow), NaN for fewer than two values."""
    if len(first) < 2:
        return float("nan")
    ranks = [pd.Series(values).rank() for values in (first, second)]
    return float(np.nan_to_num(ranks[0].corr(ranks[1])))


def thresholds(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Per tag, the score from which it is predicted as often as it is true on these (validation) tracks.

    Shape:
        labels, scores: (tracks, tags)
        returns:        (tags,); infinite where the tag is never true. Where ties leave no exact threshold, the nearest
            number of predictions is taken, the smaller one of two.

    >>> thresholds(np.array([[1.0], [0], [1], [0]]), np.array([[0.9], [0.5], [0.4], [0.1]]))
    array([0.5])
    """
    labels, scores = _checked(labels, scores)
    limits = np.full(labels.shape[1], np.inf)
    for tag in range(labels.shape[1]):
        known = ~np.isnan(labels[:, tag])
        wanted = int((labels[known, tag] >= POSITIVE).sum())
        levels, counts = np.unique(scores[known, tag], return_counts=True)
        candidates = np.append(levels[::-1], np.inf)
        predicted = np.append(np.cumsum(counts[::-1]), 0)
        best = np.lexsort((predicted, np.abs(predicted - wanted)))[0]
        limits[tag] = candidates[best]
    return limits


def pairs_of(sets: Sequence[str]) -> np.ndarray:
    """(pairs, 2): the tags, by number, that exclude each other; `sets` names each tag's set, "" = none.

    >>> pairs_of(["mode", "", "mode", "alone"])
    array([[0, 2]])
    """
    names = np.asarray(sets, dtype=object)
    return np.argwhere(np.triu((names[:, None] == names[None, :]) & (names != "")[:, None], k=1)).reshape(-1, 2)


def exclusive(labels: np.ndarray, scores: np.ndarray, limits: np.ndarray, sets: Sequence[str]) -> Exclusive:
    """Mutually exclusive tags that one model predicts together on the test part.

    Args:
        labels, scores: (tracks, tags) of the test part
        limits: (tags,) of `thresholds`; sets: each tag's set of exclusive tags, "" = none
    Raises:
        ValueError: shapes that do not fit, scores that are NaN.
    """
    labels, scores = _checked(labels, scores)
    known = ~np.isnan(labels)
    positive, chosen = labels >= POSITIVE, known & (scores >= limits)
    pairs = pairs_of(sets)
    rates = np.nan_to_num(_divided(chosen.sum(axis=0), known.sum(axis=0)))  # how often each tag is predicted, (tags,)
    tracks, labelled, predicted = (_both(entries, pairs) for entries in (known, positive, chosen))
    members = [np.asarray(sets, dtype=object) == name for name in sorted({sets[pair[0]] for pair in pairs})]
    concerned = (
        np.any([known[:, own].sum(axis=1) > 1 for own in members], axis=0) if members else np.zeros(len(labels), bool)
    )
    possible = np.ones(len(labels))  # chance of no pair in any set, (tracks,)
    for own in members:
        possible *= _at_most_one(np.where(known[:, own], rates[own], 0.0))
    of_track = _pairs_a_track(chosen, members)
    count, in_labels = of_track[concerned], _pairs_a_track(positive, members)[concerned]
    return Exclusive(
        tracks=tracks,
        labelled=labelled,
        predicted=predicted,
        expected=tracks * rates[pairs[:, 0]] * rates[pairs[:, 1]],
        share=_mean(count > 0),
        share_expected=_mean(1 - possible[concerned]),
        share_labelled=_mean(in_labels > 0),
        mean=_mean(count),
        mean_labelled=_mean(in_labels),
        together=np.where(concerned, of_track > 0, np.nan),
    )


def confusion(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How often tags that exclude each other are taken for one another, (true, chosen): numbers of tracks.

    A track counts that is annotated with all of these tags and has exactly one of them; the chosen tag is the one with
    its highest score, the first of equal ones.

    >>> confusion(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]]))
    array([[1, 0],
           [1, 0]])

    Args:
        labels, scores: (tracks, tags) of the tags of one set
    """
    positive = labels >= POSITIVE
    counted = ~np.isnan(labels).any(axis=1) & (positive.sum(axis=1) == 1)
    counts = np.zeros((labels.shape[1],) * 2, int)
    np.add.at(counts, (positive[counted].argmax(axis=1), scores[counted].argmax(axis=1)), 1)
    return counts


def _both(entries: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(tracks, tags) bool -> (pairs,): tracks on which both tags of a pair are set."""
    together = entries.T.astype(np.float32) @ entries.astype(np.float32)  # exact below 2^24 tracks
    return together[pairs[:, 0], pairs[:, 1]].astype(int)


def _pairs_a_track(entries: np.ndarray, members: list[np.ndarray]) -> np.ndarray:
    counts = [entries[:, own].sum(axis=1) for own in members]
    return np.sum([count * (count - 1) // 2 for count in counts], axis=0) if members else np.zeros(len(entries), int)


def _at_most_one(rates: np.ndarray) -> np.ndarray:
    """(tracks, tags) chances of independent tags -> (tracks,): the chance that no two of them are set."""
    none, one = np.ones(len(rates)), np.zeros(len(rates))
    for rate in rates.T:
        none, one = none * (1 - rate), one * (1 - rate) + none * rate
    return none + one


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the divisor is 0."""
    return np.where(np.asarray(below) > 0, above / np.where(np.asarray(below) > 0, below, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    if labels.ndim != 2 or labels.shape != scores.shape:
        raise ValueError(f"expected labels and scores (tracks, tags), found {labels.shape} and {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError("scores: found NaN")
    return labels, scores
