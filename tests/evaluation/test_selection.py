"""Greedy selection finds the mean that scores best, and judges itself on artists that it did not choose on."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score

from tagscale.evaluation.metrics import evaluate
from tagscale.evaluation.selection import (
    groups_of_artists,
    metrics_by_kind,
    pool,
    pool_held_out,
    select,
    select_by_kind,
    select_without,
)

CLASSES = np.array([False, False])
BY_PR_AUC, BY_ROC_AUC = metrics_by_kind("pr_auc"), metrics_by_kind("roc_auc")


def noisy(labels: np.ndarray, noise: list[float], seed: int = 0) -> np.ndarray:
    """A model for every amount of noise: (models, tracks, tags) in [0, 1]."""
    random = np.random.default_rng(seed)
    return np.stack([(0.5 + 0.2 * (labels - 0.5) + random.normal(0, one, labels.shape)).clip(0, 1) for one in noise])


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return (np.random.default_rng(1).random((60, 2)) < 0.3).astype(float)


def test_a_model_that_is_perfect_stays_alone(labels: np.ndarray) -> None:
    scores = np.stack([1 - labels, labels, labels])
    assert select(scores, labels, CLASSES, "pr_auc").tolist() == [0, 1, 0], "the first among equals"


def test_each_step_takes_the_model_that_improves_the_mean_most(labels: np.ndarray) -> None:
    """Against scikit-learn's average precision: as good as the best of all means of up to as many models, by steps."""
    scores = noisy(labels, [0.2, 0.22, 0.25, 0.6])
    counts = select(scores, labels, CLASSES, "pr_auc")

    def value(members: tuple[int, ...]) -> float:
        mean = logit(scores[list(members)].clip(1e-6, 1 - 1e-6)).mean(axis=0)
        return float(np.mean([average_precision_score(labels[:, tag], mean[:, tag]) for tag in range(2)]))

    members: tuple[int, ...] = ()
    while True:
        steps = [(value((*members, model)), -model) for model in range(4)]
        best, model = max(steps)
        if members and best <= value(members) + 1e-12:
            break
        members = (*members, -model)
    assert counts.tolist() == np.bincount(members, minlength=4).tolist()
    assert counts.sum() > 1
    alone = [value((model,)) for model in range(4)]
    assert value(members) > max(alone)
    pairs = max(value(pair) for pair in combinations_with_replacement(range(4), 2))
    assert value(members) >= pairs - 0.02


def test_regression_tags_are_selected_by_their_error_alone() -> None:
    random = np.random.default_rng(0)
    labels = np.column_stack([random.random(50) < 0.5, random.random(50)]).astype(float)
    good_at_values = np.column_stack([random.random(50), (labels[:, 1] + 0.05).clip(0, 1)])
    good_at_classes = np.column_stack([labels[:, 0], random.random(50)])
    scores, regression = np.stack([good_at_classes, good_at_values]), np.array([False, True])
    assert select(scores, labels, regression, "rmse")[1] > 0
    assert select(scores, labels, regression, "rmse").argmax() == 1
    assert select(scores, labels, regression, "pr_auc").tolist() == [1, 0]


def test_each_kind_of_tags_has_weights_of_its_own() -> None:
    random = np.random.default_rng(0)
    labels = np.column_stack([random.random(50) < 0.5, random.random(50), random.random(50)]).astype(float)
    guesses, regression = random.random(labels.shape), np.array([False, True, True])
    at_classes, at_values = np.where(regression, guesses, labels), np.where(regression, labels, guesses)
    scores = np.stack([at_classes, at_values])
    for metric in ("pr_auc", "rmse"):
        weights = select_by_kind(scores, labels, regression, metrics_by_kind(metric))
        assert weights.tolist() == [[1, 0, 0], [0, 1, 1]]
    np.testing.assert_allclose(pool(scores, weights, regression), labels, atol=2e-6)
    assert select_by_kind(scores[..., :1], labels[:, :1], regression[:1], BY_PR_AUC).tolist() == [[1], [0]]


def test_where_no_model_has_the_metric_all_weigh_alike(labels: np.ndarray) -> None:
    scores = noisy(labels, [0.1, 0.2])
    assert select(scores, labels, CLASSES, "rmse").tolist() == [1, 1]
    assert select(scores, np.zeros_like(labels), CLASSES, "pr_auc").tolist() == [1, 1]
    assert select(scores[:, :0], labels[:0], CLASSES, "pr_auc").tolist() == [1, 1]


