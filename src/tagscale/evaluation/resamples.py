"""Areas under curves, and sums, of one tag in all resamples of its artists at once.

A tag's tracks are sorted once, not once a resample. Between two neighbouring thresholds (the scores of positives) only
the number of tracks counts. So the weights of all segments in all resamples are one product: sparse (segments x
artists) times dense (artists x resamples).
"""

import numpy as np
import scipy  # loads scipy.sparse where it is used

PRODUCT = 1 << 21  # numbers in one product of segments and resamples: bounds the memory
CHUNK = 128  # segments summed at once: few enough for a processor's cache


def areas(
    positive: np.ndarray, scores: np.ndarray, artist: np.ndarray, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """ROC-AUC and average precision of one tag in all resamples, each (resamples,), as metrics.py defines them.

    Shape:
        positive, scores, artist: (tracks,); artist is the number of each track's artist
        draws:                    (artists, resamples), how often each resample holds each artist
    """
    whole = np.issubdtype(scores.dtype, np.integer)  # levels: small whole numbers are sorted in linear time
    order = np.argsort(-scores, kind="stable" if whole else None)
    positive, scores, artist = positive[order], scores[order], artist[order]
    tie = np.cumsum(np.append(False, scores[1:] != scores[:-1]))  # tracks of equal scores have one number
    with_positive = np.bincount(tie, positive) > 0
    thresholds = int(with_positive.sum())
    above: np.ndarray = np.cumsum(with_positive) - with_positive
    segment = above[tie]  # of each track: the first threshold that is not above it
    tied = with_positive[tie] & ~positive  # negatives at the height of a threshold
    shape = (thresholds + 1, len(draws))  # the last segment: negatives below all thresholds
    exact = np.float32 if len(scores) * int(draws.max(initial=1)) < 2**24 else np.float64  # holds these whole numbers
    gains = _weights(segment[positive], artist[positive], shape, exact)
    others = _weights(segment[~positive], artist[~positive], shape, exact)
    equals = _weights(segment[tied], artist[tied], shape, exact) if tied.any() else None
    both = np.empty((2, draws.shape[1]))
    step = min(max(PRODUCT // thresholds, 16), 256)
    for start in range(0, draws.shape[1], step):
        times = draws[:, start : start + step].astype(exact)  # (artists, some resamples)
        tables = gains @ times, others @ times, None if equals is None else equals @ times
        both[:, start : start + step] = _areas_of(*tables)
    return both[0], both[1]


def _areas_of(gains: np.ndarray, others: np.ndarray, equals: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Both areas, (resamples,), from the weights of a tag's segments, from the highest threshold down.

    Shape:
        gains:  (thresholds + 1, resamples), positives at each threshold; the last row is empty
        others: the same, negatives at or above each threshold and below the one before; last row: below all
        equals: the same, those of `others` that are exactly at the threshold, or None
    """
    all_true, all_false = gains.sum(axis=0, dtype=np.float64), others.sum(axis=0, dtype=np.float64)
    true, false, disordered, precision = np.zeros((4, gains.shape[1]))
    for start in range(0, len(gains), CHUNK):  # numpy's cumulative sum down a tall table misses the cache at each step
        rows = slice(start, start + CHUNK)
        gained = gains[rows].astype(np.float64)
        above = np.cumsum(others[rows], axis=0, dtype=np.float64) + false  # (rows, resamples): false positives
        hits = np.cumsum(gained, axis=0) + true
        true, false = hits[-1].copy(), above[-1].copy()
        disordered += np.einsum("tr,tr->r", gained, above)  # pairs in which the negative is not below the positive
        if equals is not None:
            disordered -= np.einsum("tr,tr->r", gained, equals[rows]) / 2  # a tie draws half
        above += hits
        np.maximum(above, 1, out=above)  # no track drawn down to here, so nothing gained either
        precision += np.einsum("tr,tr->r", gained, np.divide(hits, above, out=hits))
    pairs = all_true * all_false
    one_class = pairs == 0
    pairs[one_class] = all_true[one_class] = np.nan
    return 1 - disordered / pairs, precision / all_true


def totals(values: np.ndarray, group: np.ndarray, groups: int, artist: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The sums of one value a track over each group of tracks in all resamples, (groups, resamples).

    Shape:
        values, group, artist: (tracks,); group and artist are numbers
    """
    cells = np.bincount(group * len(draws) + artist, values, groups * len(draws)).reshape(groups, len(draws))
    return np.asarray(scipy.sparse.csr_array(cells) @ draws)  # most artists have tracks in few groups


def levels(positive: np.ndarray, scores: np.ndarray, most: int) -> np.ndarray:
    """Scores as few levels, (tracks,): as many as leave `most` thresholds, or all, where there are no more.

    Equal scores stay equal, and none changes places. Scores between two thresholds that are left become equal.
    """
    thresholds = np.unique(scores[positive])
    if len(thresholds) > most:
        thresholds = thresholds[np.linspace(0, len(thresholds) - 1, most).round().astype(int)]
    left, right = (np.searchsorted(thresholds, scores, side) for side in ("left", "right"))
    return (left + right).astype(np.int16)


def _weights(row: np.ndarray, artist: np.ndarray, shape: tuple[int, int], dtype: type) -> "scipy.sparse.csr_array":
    """How many tracks of each artist lie in each row."""
    return scipy.sparse.csr_array((np.ones(len(row), dtype), (row, artist)), shape=shape)
