"""Many tracks through many trees: the same leaves as one track after another, whatever the shape of the trees."""

from dataclasses import replace

import numpy as np
import pytest

from tagscale.descriptors import trees
from tagscale.descriptors.trees import Ensemble, Walk, flattened

FEATURES, TAGS = 7, 3


def ensemble(leaves: list[int], chain: bool = False) -> Ensemble:
    """Random trees with so many leaves; as a chain each split has a leaf on its right."""
    random = np.random.default_rng(0)
    rows: list[tuple[int, float, int, int, float]] = []

    def grow(count: int) -> int:
        number = len(rows)
        rows.append((0, 0.0, number, number, random.normal()))
        if count > 1:
            below = count - 1 if chain else int(random.integers(1, count))
            left, right = grow(below), grow(count - below)
            rows[number] = (int(random.integers(FEATURES)), round(random.normal(), 1), left, right, 0.0)
        return number

    roots = [grow(count) for count in leaves]
    feature, threshold, left, right, value = zip(*rows, strict=True)
    return Ensemble(
        np.array(feature, np.int32),
        np.array(threshold),
        np.array(left, np.int32),
        np.array(right, np.int32),
        np.array(value),
        np.array(roots, np.int32),
        np.sort(random.integers(0, TAGS, len(roots))).astype(np.int32),
        random.normal(size=TAGS),
    )


def values(tracks: int) -> np.ndarray:
    """Rounded, so that many lie exactly on a threshold."""
    return np.random.default_rng(1).normal(size=(tracks, FEATURES)).round(1)


@pytest.mark.parametrize("leaves", [1, 2, 7, 8, 9, 16, 17, 32, 33, 64, 65, 200])
@pytest.mark.parametrize("chain", [False, True])
def test_all_ways_lead_to_the_same_leaves(leaves: int, chain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "BLOCK", 40)
    grown = ensemble([leaves, 1, leaves, 3], chain)
    grown.check(FEATURES, TAGS)
    walk, tracks = Walk(grown), values(100)
    expected = np.tile(grown.start, (100, 1))
    for track, row in enumerate(tracks):  # down each tree by hand
        for root, tag in zip(grown.root, grown.tag, strict=True):
            node = root
            while grown.left[node] != node:
                goes_left = row[grown.feature[node]] <= grown.threshold[node]
                node = grown.left[node] if goes_left else grown.right[node]
            expected[track, tag] += grown.value[node]
    np.testing.assert_allclose(walk.scores(tracks), expected, rtol=1e-12)
    np.testing.assert_array_equal(walk.scores(tracks), walk.one_by_one(tracks))
    np.testing.assert_array_equal(walk.scores(tracks[:5]), walk.scores(tracks)[:5])


def test_no_trees_and_no_tracks() -> None:
    empty = flattened([[]] * TAGS, [0.25, 0.5, 1.0])
    empty.check(FEATURES, TAGS)
    np.testing.assert_array_equal(Walk(empty).scores(values(50)), np.tile(empty.start, (50, 1)))
    assert Walk(ensemble([4])).scores(values(0)).shape == (0, TAGS)


def test_what_is_wrong_with_an_ensemble_is_said() -> None:
    good = ensemble([5, 4])
    nodes = len(good.value)

    def changed(name: str, position: int, value: int) -> Ensemble:
        array = getattr(good, name).copy()
        array[position] = value
        return replace(good, **{name: array})

    split = int(np.flatnonzero(good.left != np.arange(nodes))[0])
    for bad, reason in [
        (replace(good, threshold=good.threshold[:-1]), rf"threshold has shape \({nodes - 1},\)"),
        (replace(good, start=good.start[:-1]), r"start has shape \(2,\), expected \(3,\)"),
        (changed("left", split, split), "leads out of its tree"),  # a leaf on one side only
        (changed("right", split, nodes), "leads out of its tree"),
        (changed("right", split, int(good.root[1])), "leads out of its tree"),  # into the next one
        (changed("right", split, -1), "leads out of its tree"),
        (changed("feature", split, FEATURES), "feature 0 to 7, expected 0 to 6|feature . to 7"),
        (changed("tag", 0, -1), "tag -1 to"),
        (changed("root", 0, 1), "roots are not in order"),
        (changed("root", 1, 0), "roots are not in order"),
    ]:
        with pytest.raises(ValueError, match=reason):
            bad.check(FEATURES, TAGS)
