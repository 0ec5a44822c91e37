"""Boosted trees: the same as scikit-learn grows, in a file that holds nothing but data."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from tagscale.descriptors import baseline
from tagscale.descriptors.baseline import FILE, LEAF, LEAF_SHARE, DescriptorTrees, Targets
from tagscale.descriptors.describe import VERSION, describe_recording
from tagscale.params.blocks import BaselineParams
from tagscale.runtime.errors import TagscaleError

PARAMS = BaselineParams(trees=12, leaves=5, leaf=20, learning_rate=0.2)
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


def fit(features: pd.DataFrame, labels: np.ndarray, **settings: Any) -> DescriptorTrees:
    """Trees with the settings above, on one thread."""
    known = {"tags": TAGS, "kinds": KINDS, "params": PARAMS, "seed": 3, "threads": 1}
    return DescriptorTrees.fit(features, labels, **known | settings)


@pytest.fixture(scope="module")
def trees() -> DescriptorTrees:
    features = descriptors(300, seed=0)
    return fit(features, annotations(features))


@pytest.mark.parametrize("tag", [0, 1, 2])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_scores_are_those_of_scikit_learn(tag: int, class_weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On few distinct values, so that both consider the same splits, with all descriptors and no least leaf."""
    monkeypatch.setattr(baseline, "SHARE", 1.0)
    features = descriptors(300, seed=0).round(1)
    labels = annotations(features)
    least = PARAMS.model_copy(update={"leaf": 0})
    scores = fit(features, labels, params=least, class_weights=class_weights).predict(features)[:, tag]
    known = ~np.isnan(labels[:, tag])
    settings = {
        "max_iter": 12,
        "max_leaf_nodes": 5,
        "learning_rate": 0.2,
        "min_samples_leaf": 1,
        "early_stopping": False,
    }
    x = features.to_numpy(np.float64)
    if KINDS[tag] == "regression":
        regressor = HistGradientBoostingRegressor(**settings).fit(x[known], labels[known, tag].astype(np.float64))
        expected = np.clip(regressor.predict(x), 0, 1)
    else:
        weights = None if class_weights == "none" else class_weights
        classifier = HistGradientBoostingClassifier(**settings, class_weight=weights)
        expected = classifier.fit(x[known], labels[known, tag] >= 0.5).predict_proba(x)[:, 1]
    np.testing.assert_allclose(scores[known], expected[known], atol=1e-4)


def test_a_leaf_holds_a_least_weight() -> None:
    """The mean weight of a track is 1 for every tag, the rare one too."""
    leaf = 20
    tracks = 2 * leaf
    features = pd.DataFrame({"x": np.arange(tracks)})
    step = (np.arange(tracks) >= leaf).astype(np.float32)[:, None]
    one = {"tags": ["step"], "kinds": ["regression"]}
    assert np.ptp(fit(features, step, **one).predict(features)) > 0.5
    assert np.ptp(fit(features[1:], step[1:], **one).predict(features)) == 0
    rare = Targets(np.where(np.arange(200) < 4, 1.0, 0.0)[:, None], ["classification"], leaf)
    _, weight = rare.gradients(np.tile(rare.start, (200, 1)).astype(np.float32))
    np.testing.assert_allclose(weight.sum(), 200 / leaf, rtol=1e-5)


def test_the_least_leaf_follows_the_annotated_tracks() -> None:
    """A tag of ten annotated tracks splits among many tracks that say nothing of it; a setting overrules the rule."""
    features = pd.DataFrame({"x": np.arange(60)})
    step = np.full((60, 2), np.nan)
    step[:10, 0] = np.arange(10) >= 5
    step[:, 1] = np.arange(60) >= 30
    targets = Targets(step, ["regression"] * 2)
    np.testing.assert_allclose(targets.leaf, [10 * LEAF_SHARE, LEAF])
    tags = {"tags": ["few", "many"], "kinds": ["regression"] * 2}
    scaled = PARAMS.model_copy(update={"leaf": None})
    ranges = [
        np.ptp(fit(features, step, params=params, **tags).predict(features), axis=0) for params in (scaled, PARAMS)
    ]
    assert (ranges[0] > 0.5).all()
    assert ranges[1][0] == 0
    assert ranges[1][1] > 0.5


def test_gradients_are_those_of_the_loss() -> None:
    """Against differences of the loss itself, up to the scale of each tag; 0 where a tag is not annotated."""
    labels = np.array([[1, 0.2], [0, 0.9], [np.nan, 0.4], [0, np.nan]])
    targets = Targets(labels, ["classification", "regression"], leaf=1)
    scores = np.array([[0.3, 0.5], [-1.0, 0.1], [0.2, 0.7], [2.0, 0.0]])

    def loss(scores: np.ndarray) -> np.ndarray:
        entropy = np.log1p(np.exp(scores[:, 0])) - labels[:, 0] * scores[:, 0]
        return np.nan_to_num(np.stack([entropy, (scores[:, 1] - labels[:, 1]) ** 2 / 2], axis=1))

    first, second = targets.gradients(scores.astype(np.float32))
    step = 1e-4
    slope = (loss(scores + step) - loss(scores - step)) / (2 * step)
    bend = (loss(scores + step) - 2 * loss(scores) + loss(scores - step)) / step**2
    scale = 3 / bend.sum(axis=0)
    np.testing.assert_allclose(first, slope * scale, atol=1e-4)
    np.testing.assert_allclose(second, bend * scale, atol=1e-4)


