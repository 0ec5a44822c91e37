"""Label noise: simulated annotators flip some classification labels and shift all regression labels a little.

Noise keeps the frequency of every tag: an annotator who overlooks one banjo takes another instrument for a banjo. The
seed and the track's number decide the random draws of a track. The number of tracks matters only where it changes the
frequency of a tag.
"""

from collections.abc import Sequence

import numpy as np

from tagscale.synth.artists import Purpose, generator
from tagscale.synth.tags import TAGS


def mistaken(clean: np.ndarray, rate: float, seed: int, numbers: Sequence[int]) -> np.ndarray:
    """Add label noise.

    A tag outside an exclusive set: a positive turns negative with probability `rate`. A negative turns positive with a
    probability, at most `rate`, that keeps the expected number of positives.
    An exclusive set: with probability `rate` another member replaces the true one. Frequent members are more likely.
    A regression tag: normal noise with standard deviation `rate`.

    Args:
        clean: labels without noise, columns as in `tags.TAGS`
        rate: 0 leaves the labels unchanged
        numbers: track numbers

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
    """Add noise to one tag outside an exclusive set.

    Shape: (tracks,), (tracks,) -> (tracks,)
    """
    share = clean.mean()
    to_positive = rate * share / (1 - share) if share < 1 else 0.0
    return np.where(clean == 1, draws >= rate, draws < min(rate, to_positive)).astype(clean.dtype)


def _one_set(clean: np.ndarray, rate: float, draws: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """Add noise to one exclusive set.

    Shape: (tracks, members), (tracks,), (tracks,) -> (tracks, members)
    """
    labels = clean.copy()
    frequent = clean.mean(axis=0)
    for track in np.flatnonzero(draws < rate):
        others = frequent * (1 - clean[track])
        if others.sum() > 0:
            place = np.searchsorted(np.cumsum(others) / others.sum(), choices[track], side="right")
            labels[track] = np.eye(len(frequent), dtype=clean.dtype)[min(int(place), len(frequent) - 1)]
    return labels
