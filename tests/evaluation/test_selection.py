"""Greedy selection finds the mean that scores best, and judges itself on artists that it did not choose on."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score

from tagscale.evaluation import selection
from tagscale.evaluation.metrics import evaluate
from tagscale.evaluation.selection import metrics_by_kind, pool, select, select_bagged, select_by_kind

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


@pytest.mark.parametrize("metric", ["f1", "micro_f1", "frequent_f1", "ece"])
def test_the_scale_of_scores_does_not_choose_where_thresholds_are_still_to_be_learned(metric: str) -> None:
    """The first model ranks perfectly and never reaches 0.5, from which scores are decided before that."""
    random = np.random.default_rng(2)
    labels = (random.random((60, 2)) < 0.3).astype(float)
    scores = np.stack([0.1 + 0.2 * labels, (0.2 + 0.6 * labels + random.normal(0, 0.2, labels.shape)).clip(0, 1)])
    weights, _ = select_bagged(scores, labels, CLASSES, metrics_by_kind(metric), np.arange(60), seed=0)
    assert weights.tolist() == [[1, 1], [0, 0]]


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
    weights, held_out = select_bagged(scores, labels, CLASSES, BY_ROC_AUC, artist, seed=0)
    chosen = pool(scores, weights, CLASSES)
    assert evaluate(labels, chosen, CLASSES).overall()["roc_auc"] > 0.62
    assert evaluate(labels, held_out, CLASSES).overall()["roc_auc"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("few", "bags"), [(1000, 25), (59, 10)])
def test_the_weights_are_the_mean_of_choices_on_resampled_artists(
    labels: np.ndarray, monkeypatch: pytest.MonkeyPatch, few: int, bags: int
) -> None:
    """Choice by choice, each on the tracks of artists drawn with replacement."""
    monkeypatch.setattr(selection, "FEW", few)
    scores, artist, random = noisy(labels, [0.2, 0.25, 0.3]), np.arange(60) % 7, np.random.default_rng(5)
    choices = []
    for _ in range(bags):
        drawn = random.integers(7, size=7)
        rows = np.concatenate([np.flatnonzero(artist == one) for one in drawn])
        counts = select(scores[:, rows], labels[rows], CLASSES, "pr_auc")
        choices.append((set(drawn), counts / counts.sum()))
    weights, held_out = select_bagged(scores, labels, CLASSES, BY_PR_AUC, artist, seed=5)
    expected = np.mean([shares for _, shares in choices], axis=0)
    np.testing.assert_allclose(weights, np.column_stack([expected, expected]))
    assert 0 < weights.min() < weights.max() < 1
    for one in range(7):
        without = np.mean([shares for drawn, shares in choices if one not in drawn], axis=0)
        np.testing.assert_allclose(held_out[artist == one], pool(scores[:, artist == one], without, CLASSES), rtol=1e-6)


def test_a_member_with_a_small_share_is_left_out(labels: np.ndarray) -> None:
    scores, artist = noisy(labels, [0.15, 0.16, 0.17, 3.0]), np.arange(60) % 20
    weights, _ = select_bagged(scores, labels, CLASSES, BY_PR_AUC, artist, seed=0)
    assert weights[:3].min() >= 0.05
    assert weights[3].tolist() == [0, 0]
    np.testing.assert_allclose(weights.sum(axis=0), 1)


def test_a_tracks_own_score_owes_nothing_to_its_artists_labels(labels: np.ndarray) -> None:
    scores, artist = noisy(labels, [0.2, 0.25, 0.3]), np.arange(60) % 12
    weights, held_out = select_bagged(scores, labels, CLASSES, BY_PR_AUC, artist, seed=0)
    other = np.where(artist[:, None] == 3, 1 - labels, labels)
    changed, others = select_bagged(scores, other, CLASSES, BY_PR_AUC, artist, seed=0)
    np.testing.assert_array_equal(held_out[artist == 3], others[artist == 3])
    assert not np.array_equal(held_out[artist == 4], others[artist == 4])
    assert not np.array_equal(weights, changed)


def test_an_artist_alone_gets_the_mean_of_all_models(labels: np.ndarray) -> None:
    scores = noisy(labels, [0.2, 0.3])
    _, held_out = select_bagged(scores, labels, CLASSES, BY_PR_AUC, np.zeros(len(labels), int), seed=0)
    np.testing.assert_array_equal(held_out, pool(scores, np.ones(2), CLASSES))
