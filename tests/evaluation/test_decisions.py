"""Calibrations and thresholds against scikit-learn, against brute force, and on fresh data of known probabilities."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pydantic import ValidationError
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_recall_curve

from tagscale.evaluation.calibration import (
    ALL_TAGS,
    ISOTONIC_POSITIVES,
    ONE_TAG,
    TILT,
    choose_threshold,
    fit_sigmoid,
    fit_steps,
    learn,
    learn_without,
)
from tagscale.evaluation.decisions import Decided, Decisions, Sigmoid, Steps, TagDecision, decide, logit
from tagscale.evaluation.metrics import METRICS, evaluate
from tagscale.params.blocks import WantedPrecision

SAME = Sigmoid(slope=1, offset=0)
SCORES = st.sampled_from([0.0, 1e-7, 0.1, 0.25, 0.5, 0.9, 1.0])


@st.composite
def tracks_of_a_tag(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and labels; one label at least is positive."""
    scores = draw(npst.arrays(np.float64, st.integers(1, 40), elements=SCORES))
    positive = draw(npst.arrays(bool, len(scores)))
    positive[0] = True
    return scores, positive


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(tracks_of_a_tag())
def test_the_best_f1_of_labels_is_that_of_scikit_learns_curve(data: tuple[np.ndarray, np.ndarray]) -> None:
    scores, positive = data
    threshold = choose_threshold(scores, positive, "f1")
    _, _, heights = precision_recall_curve(positive, scores)
    best = max(f1_score(positive, scores >= height) for height in heights)
    assert f1_score(positive, scores >= threshold) == pytest.approx(best, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(tracks_of_a_tag(), st.sampled_from([0.3, 0.5, 0.8, 0.95]))
def test_a_wanted_precision_is_reached_by_the_lowest_threshold(
    data: tuple[np.ndarray, np.ndarray], wanted: float
) -> None:
    scores, positive = data
    threshold = choose_threshold(scores, positive, WantedPrecision(precision=wanted))
    precisions, _, heights = precision_recall_curve(positive, scores)
    reaching = heights[precisions[:-1] >= wanted]
    if not len(reaching):
        assert threshold is None
    else:
        assert threshold is not None
        assert (scores >= threshold).tolist() == (scores >= reaching.min()).tolist()


@settings(max_examples=100, deadline=None)
@given(tracks_of_a_tag())
def test_steps_are_scikit_learns_isotonic_regression(data: tuple[np.ndarray, np.ndarray]) -> None:
    """But for the little rise that keeps the order of scores within one step."""
    scores, positive = data
    steps = fit_steps(scores, positive)
    count = positive.sum()
    targets = np.where(positive, (count + 1) / (count + 2), 1 / (len(scores) - count + 2))
    reference = IsotonicRegression().fit_transform(scores, targets)
    np.testing.assert_allclose(steps(scores), reference, atol=TILT)
    assert (np.diff(steps(np.unique(scores))) > 0).all(), "no two scores get one probability"


def test_steps_that_differ_by_rounding_are_one() -> None:
    random = np.random.default_rng(9)
    for _ in range(20):
        scores = random.beta(0.6, 2, 3000)
        steps = fit_steps(scores, random.random(3000) < scores)
        assert (np.diff(steps(np.unique(scores))) > 0).all()


def test_a_free_sigmoid_is_scikit_learns_logistic_regression() -> None:
    random = np.random.default_rng(0)
    scores = random.beta(1, 3, 400)
    positive = random.random(400) < 1 / (1 + np.exp(-(0.7 * logit(scores) - 0.5)))
    fitted = fit_sigmoid(scores, positive, SAME, (0.0, 0.0))
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(scores)[:, None], positive)
    assert (fitted.slope, fitted.offset) == (
        pytest.approx(reference.coef_[0, 0], abs=1e-4),
        pytest.approx(reference.intercept_[0], abs=1e-4),
    )


def test_a_sigmoid_is_the_same_in_any_order_of_summation() -> None:
    """So that another machine, whose libraries round differently, writes the same decisions.json."""
    random = np.random.default_rng(2)
    for _ in range(100):
        scores = random.random(1000).astype(np.float32)
        positive = random.random(1000) < scores ** random.uniform(0.3, 3)
        order = random.permutation(1000)
        once, again = (fit_sigmoid(scores[o], positive[o], SAME, ALL_TAGS) for o in (slice(None), order))
        assert once == again


def test_few_tracks_hardly_move_a_sigmoid_and_many_decide_it() -> None:
    random = np.random.default_rng(1)
    prior = Sigmoid(slope=1, offset=-1)
    slopes = []
    for tracks in (0, 20, 20_000):
        scores = random.beta(1, 3, tracks)
        positive = random.random(tracks) < 1 / (1 + np.exp(-(2 * logit(scores) + 1)))
        slopes.append(fit_sigmoid(scores, positive, prior, ONE_TAG).slope)
    assert slopes[0] == 1
    assert 1 < slopes[1] < 1.3
    assert slopes[2] == pytest.approx(2, abs=0.1)


