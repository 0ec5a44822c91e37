"""Greedy selection finds the mean that scores best, and judges itself on artists that it did not choose on."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from tagscale.evaluation.metrics import evaluate
from tagscale.evaluation.selection import out_of_fold, select

CLASSES = np.array([False, False])


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
        mean = scores[list(members)].mean(axis=0)
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


def test_a_metric_that_no_model_has_is_refused(labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no model has the metric rmse"):
        select(noisy(labels, [0.1]), labels, CLASSES, "rmse")


def test_held_out_artists_unmask_a_selection_of_noise() -> None:
    """Of many models that know nothing, the selection makes a mean that looks good; on other artists it is chance."""
    random = np.random.default_rng(0)
    labels = (random.random((100, 2)) < 0.3).astype(float)
    scores = random.random((40, 100, 2))
    artists = [f"artist {track // 2}" for track in range(100)]
    weights = select(scores, labels, CLASSES, "roc_auc")
    chosen = np.average(scores, axis=0, weights=weights)
    held_out = out_of_fold(scores, labels, CLASSES, "roc_auc", artists, seed=0)
    assert evaluate(labels, chosen, CLASSES).overall()["roc_auc"] > 0.62
    assert evaluate(labels, held_out, CLASSES).overall()["roc_auc"] == pytest.approx(0.5, abs=0.1)


def test_tracks_of_an_artist_are_held_out_together(labels: np.ndarray) -> None:
    """With two artists, each one's scores are those of the ensemble selected on the other."""
    scores = noisy(labels, [0.2, 0.25, 0.3])
    artists = ["a"] * 25 + ["b"] * 35
    means = out_of_fold(scores, labels, CLASSES, "pr_auc", artists, seed=3)
    for own, other in ((slice(0, 25), slice(25, 60)), (slice(25, 60), slice(0, 25))):
        weights = select(scores[:, other], labels[other], CLASSES, "pr_auc")
        np.testing.assert_allclose(means[own], np.average(scores[:, own], axis=0, weights=weights))


def test_an_artist_alone_gets_the_mean_of_all_models(labels: np.ndarray) -> None:
    scores = noisy(labels, [0.2, 0.3])
    means = out_of_fold(scores, labels, CLASSES, "pr_auc", ["a"] * len(labels), seed=0)
    np.testing.assert_allclose(means, scores.mean(axis=0))
