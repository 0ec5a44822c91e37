"""Annotators' mistakes: some classification labels are wrong, all regression labels a little off.

Mistakes keep every tag about as frequent as it is, as people's do: who overlooks one banjo takes something else for
one. Whether track 17 is mistaken on a tag is drawn from the seed and the track's number, so it does not depend on the
number of tracks, except where that changes how frequent the tag is.
"""

from collections.abc import Sequence

import numpy as np

from tagscale.synth.artists import Purpose, generator
from tagscale.synth.tags import TAGS


def mistaken(clean: np.ndarray, rate: float, seed: int, numbers: Sequence[int]) -> np.ndarray:
    """Labels as people would have given them.

    A tag by itself: a positive is overlooked with probability `rate`, and as many negatives are expected to become
    positive. A set of exclusive tags: with probability `rate` another member is taken, frequent ones more often.
    Regression: normal noise with standard deviation `rate`.

    Args:
        clean: labels, columns as in `tags.TAGS`
        rate: 0 changes nothing
        numbers: the tracks' numbers

    Shape: (tracks, tags) -> (tracks, tags)
    """
    if rate == 0:
        return clean
    draws = np.stack([generator(seed, Purpose.LABEL_NOISE, number).random((2, len(TAGS))) for number in numbers])
    normal = np.stack([generator(seed, Purpose.LABEL_NOISE, number).normal(size=len(TAGS)) for number in numbers])
    labels = clean.copy()
    sets: dict[str, list[int]] = {}
    for column, tag in enumerate(TAGS.values()):
        if tag.exclusive:
            sets.setdefault(tag.exclusive, []).append(column)
        elif tag.kind == "regression":
            labels[:, column] = np.clip(clean[:, column] + rate * normal[:, column], 0.0, 1.0)
        else:
            labels[:, column] = _one_tag(clean[:, column], rate, draws[:, 0, column])
    for columns in sets.values():
        first = columns[0]
        labels[:, columns] = _one_set(clean[:, columns], rate, draws[:, 0, first], draws[:, 1, first])
    return labels


def _one_tag(clean: np.ndarray, rate: float, draws: np.ndarray) -> np.ndarray:
    """Shape: (tracks,) each."""
    share = clean.mean()
    to_positive = rate * share / (1 - share) if share < 1 else 0.0
    return np.where(clean == 1, draws >= rate, draws < min(rate, to_positive)).astype(clean.dtype)


def _one_set(clean: np.ndarray, rate: float, draws: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """Shape: (tracks, members), (tracks,), (tracks,) -> (tracks, members)."""
    labels = clean.copy()
    frequent = clean.mean(axis=0)
    for track in np.flatnonzero(draws < rate):
        others = frequent * (1 - clean[track])
        if others.sum() > 0:
            place = np.searchsorted(np.cumsum(others) / others.sum(), choices[track], side="right")
            labels[track] = np.eye(len(frequent), dtype=clean.dtype)[min(int(place), len(frequent) - 1)]
    return labels
