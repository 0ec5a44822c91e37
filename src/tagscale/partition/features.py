"""What stratification balances: the tracks themselves, their labels, and where labels are missing.

Features are computed for a batch of tracks at a time: those of a million tracks would take as much memory as their
labels, or twice as much. Only sums over groups of tracks (artists, parts) are stored.
"""

from collections.abc import Callable

import numpy as np

REGRESSION_BINS = 3
BATCH = 1 << 15  # tracks whose features are in memory at a time


class Features:
    """Features of tracks, as non-negative amounts.

    They are: the track itself (1), always the first; each classification label; each regression label as membership
    of its lower, middle or upper third; and whether a tag is annotated, unless it is on all tracks (tags annotated on
    the same tracks share one feature). Features that no track has are left out.
    """

    def __init__(self, labels: np.ndarray, kinds: list[str]) -> None:
        """
        Args:
            labels: (tracks, tags) in [0, 1], NaN = not annotated.
            kinds: classification or regression, one a tag.
        """
        self._labels = labels
        # Which labels are annotated, eight tracks a byte: (bytes, tags)
        annotated = np.concatenate([np.packbits(~np.isnan(labels[some]), axis=0) for some in _batches(len(labels))])
        everywhere = np.packbits(np.ones(len(labels), bool)).tobytes()
        masks: dict[bytes, int] = {}  # on which tracks a tag is annotated -> the first such tag
        self._classification: list[tuple[int, int]] = []  # tag, its column
        self._regression: list[tuple[int, int, np.ndarray]] = []  # tag, its first column, borders of the thirds
        columns = 1
        for tag, kind in enumerate(kinds):
            known = annotated[:, tag]
            if kind == "classification":
                self._classification.append((tag, columns))
                columns += 1
            elif known.any():
                values = labels[:, tag]
                borders = np.arange(1, REGRESSION_BINS) / REGRESSION_BINS
                self._regression.append((tag, columns, np.quantile(values[~np.isnan(values)], borders)))
                columns += REGRESSION_BINS
            if (mask := known.tobytes()) != everywhere:
                masks.setdefault(mask, tag)
        self._masks, self._columns = list(masks.values()), columns + len(masks)
        some = [self._all_of(np.arange(len(labels))[batch]).any(axis=0) for batch in _batches(len(labels))]
        self._used = np.flatnonzero(np.any(some, axis=0))

    def __len__(self) -> int:
        return len(self._used)

    def of(self, tracks: np.ndarray) -> np.ndarray:
        """Features of the tracks at these positions: float32, (tracks, features)."""
        amounts = np.empty((len(tracks), len(self._used)), np.float32)
        for batch in _batches(len(tracks)):
            amounts[batch] = self._all_of(tracks[batch])[:, self._used]
        return amounts

    def _all_of(self, tracks: np.ndarray) -> np.ndarray:
        values = self._labels[tracks]
        known = ~np.isnan(values)
        amounts = np.zeros((len(tracks), self._columns), np.float32)
        amounts[:, 0] = 1
        if self._classification:
            tags, columns = np.array(self._classification).T
            amounts[:, columns] = np.where(known[:, tags], values[:, tags], 0)
        for tag, column, borders in self._regression:
            third = np.searchsorted(borders, values[:, tag])
            for i in range(REGRESSION_BINS):
                amounts[:, column + i] = known[:, tag] & (third == i)
        amounts[:, self._columns - len(self._masks) :] = known[:, self._masks]
        return amounts


def sums_by(group_of: np.ndarray, groups: int, width: int, rows: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Sums of the tracks' rows over each group: float64, (groups, width).

    Args:
        group_of: (tracks,), the group of each track, 0 to groups - 1.
        rows: gives the rows of the tracks at some positions: (tracks,) -> (tracks, width).
    """
    sums = np.zeros((groups, width))
    order = np.argsort(group_of, kind="stable")
    for batch in _batches(len(order)):
        tracks = order[batch]
        present, begins = np.unique(group_of[tracks], return_index=True)
        sums[present] += np.add.reduceat(rows(tracks), begins, axis=0, dtype=np.float64)
    return sums


def _batches(count: int) -> list[slice]:
    return [slice(begin, begin + BATCH) for begin in range(0, count, BATCH)]