def test_scores_that_contradict_the_labels_keep_their_order() -> None:
    scores = np.linspace(0.01, 0.99, 2000)
    backwards = fit_sigmoid(scores, scores < 0.5, SAME, ONE_TAG)
    assert 0 < backwards.slope < 0.2
    assert (np.diff(backwards(np.array([0, 1e-8, 1e-3, 0.5, 1 - 1e-3, 1]))) > 0).all()


def made(
    random: np.random.Generator, tracks: int, tags: int, warp: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, overconfident scores, and the true probabilities behind them; common and rare tags."""
    height = random.normal(np.linspace(0, -3, tags), 1.5, (tracks, tags))
    truth = 1 / (1 + np.exp(-height))
    labels = (random.random((tracks, tags)) < truth).astype(float)
    return labels, 1 / (1 + np.exp(-2 * warp * height - 1)), truth


def test_calibrated_scores_have_the_error_of_true_probabilities() -> None:
    """Fresh data: the ECE of learned probabilities is within 0.01 of the sampling floor, that of the scores far off."""
    random = np.random.default_rng(2)
    kinds = np.zeros(6, bool)
    labels, scores, _ = made(random, 1500, 6)
    decisions = learn(labels, scores, kinds, list("abcdef"), "f1").of(list("abcdef"))
    fresh, fresh_scores, truth = made(random, 4000, 6)
    floor = evaluate(fresh, truth, kinds).overall()["ece"]
    learned = evaluate(fresh, fresh_scores, kinds, decisions).overall()["ece"]
    assert floor < learned < floor + 0.01
    assert evaluate(fresh, fresh_scores, kinds).overall()["ece"] > floor + 0.06


def test_with_enough_positives_the_curve_bends_as_it_must() -> None:
    """Probabilities that no sigmoid of the scores gives: steps are near them, a sigmoid is not."""
    random = np.random.default_rng(3)
    tracks = 8 * ISOTONIC_POSITIVES
    scores = random.random((tracks, 1))
    truth = np.where(scores < 0.4, 0.05, np.where(scores < 0.6, 0.45, 0.5))
    labels = (random.random((tracks, 1)) < truth).astype(float)
    curve = learn(labels, scores, np.array([False]), ["a"], "f1").tags["a"].calibration
    assert isinstance(curve, Steps)
    assert np.abs(curve(scores) - truth).mean() < 0.03
    assert np.abs(fit_sigmoid(scores[:, 0], labels[:, 0] > 0.5, SAME, ONE_TAG)(scores) - truth).mean() > 0.05
    few = learn(labels[:200], scores[:200], np.array([False]), ["a"], "f1").tags["a"]
    assert isinstance(few.calibration, Sigmoid)


def test_a_wanted_precision_holds_on_average_on_fresh_data() -> None:
    random = np.random.default_rng(4)
    kinds, names, reached = np.zeros(6, bool), list("abcdef"), []
    for _ in range(20):
        labels, scores, _ = made(random, 300, 6)
        decisions = learn(labels, scores, kinds, names, WantedPrecision(precision=0.8)).of(names)
        fresh, fresh_scores, _ = made(random, 5000, 6)
        decided = decide(fresh_scores, decisions)[1]
        reached += [fresh[decided[:, tag], tag].mean() for tag in range(6) if decided[:, tag].sum() > 20]
    assert len(reached) > 60
    assert np.mean(reached) == pytest.approx(0.8, abs=0.03)


def test_with_few_positives_the_expected_f1_chooses_better_than_the_labels() -> None:
    """Forty validation tracks: F1 on fresh data, mean over tags with one to four positives."""
    random = np.random.default_rng(5)
    kinds, names, gains = np.zeros(6, bool), list("abcdef"), []
    for _ in range(60):
        labels, scores, _ = made(random, 40, 6)
        decisions = learn(labels, scores, kinds, names, "f1")
        fresh, fresh_scores, _ = made(random, 2000, 6)
        for tag, name in enumerate(names):
            if 1 <= labels[:, tag].sum() <= 4:
                of_labels = choose_threshold(scores[:, tag], labels[:, tag], "f1")
                truth = fresh[:, tag]
                gains.append(
                    f1_score(truth, decisions.tags[name].decided(fresh_scores[:, tag]))
                    - f1_score(truth, fresh_scores[:, tag] >= of_labels)
                )
    assert len(gains) > 50
    assert np.mean(gains) > 0.02


def test_a_tag_without_positives_or_tracks_follows_all_tags() -> None:
    random = np.random.default_rng(6)
    labels, scores, _ = made(random, 300, 3)
    labels[:, 1], labels[:, 2] = 0, np.nan
    learned = learn(labels, scores, np.zeros(3, bool), list("abc"), "f1")
    assert [learned.tags[tag].positives for tag in "abc"] == [labels[:, 0].sum(), 0, 0]
    assert [learned.tags[tag].tracks for tag in "abc"] == [300, 300, 0]
    assert learned.tags["c"].threshold is None, "no track says where to put it"
    assert learned.tags["b"].calibration(np.array([0.5]))[0] < learned.tags["c"].calibration(np.array([0.5]))[0]


def test_regression_tags_have_no_decision_and_keep_their_scores() -> None:
    random = np.random.default_rng(7)
    labels, scores, _ = made(random, 100, 2)
    learned = learn(labels, scores, np.array([False, True]), ["a", "b"], "f1")
    assert list(learned.tags) == ["a"]
    probabilities, decided = decide(scores, learned.of(["a", "b"]))
    np.testing.assert_array_equal(probabilities[:, 1], scores[:, 1])
    np.testing.assert_array_equal(decided[:, 1], scores[:, 1] >= 0.5)
    said = learned.decide({"a": float(scores[0, 0]), "b": 0.4})
    assert said == {"a": Decided(probabilities[0, 0], learned.tags["a"].threshold, decided[0, 0])}


def test_rankings_of_tracks_stay_and_json_brings_the_same_decisions_back() -> None:
    random = np.random.default_rng(8)
    labels, scores, _ = made(random, 1500, 2)
    learned = learn(labels, scores.astype(np.float32), np.zeros(2, bool), ["a", "b"], "f1")
    before, after = (evaluate(labels, scores, np.zeros(2, bool), made) for made in (None, learned.of(["a", "b"])))
    probabilities = decide(scores, learned.of(["a", "b"]))[0]
    for key in ("roc_auc", "pr_auc"):
        np.testing.assert_array_equal(before[key], after[key])
        np.testing.assert_allclose(evaluate(labels, probabilities, np.zeros(2, bool))[key], before[key], atol=1e-12)
    again = Decisions.model_validate_json(learned.model_dump_json())
    assert again == learned
    np.testing.assert_array_equal(decide(scores, again.of(["a", "b"]))[0], probabilities)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"calibration": {"slope": 0, "offset": 0}}, "greater than 0"),
        ({"calibration": {"scores": [0, 1], "probabilities": [0.5, 0.5]}}, "increase strictly"),
        ({"calibration": {"scores": [0, 1], "probabilities": [0.1, 0.2, 0.3]}}, "2 scores, but 3 probabilities"),
        ({"threshold": 1.5}, "less than or equal to 1"),
    ],
)
def test_numbers_that_are_no_decision_are_refused(change: dict[str, object], message: str) -> None:
    sound = {"calibration": {"slope": 1, "offset": 0}, "threshold": 0.5, "positives": 1, "tracks": 2}
    TagDecision.model_validate(sound)
    with pytest.raises(ValidationError, match=message):
        TagDecision.model_validate(sound | change)


def test_folds_are_decided_without_their_own_labels() -> None:
    """So the F1 of cross-validation is that of fresh tracks, but for chance; with all labels it is higher by .006."""
    random, tags = np.random.default_rng(3), [str(number) for number in range(40)]
    prevalence, regression = np.geomspace(0.04, 0.4, len(tags)), np.zeros(len(tags), bool)

    def drawn(tracks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels, and the scores of two models that hear the same."""
        labels = (random.random((tracks, len(tags))) < prevalence).astype(float)
        heard = labels + random.normal(size=labels.shape)
        models = [heard + random.normal(size=labels.shape) / 2 for _ in range(2)]
        return labels, *(1 / (1 + np.exp(1 - one) * (1 / prevalence - 1)) for one in models)

    def f1(labels: np.ndarray, scores: np.ndarray, decisions: Any, fold: np.ndarray | None = None) -> float:
        return evaluate(labels, scores, regression, decisions, fold=fold).overall()["f1"]

    gaps = []
    for _ in range(8):
        labels, valid, test = drawn(160)
        fold, (others, _, fresh) = np.arange(160) % 5, drawn(4000)
        whole = learn(labels, valid, regression, tags, "f1").of(tags)
        apart = learn_without(labels, valid, regression, tags, "f1", fold)
        for number in range(5):
            rows = fold != number
            assert apart[number] == learn(labels[rows], valid[rows], regression, tags, "f1").of(tags)
        of_fold = decide(test, apart, fold)[1][fold == 2]
        np.testing.assert_array_equal(of_fold, decide(test[fold == 2], apart[2])[1])
        expected = np.mean([f1(others[at::25], fresh[at::25], whole) for at in range(25)])
        gaps.append([f1(labels, test, whole) - expected, f1(labels, test, apart, fold) - expected])
    too_high, right = np.mean(gaps, axis=0)
    assert 0.004 < too_high - right < 0.009
    assert abs(right) < 0.005


def test_metrics_say_whether_they_rest_on_decisions() -> None:
    random, regression = np.random.default_rng(0), np.array([False] * 4 + [True])
    labels, scores = (random.random((60, 5)) < 0.4).astype(float), random.random((60, 5))
    decision = TagDecision(calibration=Sigmoid(slope=2, offset=1), threshold=0.8, positives=1, tracks=2)
    plain, decided = (evaluate(labels, scores, regression, of).overall() for of in (None, [*[decision] * 4, None]))
    assert {key for key in METRICS if plain[key] != decided[key]} == {key for key in METRICS if METRICS[key].decided}
