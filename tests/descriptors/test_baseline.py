"""Boosted trees: the same scores as scikit-learn's own, from files that hold nothing but numbers."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from safetensors.numpy import load_file, save_file
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from tagscale.descriptors.baseline import BINS, SHARE, DescriptorTrees, Growth
from tagscale.runtime.errors import TagscaleError

GROWTH = Growth(trees=12, leaves=5, learning_rate=0.2, seed=3)
TAGS = ["loud", "fast", "energy", "silent", "human", "rare", "level"]
KINDS = ["classification", "classification", "regression", "classification", "classification", "classification"]
KINDS = [*KINDS, "regression"]


def descriptors(tracks: int, seed: int) -> pd.DataFrame:
    values = np.random.default_rng(seed).standard_normal((tracks, 6)).astype(np.float32)
    return pd.DataFrame(values, columns=[f"descriptor_{number}" for number in range(6)])


def annotations(features: pd.DataFrame) -> np.ndarray:
    """Fractions and gaps; "silent" is never positive, "human" always, "rare" not annotated, "level" always 0.25."""
    x = features.to_numpy(np.float64)
    loud = np.clip(0.5 + x[:, 0], 0, 1)
    fast = (x[:, 1] * x[:, 2] > 0).astype(float)
    fast[::7] = np.nan
    energy = 1 / (1 + np.exp(-x[:, 3] - x[:, 4]))
    energy[::5] = np.nan
    same = [np.full(len(x), value) for value in (0.0, 1.0, np.nan, 0.25)]
    return np.stack([loud, fast, energy, *same], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def trees() -> DescriptorTrees:
    features = descriptors(300, seed=0)
    return DescriptorTrees.fit(features, annotations(features), TAGS, KINDS, GROWTH, workers=1)


@pytest.mark.parametrize("tag", [0, 1, 2])
def test_scores_are_those_of_scikit_learn(trees: DescriptorTrees, tag: int) -> None:
    features, new = descriptors(300, seed=0), descriptors(100, seed=1)
    labels = annotations(features)[:, tag].astype(np.float64)
    known = ~np.isnan(labels)
    regression = KINDS[tag] == "regression"
    reference = (HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier)(
        max_iter=12,
        max_leaf_nodes=5,
        learning_rate=0.2,
        max_bins=BINS,
        max_features=SHARE,
        early_stopping=False,
        random_state=3,
    )
    x = features.to_numpy(np.float64)
    reference.fit(x[known], labels[known] if regression else labels[known] >= 0.5)
    new_x = new.to_numpy(np.float64)
    expected = np.clip(reference.predict(new_x), 0, 1) if regression else reference.predict_proba(new_x)[:, 1]
    np.testing.assert_allclose(trees.predict(new)[:, tag], expected, atol=1e-6)


def test_scores_stay_between_0_and_1(trees: DescriptorTrees) -> None:
    scores = trees.predict(descriptors(200, seed=2) * 100)
    assert scores.shape == (200, 7)
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()


def test_tags_without_two_sides_are_constant_and_named(trees: DescriptorTrees) -> None:
    assert trees.constant == {
        "silent": "0 in all annotated training tracks",
        "human": "1 in all annotated training tracks",
        "rare": "not annotated in the training tracks",
        "level": "0.25 in all annotated training tracks",
    }
    np.testing.assert_allclose(trees.predict(descriptors(3, seed=1))[:, 3:], [[0, 1, 0.5, 0.25]] * 3, atol=1e-7)


def test_saved_and_loaded(trees: DescriptorTrees, tmp_path: Path) -> None:
    trees.save(tmp_path)
    loaded = DescriptorTrees.load(tmp_path)
    new = descriptors(50, seed=1)
    assert np.array_equal(loaded.predict(new), trees.predict(new))
    assert (loaded.tags, loaded.kinds, loaded.constant) == (TAGS, KINDS, trees.constant)
    assert loaded.parameters == trees.parameters > 3 * 12
    again = tmp_path / "again"
    again.mkdir()
    loaded.save(again)
    for name in ("trees.json", "trees.safetensors"):
        assert (again / name).read_bytes() == (tmp_path / name).read_bytes()


def test_the_number_of_workers_changes_nothing(trees: DescriptorTrees) -> None:
    features, new = descriptors(300, seed=0), descriptors(40, seed=1)
    two = DescriptorTrees.fit(features, annotations(features), TAGS, KINDS, GROWTH, workers=2)
    assert np.array_equal(two.predict(new), trees.predict(new))


def test_few_tracks() -> None:
    features = descriptors(4, seed=0)
    trees = DescriptorTrees.fit(features, annotations(features), TAGS, KINDS, replace(GROWTH, trees=3), workers=1)
    assert np.isfinite(trees.predict(features)).all()


def test_columns_are_found_by_name(trees: DescriptorTrees) -> None:
    new = descriptors(5, seed=1)
    assert np.array_equal(trees.predict(new.iloc[:, ::-1]), trees.predict(new))
    with pytest.raises(TagscaleError, match=r"1 missing .*descriptor_2.*tagscale describe"):
        trees.predict(new.drop(columns="descriptor_2"))


def test_descriptors_that_are_not_finite(trees: DescriptorTrees) -> None:
    new = descriptors(5, seed=1)
    new.loc[2, "descriptor_4"] = np.nan
    with pytest.raises(TagscaleError, match="not finite: descriptor_4"):
        trees.predict(new)


def test_damaged_files(trees: DescriptorTrees, tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match="Train the baseline again"):
        DescriptorTrees.load(tmp_path)
    trees.save(tmp_path)
    whole = (tmp_path / "trees.safetensors").read_bytes()
    (tmp_path / "trees.safetensors").write_bytes(whole[:-100])
    with pytest.raises(TagscaleError, match="no readable trees"):
        DescriptorTrees.load(tmp_path)


def test_progress_and_rare_tags_are_told() -> None:
    features = descriptors(60, seed=0)
    labels = np.zeros((60, 3), np.float32)
    labels[:30, 0], labels[:2, 1], labels[:, 2] = 1, 1, np.linspace(0, 1, 60)
    said = Console(file=StringIO(), width=200)
    kinds = ["classification", "classification", "regression"]
    DescriptorTrees.fit(features, labels, ["half", "two", "level"], kinds, GROWTH, workers=1, console=said)
    assert isinstance(said.file, StringIO)
    told = said.file.getvalue()
    assert "growing trees" in told
    assert "3/3" in told
    assert "tags/s" in told
    assert "their scores mean little: two (2 of 60)" in told


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    """Off unless asked for; regression does not know them."""
    features = descriptors(300, seed=0)
    x = features.to_numpy(np.float64)
    labels = np.stack([x[:, 0] > 1.2, 1 / (1 + np.exp(-x[:, 1]))], axis=1).astype(np.float32)
    kinds = ["classification", "regression"]
    plain, balanced = (
        DescriptorTrees.fit(features, labels, ["loud", "level"], kinds, growth, workers=1).predict(features)
        for growth in (GROWTH, replace(GROWTH, class_weights="balanced"))
    )
    reference = HistGradientBoostingClassifier(
        max_iter=12,
        max_leaf_nodes=5,
        learning_rate=0.2,
        max_bins=BINS,
        max_features=SHARE,
        early_stopping=False,
        random_state=3,
        class_weight="balanced",
    ).fit(x, labels[:, 0] >= 0.5)
    np.testing.assert_allclose(balanced[:, 0], reference.predict_proba(x)[:, 1], atol=1e-6)
    assert balanced[:, 0].mean() > plain[:, 0].mean() + 0.05
    np.testing.assert_array_equal(balanced[:, 1], plain[:, 1])


def test_a_file_of_an_earlier_version_loads(tmp_path: Path) -> None:
    """What was written before there was anything but trees.json and trees.safetensors, format 1."""
    facts = {"features": ["x"], "tags": ["a"], "kinds": ["classification"], "constant": {}}
    (tmp_path / "trees.json").write_text(json.dumps({"format": 1} | facts))
    nodes = {
        "feature": np.array([0, 0, 0], np.int32),
        "threshold": np.array([0.5, 0, 0]),
        "left": np.array([1, 1, 2], np.int32),
        "right": np.array([2, 1, 2], np.int32),
        "value": np.array([0, -1.0, 2.0]),
        "root": np.array([0], np.int32),
        "tag": np.array([0], np.int32),
        "start": np.array([0.25]),
    }
    save_file(nodes, tmp_path / "trees.safetensors")
    scores = DescriptorTrees.load(tmp_path).predict(pd.DataFrame({"x": [0.0, 0.5, 0.6]}))
    np.testing.assert_allclose(scores[:, 0], 1 / (1 + np.exp([0.75, 0.75, -2.25])), rtol=1e-6)


def test_trees_that_lead_nowhere_are_not_loaded(trees: DescriptorTrees, tmp_path: Path) -> None:
    """A file that would read beyond its arrays, or never end."""
    trees.save(tmp_path)
    arrays = load_file(tmp_path / "trees.safetensors")
    arrays["left"][0] = 0
    save_file(arrays, tmp_path / "trees.safetensors")
    with pytest.raises(TagscaleError, match=r"leads out of its tree.*Train the baseline again"):
        DescriptorTrees.load(tmp_path)
