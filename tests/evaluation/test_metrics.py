"""Metrics against scikit-learn, against committed numbers of its own, and against their definitions, pair by pair."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from tagscale.evaluation.metrics import METRICS, check_known, evaluate, guess, main_metric, number_of
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json

NAN = np.nan
GOLDEN = Path(__file__).parent / "golden"


@st.composite
def labels_and_scores(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Up to 30 tracks and 3 tags; labels soft, hard or missing; scores with many ties."""
    shape = (draw(st.integers(1, 30)), draw(st.integers(1, 3)))
    labels = draw(npst.arrays(np.float64, shape, elements=st.sampled_from([0.0, 1.0, 0.3, 0.5, 0.8, NAN])))
    scores = draw(npst.arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])))
    return labels, scores


def of(metric: str, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """One metric of tags that are all of its kind, (tags,)."""
    regression = np.full(labels.shape[1], "regression" in METRICS[metric].kinds)
    return evaluate(labels, scores, regression)[metric]


def scorable(labels: np.ndarray) -> bool:
    return 0 < (labels >= 0.5).sum() < len(labels)


@settings(max_examples=300, deadline=None)
@given(labels_and_scores())
def test_against_scikit_learn(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = data
    areas, precisions = of("roc_auc", labels, scores), of("pr_auc", labels, scores)
    for tag in range(labels.shape[1]):
        known = ~np.isnan(labels[:, tag])
        positive, given_scores = labels[known, tag] >= 0.5, scores[known, tag]
        if scorable(labels[known, tag]):
            assert areas[tag] == pytest.approx(roc_auc_score(positive, given_scores), abs=1e-12)
            assert precisions[tag] == pytest.approx(average_precision_score(positive, given_scores), abs=1e-12)
        else:
            assert np.isnan(areas[tag])
            assert np.isnan(precisions[tag])


@settings(max_examples=100, deadline=None)
@given(labels_and_scores())
def test_roc_auc_is_the_share_of_pairs_in_the_right_order(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = data
    areas = of("roc_auc", labels, scores)
    for tag in range(labels.shape[1]):
        above = scores[labels[:, tag] >= 0.5, tag]
        below = scores[labels[:, tag] < 0.5, tag]
        if len(above) and len(below):
            difference = above[:, None] - below[None, :]
            assert areas[tag] == pytest.approx(((difference > 0) + (difference == 0) / 2).mean(), abs=1e-12)


@given(labels_and_scores())
def test_rmse_is_the_root_of_the_mean_square(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nanmean of nothing, for tags without annotation
        expected = np.sqrt(np.nanmean((labels - scores) ** 2, axis=0))
    np.testing.assert_allclose(of("rmse", labels, scores), expected, atol=1e-12)


def test_the_golden_file() -> None:
    """Labels, scores and scikit-learn's metrics of them as golden/make_metrics.py wrote them."""
    table, expected = pd.read_csv(GOLDEN / "metrics.csv"), read_json(GOLDEN / "metrics.json")
    tags = list(expected["tags"])
    labels, scores = (table[[f"{what} {tag}" for tag in tags]].to_numpy() for what in ("label", "score"))
    found = evaluate(labels, scores, np.array(["rmse" in expected["tags"][tag] for tag in tags]))
    for metric in ("roc_auc", "pr_auc", "rmse"):
        wanted = [expected["tags"][tag].get(metric, NAN) for tag in tags]
        np.testing.assert_allclose(found[metric], wanted, rtol=0, atol=1e-12, err_msg=metric)
    macro = {metric: found.overall()[metric] for metric in expected["macro"]}
    assert macro == pytest.approx(expected["macro"], abs=1e-12)
    assert found.reasons == [None] * len(tags)


def test_float32_scores_and_a_hundred_thousand_tracks() -> None:
    random = np.random.default_rng(1)
    labels, scores = random.random((100_000, 1)) < 0.01, random.random((100_000, 1), np.float32)
    found = evaluate(labels.astype(np.float32), scores, np.array([False]))
    assert found["roc_auc"][0] == pytest.approx(roc_auc_score(labels[:, 0], scores[:, 0]), abs=1e-12)
    assert found["pr_auc"][0] == pytest.approx(average_precision_score(labels[:, 0], scores[:, 0]), abs=1e-12)


def test_by_hand() -> None:
    labels = np.array([[1], [0], [1], [0]])
    scores = np.array([[0.9], [0.4], [0.2], [0.1]])
    assert of("roc_auc", labels, scores) == pytest.approx([0.75])
    assert of("pr_auc", labels, scores) == pytest.approx([(1 + 2 / 3) / 2])


def of_folds(rates: list[float], skill: float, tracks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and fold of made-up tracks: each fold's model gives the rate of positives in the other folds, and
    `skill` standard deviations of noise more to a positive.
    """
    random = np.random.default_rng(7)
    fold = np.repeat(np.arange(len(rates)), tracks)
    labels = random.random(len(fold)) < np.array(rates)[fold]
    learned = (sum(rates) - np.array(rates)) / (len(rates) - 1)
    logits = np.log(learned / (1 - learned))[fold]
    if skill:
        logits += skill * labels + random.normal(size=len(fold))
    return labels[:, None] * 1.0, 1 / (1 + np.exp(-logits))[:, None], fold


def test_models_of_folds_are_scored_by_their_skill_and_not_by_their_level() -> None:
    """The area of two normal distributions that lie `skill` apart is known: Fawcett 2006; Green and Swets 1966."""
    rates = [0.02, 0.1, 0.2, 0.3, 0.6]
    labels, scores, fold = of_folds(rates, skill=1.2, tracks=20_000)
    within = evaluate(labels, scores, np.array([False]), fold=fold)
    assert within["roc_auc"][0] == pytest.approx(norm.cdf(1.2 / np.sqrt(2)), abs=0.005)
    assert within.overall()["micro_roc_auc"] == pytest.approx(within["roc_auc"][0], abs=1e-12)
    assert evaluate(labels, scores, np.array([False]))["roc_auc"][0] < within["roc_auc"][0] - 0.02

    labels, scores, fold = of_folds(rates, skill=0.0, tracks=500)
    within, pooled = evaluate(labels, scores, np.array([False]), fold=fold), of("roc_auc", labels, scores)
    assert within["roc_auc"][0] == 0.5, "each model gives all its tracks one score"
    assert pooled[0] < 0.25, "yet the fold with the most positives has the lowest"
    positives = np.bincount(fold, labels[:, 0])
    chance = np.average(positives / 500, weights=positives)
    assert within["pr_auc"][0] == pytest.approx(chance), "of a constant: the prevalence, seen from a positive"
    assert guess(labels, np.array([False]), fold)[0] == pytest.approx(chance)
    assert guess(labels, np.array([False]))[0] == pytest.approx(labels.mean())


def test_a_fold_with_one_class_has_nothing_to_compare() -> None:
    labels, fold = np.array([[1], [0], [1], [1], [0]]) * 1.0, np.array([0, 0, 1, 1, 2])
    scores = np.array([[0.6], [0.4], [0.1], [0.1], [0.9]])
    found = evaluate(labels, scores, np.array([False]), fold=fold)
    assert (found["roc_auc"][0], found["pr_auc"][0], found.positives[0]) == (1, 1, 3)
    assert found["f1"][0] == pytest.approx(2 / 5), "a count is of all tracks"
    apart = evaluate(labels, scores, np.array([False]), fold=np.array([0, 1, 2, 2, 3]))
    assert apart.reasons == ["no fold holds both positives and negatives of 5 annotated tracks"]
    assert np.isnan(apart["pr_auc"][0])


def test_perfect_and_reversed_and_constant_scores() -> None:
    labels = np.array([[1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    scores = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 1, 0.5], [0, 1, 0.5]])
    assert of("roc_auc", labels, scores).tolist() == [1, 0, 0.5]
    assert of("pr_auc", labels, scores).tolist() == [1, 0.25, 0.25]  # of a constant: the prevalence


def test_evaluate_gives_each_kind_its_metrics_and_a_reason_where_there_is_none() -> None:
    labels = np.array(
        [
            [1, 0, 1, NAN, 0.2, NAN],
            [0, 0, 1, NAN, 0.6, NAN],
            [1, NAN, 1, NAN, NAN, NAN],
        ]
    )
    scores = np.full((3, 6), 0.4)
    found = evaluate(labels, scores, np.array([False, False, False, False, True, True]))
    assert found.reasons == [
        None,
        "no positives among 2 annotated tracks",
        "only positives among 3 annotated tracks",
        "no annotated track",
        None,
        "no annotated track",
    ]
    assert found.tracks.tolist() == [3, 2, 3, 0, 2, 0]
    assert found.positives.tolist() == [2, 0, 3, 0, 1, 0]
    np.testing.assert_allclose(found["roc_auc"], [0.5, NAN, NAN, NAN, NAN, NAN])
    np.testing.assert_allclose(found["rmse"], [NAN, NAN, NAN, NAN, 0.2, NAN])
    macro = {metric: found.overall()[metric] for metric in ("roc_auc", "pr_auc", "rmse")}
    assert macro == pytest.approx({"roc_auc": 0.5, "pr_auc": 2 / 3, "rmse": 0.2})


def test_the_macro_rmse_is_the_mean_of_the_tags_roots() -> None:
    labels, scores = np.array([[0.0, 0.0]]), np.array([[0.1, 0.3]])
    assert evaluate(labels, scores, np.array([True, True])).overall()["rmse"] == pytest.approx(0.2)


@pytest.mark.parametrize("tracks", [0, 1, 120])
def test_the_number_of_one_metric_is_that_of_all_of_them(tracks: int) -> None:
    random, regression = np.random.default_rng(0), np.array([False, True, False, False, True])
    labels, scores = random.random((2, tracks, 5))
    labels[:, ~regression] = labels[:, ~regression] < [0.5, 0.05, 0.0]
    labels[random.random(labels.shape) < 0.1] = np.nan
    fold = random.integers(3, size=tracks)
    for folds in (None, fold):
        overall = evaluate(labels, scores, regression, fold=folds).overall()
        numbers = {key: number_of(key, labels, scores, regression, folds) for key in METRICS}
        assert numbers == pytest.approx(overall, rel=1e-12, nan_ok=True)
    assert np.isnan(list(overall.values())).any() == (tracks < 120)


def test_nothing_to_score_is_nan() -> None:
    macro = evaluate(np.full((2, 1), NAN), np.zeros((2, 1)), np.array([False])).overall()
    assert all(np.isnan(value) for value in macro.values())


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), r"found \(2, 3\) and \(3, 2\)"),
        (np.zeros(2), np.zeros(2), r"expected labels and scores \(tracks, tags\)"),
        (np.zeros((1, 1)), np.full((1, 1), 1.5), "scores: expected values in"),
        (np.zeros((1, 1)), np.full((1, 1), NAN), "scores: expected values in"),
        (np.full((1, 1), -0.1), np.zeros((1, 1)), "labels: expected values in"),
    ],
)
def test_malformed_input_is_refused(labels: np.ndarray, scores: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(labels, scores, np.zeros(1, bool))


def test_kinds_of_another_number_of_tags_are_refused() -> None:
    with pytest.raises(ValueError, match="regression: expected"):
        evaluate(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(2, bool))


def test_folds_of_another_number_of_tracks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"folds: expected \(2,\), found \(3,\)"):
        evaluate(np.zeros((2, 1)), np.zeros((2, 1)), np.zeros(1, bool), fold=np.zeros(3, int))


def test_every_kind_of_tags_has_one_main_metric() -> None:
    for kind in ("classification", "regression"):
        (main,) = [metric for metric in METRICS.values() if metric.main and kind in metric.kinds]
        assert main_metric(kind) is main


def test_an_unknown_metric_is_named_with_those_that_exist() -> None:
    check_known("rmse", "registry.metric")
    with pytest.raises(TagscaleError, match=r"registry\.metric: found 'f2', expected a metric: roc_auc, pr_auc, rmse"):
        check_known("f2", "registry.metric")