def test_log_odds_of_classes_and_values_of_regression_tags_are_averaged() -> None:
    """Against scipy's functions; a model that is sure does not outvote two that are not."""
    scores = np.array([[[0.999, 0.2], [0.5, 0.9]], [[0.2, 0.4], [0.1, 0.1]], [[0.3, 0.6], [0.4, 0.8]]])
    weights, regression = np.array([1.0, 2.0, 1.0]), np.array([False, True])
    pooled = pool(scores, weights, regression)
    expected = expit(np.average(logit(scores[:, :, 0]), axis=0, weights=weights))
    np.testing.assert_allclose(pooled[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(pooled[:, 1], np.average(scores[:, :, 1], axis=0, weights=weights), rtol=1e-6)
    assert pooled.dtype == np.float32
    sure = pool([np.array([[0.0, 0.0]]), np.array([[1.0, 1.0]])], np.array([3.0, 1.0]), regression)
    assert 0 < sure[0, 0] < 0.01
    assert sure[0, 1] == 0.25


def test_a_model_alone_is_its_own_pool(labels: np.ndarray) -> None:
    (scores,) = noisy(labels, [0.1])
    np.testing.assert_allclose(pool([scores], np.array([7.0]), CLASSES), scores, atol=2e-6)


@pytest.mark.slow
def test_held_out_artists_unmask_a_selection_of_noise() -> None:
    """Of many models that know nothing, the selection makes a mean that looks good; on other artists it is chance."""
    random = np.random.default_rng(0)
    labels = (random.random((100, 2)) < 0.3).astype(float)
    scores = random.random((40, 100, 2))
    artist = np.arange(100) // 2
    chosen = pool(scores, select(scores, labels, CLASSES, "roc_auc"), CLASSES)
    group = groups_of_artists(artist, seed=0)
    weights = select_without(scores, labels, CLASSES, BY_ROC_AUC, group)
    held_out = pool_held_out(scores, weights, group, CLASSES)
    assert evaluate(labels, chosen, CLASSES).overall()["roc_auc"] > 0.62
    assert evaluate(labels, held_out, CLASSES).overall()["roc_auc"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("tracks", "artists", "sizes"), [(1001, 12, [2, 2, 2, 3, 3]), (200, 12, [1] * 12), (1000, 60, [2] * 15 + [3] * 10)]
)
def test_the_tracks_of_an_artist_are_in_one_of_the_groups(tracks: int, artists: int, sizes: list[int]) -> None:
    artist = np.random.default_rng(0).permutation(np.arange(tracks) % artists)
    group = groups_of_artists(artist, seed=1)
    assert {len(np.unique(group[artist == one])) for one in range(artists)} == {1}
    assert sorted(np.unique(group[np.unique(artist, return_index=True)[1]], return_counts=True)[1]) == sizes
    assert groups_of_artists(np.array([4, 4, 9]), seed=0)[0] != groups_of_artists(np.array([4, 4, 9]), seed=0)[2]


def test_a_groups_weights_owe_nothing_to_its_labels(labels: np.ndarray) -> None:
    scores = noisy(labels, [0.2, 0.25, 0.3])
    group = np.array(["a"] * 25 + ["b"] * 35)
    weights = select_without(scores, labels, CLASSES, BY_PR_AUC, group)
    other = np.where(group[:, None] == "a", 1 - labels, labels)
    again = select_without(scores, other, CLASSES, BY_PR_AUC, group)
    assert weights["a"].tolist() == again["a"].tolist()
    assert weights["b"].tolist() != again["b"].tolist()
    pooled = pool_held_out(scores, weights, group, CLASSES)
    np.testing.assert_array_equal(pooled[:25], pool(scores[:, :25], weights["a"], CLASSES))
    np.testing.assert_array_equal(pooled[25:], pool(scores[:, 25:], weights["b"], CLASSES))


def test_an_artist_alone_gets_the_mean_of_all_models(labels: np.ndarray) -> None:
    group = groups_of_artists(np.zeros(len(labels), int), seed=0)
    weights = select_without(noisy(labels, [0.2, 0.3]), labels, CLASSES, BY_PR_AUC, group)
    assert [one.tolist() for one in weights.values()] == [[[1, 1], [1, 1]]]
