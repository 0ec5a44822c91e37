"""The head of a probe: against scikit-learn, with missing labels, fractions, constant tags and a chosen strength."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tagscale.training import head as module
from tagscale.training.head import Head, fit_head

TRACKS, FEATURES = 90, 12
KINDS = ["classification", "classification", "regression"]


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Features on very different scales, and labels that they explain in part; a quarter of the labels is missing."""
    random = np.random.default_rng(5)
    features = random.normal(3, 1, (2 * TRACKS, FEATURES)) * 10.0 ** random.uniform(-2, 2, FEATURES)
    logits = StandardScaler().fit_transform(features) @ random.normal(0, 1, (FEATURES, 3)) - [0, 1.5, 0]
    chance = 1 / (1 + np.exp(-logits + random.normal(0, 1, logits.shape)))
    labels = np.column_stack([chance[:, :2] > 0.5, chance[:, 2]])
    labels[random.random(labels.shape) < 0.25] = np.nan
    return features.astype(np.float32), labels.astype(np.float32)


def fitted(data: tuple[np.ndarray, np.ndarray], **changes: object) -> Head:
    features, labels = data
    parts = features[:TRACKS], labels[:TRACKS], features[TRACKS:], labels[TRACKS:]
    return fit_head(*parts, **({"kinds": KINDS} | changes))


def scores_of(head: Head, features: np.ndarray) -> np.ndarray:
    return torch.sigmoid(torch.from_numpy(features) @ head.weight.T + head.bias).numpy()


@pytest.mark.parametrize("more", [0, 200])  # features beyond the number of tracks
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_its_scores_are_those_of_scikit_learn(
    data, monkeypatch: pytest.MonkeyPatch, class_weights: str, more: int
) -> None:
    """A fraction y stands for y of a positive and 1 - y of a negative track."""
    monkeypatch.setattr(module, "STRENGTHS", (0.03,))
    features, labels = data
    noise = np.random.default_rng(6).normal(5, 3, (2 * TRACKS, more))
    data = features, labels = np.column_stack([features, noise]).astype(np.float32), labels
    scores = scores_of(fitted(data, class_weights=class_weights), features[TRACKS:])
    scaler = StandardScaler().fit(features[:TRACKS].astype(np.float64))
    weights = module.balanced_weights(labels[:TRACKS], np.array([False, False, True])).numpy()
    for tag in range(3):
        known = ~np.isnan(labels[:TRACKS, tag])
        x, y = scaler.transform(features[:TRACKS][known].astype(np.float64)), labels[:TRACKS][known, tag]
        of = weights[:, tag] if class_weights == "balanced" else (1, 1)
        sample_weight = np.concatenate([of[1] * y, of[0] * (1 - y)])
        other = LogisticRegression(C=0.03, tol=1e-10, max_iter=10_000)
        other.fit(np.concatenate([x, x]), np.repeat([1, 0], len(y)), sample_weight=sample_weight)
        expected = other.predict_proba(scaler.transform(features[TRACKS:].astype(np.float64)))[:, 1]
        assert scores[:, tag] == pytest.approx(expected, abs=2e-4), tag


def test_the_strength_is_the_one_that_the_validation_part_favours(data, monkeypatch: pytest.MonkeyPatch) -> None:
    head = fitted(data)
    losses = {}
    for strength in module.STRENGTHS:
        with monkeypatch.context() as patch:
            patch.setattr(module, "STRENGTHS", (strength,))
            losses[strength] = cross_entropy(scores_of(fitted(data), data[0][TRACKS:]), data[1][TRACKS:])
    for kind in ("classification", "regression"):
        tags = [tag for tag, one in enumerate(KINDS) if one == kind]
        assert head.strengths[kind] == min(losses, key=lambda strength: losses[strength][:, tags].sum())
    chosen = [losses[head.strengths[kind]][:, tag] for tag, kind in enumerate(KINDS)]
    annotated = ~np.isnan(data[1][TRACKS:])
    assert head.valid_loss == pytest.approx(np.sum(chosen) / annotated.sum(), rel=1e-3)


def cross_entropy(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(tracks, tags), 0 where there is no label."""
    return np.nan_to_num(-labels * np.log(scores) - (1 - labels) * np.log(1 - scores))


def test_a_tag_that_never_varies_has_a_constant_score(data) -> None:
    features, labels = data
    labels = labels.copy()
    labels[:TRACKS, 0], labels[:TRACKS, 1] = np.nan, np.where(np.isnan(labels[:TRACKS, 1]), np.nan, 1)
    scores = scores_of(fitted((features, labels)), features)
    positives = int(np.nansum(labels[:TRACKS, 1]))
    assert scores[:, 0] == pytest.approx(0.5)
    assert scores[:, 1] == pytest.approx((positives + 0.5) / (positives + 1))
    assert np.std(scores[:, 2]) > 0.05


def test_the_same_data_give_the_same_bytes(data) -> None:
    assert all(torch.equal(*pair) for pair in zip(vars_of(fitted(data)), vars_of(fitted(data)), strict=True))


def vars_of(head: Head) -> tuple[torch.Tensor, torch.Tensor]:
    return head.weight, head.bias


def test_without_labels_in_the_validation_part_the_middle_strength_is_taken(data) -> None:
    features, labels = data
    labels = labels.copy()
    labels[TRACKS:] = np.nan
    assert set(fitted((features, labels)).strengths.values()) == {module.STRENGTHS[len(module.STRENGTHS) // 2]}


def test_a_feature_that_never_varies_does_no_harm(data) -> None:
    features, labels = data
    scores = scores_of(
        fitted((np.column_stack([features, np.full(2 * TRACKS, 7)]).astype(np.float32), labels)),
        np.column_stack([features, np.full(2 * TRACKS, 7)]).astype(np.float32),
    )
    assert scores == pytest.approx(scores_of(fitted(data), features), abs=1e-3)
