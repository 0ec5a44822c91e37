"""How well a partition keeps the prevalence of the tags, beside random divisions.

Prevalence: mean label of a tag over the tracks on which it is annotated. Parts are compared with each other, training
subsets with the whole training part. The measure of both is what random divisions by whole artists (random tracks, for
subsets) reach, as the mean over RANDOM_TRIES.
"""

from typing import Any

import numpy as np
import pandas as pd

from tagscale import POSITIVE
from tagscale.partition.features import sums_by

RANDOM_TRIES = 10
SUBSETS = (100, 1_000, 10_000, 100_000)  # tracks; sizes that the training part exceeds
WORST = 5  # tags named in partition.json


class TagSums:
    """Sums of labels over groups of tracks, each group in one part and by one artist."""

    def __init__(self, values: np.ndarray, kinds: list[str], group_of: np.ndarray, groups: int) -> None:
        """
        Args:
            values: (tracks, tags) in [0, 1], NaN = not annotated.
            kinds: classification or regression, one a tag.
            group_of: (tracks,), 0 to groups - 1.
        """
        classification, tags = np.array(kinds) == "classification", values.shape[1]

        def rows(tracks: np.ndarray) -> np.ndarray:
            some = values[tracks]
            known = ~np.isnan(some)
            return np.concatenate([np.where(known, some, 0), known, (some >= POSITIVE) & classification], axis=1)

        sums = sums_by(group_of, groups, 3 * tags, rows)
        self.labels, self.annotated, self.positive = np.split(sums, 3, axis=1)  # (groups, tags) each
        self.tracks = np.bincount(group_of, minlength=groups)

    def prevalence(self, part_of: np.ndarray, parts: int) -> np.ndarray:
        """Prevalence of each tag in each part, NaN where it is not annotated: (parts, tags).

        Args:
            part_of: (groups,), index of the part that each group is in.
        """
        members = (part_of == np.arange(parts)[:, None]).astype(np.float64)
        with np.errstate(invalid="ignore"):
            return (members @ self.labels) / (members @ self.annotated)


def differences(prevalence: np.ndarray) -> np.ndarray:
    """The largest difference of each tag between any two parts that have it annotated: (parts, tags) -> (tags,)."""
    known = ~np.isnan(prevalence)
    spread = np.where(known, prevalence, -np.inf).max(axis=0) - np.where(known, prevalence, np.inf).min(axis=0)
    return np.where(known.any(axis=0), spread, 0)


def quality_of(
    sums: TagSums, part_of: np.ndarray, artist_of: np.ndarray, tags: pd.DataFrame, shares: dict[str, float], seed: int
) -> tuple[dict[str, Any], pd.DataFrame]:
    """How far parts are from each other.

    Args:
        part_of: (groups,), index of the part that each group is in.
        artist_of: (groups,), index of its artist.
        tags: tag and kind, one row a tag.
        shares: of the parts, by their names, in order.

    Returns:
        For partition.json: `deviation` (largest and mean over tags of `differences`, beside those of random splits by
        artists), `worst_tags` and `no_positive` (classification tags by part); and for quality.csv one row a tag: tag,
        kind, annotated, prevalence, a column a part, difference, random_difference.
    """
    parts = list(shares)
    prevalence = sums.prevalence(part_of, len(parts))
    gaps = differences(prevalence)
    tracks_of_artist = np.bincount(artist_of, sums.tracks)
    random = np.random.default_rng(seed)
    tries = [_random_parts(tracks_of_artist, shares, random)[artist_of] for _ in range(RANDOM_TRIES)]
    chance = np.array([differences(sums.prevalence(random_parts, len(parts))) for random_parts in tries])
    annotated = sums.annotated.sum(axis=0)
    table = tags.assign(
        annotated=annotated.astype(np.int64),
        prevalence=sums.labels.sum(axis=0) / np.maximum(annotated, 1),
        **dict(zip(parts, prevalence, strict=True)),
        difference=gaps,
        random_difference=chance.mean(axis=0),
    )
    rounded = table.round(6)
    worst = rounded.sort_values("difference", ascending=False, kind="stable").head(WORST)
    positive = [sums.positive[part_of == i].any(axis=0) for i in range(len(parts))]
    classification = tags["kind"].to_numpy() == "classification"
    return {
        "deviation": _beside_chance(gaps, chance),
        "worst_tags": [
            {"tag": row["tag"]} | {key: _number(row[key]) for key in (*parts, "difference")}
            for row in worst.to_dict("records")
        ],
        "no_positive": {
            part: tags["tag"][classification & ~some].tolist() for part, some in zip(parts, positive, strict=True)
        },
    }, rounded


def subset_quality(values: np.ndarray, order: np.ndarray, seed: int) -> dict[str, dict[str, float]]:
    """How far the prevalence of nested training subsets is from that of the training part, by number of tracks.

    Args:
        values: (tracks, tags) in [0, 1], NaN = not annotated.
        order: positions of the training tracks, by rank.
    """
    random = np.random.default_rng(seed)
    sizes = [size for size in SUBSETS if size < len(order)]
    whole = _means(values, order) if sizes else np.empty(0)

    def gaps(tracks: np.ndarray) -> np.ndarray:
        return np.nan_to_num(np.abs(_means(values, tracks) - whole))  # NaN: not annotated, so no difference

    return {
        str(size): _beside_chance(
            gaps(order[:size]),
            np.array([gaps(random.choice(order, size, replace=False)) for _ in range(RANDOM_TRIES)]),
        )
        for size in sizes
    }


def _means(values: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    def rows(some: np.ndarray) -> np.ndarray:
        labels = values[tracks[some]]
        annotated = ~np.isnan(labels)
        return np.concatenate([np.where(annotated, labels, 0), annotated], axis=1)

    sums = sums_by(np.zeros(len(tracks), np.int64), 1, 2 * values.shape[1], rows)
    labels, annotated = np.split(sums[0], 2)
    with np.errstate(invalid="ignore"):
        return labels / annotated


def _beside_chance(gaps: np.ndarray, chance: np.ndarray) -> dict[str, float]:
    numbers = {
        "max": gaps.max(initial=0),
        "mean": gaps.mean() if gaps.size else 0,
        "random_max": chance.max(axis=1, initial=0).mean(),
        "random_mean": chance.mean() if chance.size else 0,
    }
    return {name: round(float(number), 6) for name, number in numbers.items()}


def _random_parts(tracks: np.ndarray, shares: dict[str, float], random: np.random.Generator) -> np.ndarray:
    """Whole artists in random order fill one part after another: a division without stratification."""
    order = random.permutation(len(tracks))
    before = np.cumsum(tracks[order]) - tracks[order]
    borders = np.cumsum(list(shares.values()))[:-1] * tracks.sum()
    part_of = np.empty(len(tracks), np.int64)
    part_of[order] = np.searchsorted(borders, before, side="right")
    return part_of


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
