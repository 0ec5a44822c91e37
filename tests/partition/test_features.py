"""What stratification balances, against features written out by hand; sums in batches, against plain ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagscale.partition import features
from tagscale.partition.features import Features, sums_by


def test_features() -> None:
    nan = np.nan
    labels = np.array([[1, 0.0, nan], [0.25, 0.1, nan], [0, 0.5, 1], [1, 0.6, 0], [0, 0.8, 1], [1, 1, 0]], np.float32)
    found = Features(labels, ["classification", "regression", "classification"]).of(np.arange(6))
    expected = [
        [1, 1, 1, 1, 1, 1],
        [1, 0.25, 0, 1, 0, 1],
        [1, 1, 0, 0, 0, 0],  # lower third
        [0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 1, 0, 1, 0],
        [0, 0, 1, 1, 1, 1],  # annotated
    ]
    np.testing.assert_array_equal(found.T, np.array(expected, np.float32))


def test_features_leave_out_what_no_track_has() -> None:
    labels = np.array([[np.nan, 0.5], [np.nan, 0.5]], np.float32)
    np.testing.assert_array_equal(Features(labels, ["regression", "regression"]).of(np.arange(2)), [[1, 1], [1, 1]])


def test_features_of_some_tracks_are_rows_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    labels = random.random((100, 6)).astype(np.float32)
    labels[random.random(labels.shape) < 0.3] = np.nan
    kinds = ["classification", "regression"] * 3
    whole = Features(labels, kinds).of(np.arange(100))
    monkeypatch.setattr(features, "BATCH", 16)
    found = Features(labels, kinds)
    assert len(found) == whole.shape[1] == 1 + 3 + 3 * 3 + 6
    np.testing.assert_array_equal(found.of(np.array([7, 99, 7])), whole[[7, 99, 7]])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 200), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_sums(tracks: int, groups: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values, group_of = random.random((tracks, 4)), random.integers(0, groups, tracks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "BATCH", 16)
        found = sums_by(group_of, groups, 4, lambda some: values[some])
    expected = [values[group_of == group].sum(axis=0) for group in range(groups)]
    np.testing.assert_allclose(found, expected)