def test_trees_find_what_decides_a_tag(trees: DescriptorTrees) -> None:
    new = descriptors(500, seed=5)
    x, scores = new.to_numpy(np.float64), trees.predict(new)
    energy = 1 / (1 + np.exp(-x[:, 3] - x[:, 4]))
    assert ((scores[:, 0] > 0.5) == (x[:, 0] > 0)).mean() > 0.95
    assert np.corrcoef(scores[:, 2], energy)[0, 1] > 0.8


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
    second = tmp_path / "second"
    second.mkdir()
    loaded.save(second)
    assert (second / FILE).read_bytes() == (tmp_path / FILE).read_bytes()


def test_trees_score_a_recording() -> None:
    """The row that they were given for the same samples."""
    recordings = [np.random.default_rng(n).integers(-99 * n, 99 * n, 999).astype(np.int16) for n in range(1, 49)]
    features = pd.concat([describe_recording(samples) for samples in recordings], ignore_index=True)
    loud = (np.arange(48)[:, None] >= 24).astype(np.float32)
    trees = fit(features, loud, tags=["loud"], kinds=["classification"], params=PARAMS)
    scores = trees.predict(pd.concat([describe_recording(samples) for samples in recordings]))
    np.testing.assert_array_equal(scores, trees.predict(features))
    assert scores[:24].max() < 0.3 < 0.7 < scores[24:].min()


def test_trees_of_other_descriptors_are_refused(
    trees: DescriptorTrees, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.save(tmp_path)
    monkeypatch.setattr(baseline, "VERSION", VERSION + 1)
    with pytest.raises(TagscaleError, match=f"grown on descriptors of version {VERSION}, where .* {VERSION + 1}"):
        DescriptorTrees.load(tmp_path)


def test_neither_threads_nor_the_number_of_tracks_change_a_score(trees: DescriptorTrees) -> None:
    features, new = descriptors(300, seed=0), descriptors(40, seed=1)
    two = fit(features, annotations(features), threads=2)
    scores = trees.predict(new)
    np.testing.assert_array_equal(two.predict(new), scores)
    np.testing.assert_array_equal(np.concatenate([trees.predict(new[:1]), trees.predict(new[1:])]), scores)
    assert trees.predict(new[:0]).shape == (0, len(TAGS))


def test_the_seed_draws_the_descriptors(trees: DescriptorTrees) -> None:
    features, new = descriptors(300, seed=0), descriptors(40, seed=1)
    other, same = (fit(features, annotations(features), seed=seed).predict(new) for seed in (4, 3))
    np.testing.assert_array_equal(same, trees.predict(new))
    assert not np.array_equal(other, same)


def test_few_tracks() -> None:
    features = descriptors(4, seed=0)
    assert np.isfinite(fit(features, annotations(features)).predict(features)).all()


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
    """Cut short, changed, of another kind, or of a version that kept the trees in other files."""
    trees.save(tmp_path)
    file, whole = tmp_path / FILE, (tmp_path / FILE).read_bytes()
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 1
    for content in (
        whole[:-100],
        whole[:5],
        b"",
        bytes(changed),
        b"trees",
        gzip.compress(b"trees"),
        gzip.compress(b"{}"),
    ):
        file.write_bytes(content)
        with pytest.raises(TagscaleError, match=r"(?s)trees.ubj.gz: no readable trees \(.*Run `tagscale train` again"):
            DescriptorTrees.load(tmp_path)
    file.unlink()
    (tmp_path / "trees.safetensors").write_bytes(whole)
    with pytest.raises(TagscaleError, match="Run `tagscale train` again"):
        DescriptorTrees.load(tmp_path)


def test_progress_and_rare_tags_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    features = descriptors(60, seed=0)
    labels = np.zeros((60, 3), np.float32)
    labels[:30, 0], labels[:2, 1], labels[:, 2] = 1, 1, np.linspace(0, 1, 60)
    kinds = ["classification", "classification", "regression"]
    fit(features, labels, tags=["half", "two", "level"], kinds=kinds)
    shown = capsys.readouterr().out
    assert "growing trees" in shown
    assert "12/12" in shown
    assert "rounds/s" in shown
    assert "their scores mean little: two (2 of 60)" in shown


def test_balanced_weights_raise_the_scores_of_rare_tags() -> None:
    """Off unless asked for; regression does not know them."""
    features = descriptors(300, seed=0)
    x = features.to_numpy(np.float64)
    labels = np.stack([x[:, 0] > 1.2, 1 / (1 + np.exp(-x[:, 1]))], axis=1).astype(np.float32)
    two = {"tags": ["loud", "level"], "kinds": ["classification", "regression"]}
    plain = fit(features, labels, **two).predict(features)
    balanced = fit(features, labels, class_weights="balanced", **two).predict(features)
    assert balanced[:, 0].mean() > plain[:, 0].mean() + 0.05
    np.testing.assert_array_equal(balanced[:, 1], plain[:, 1])
