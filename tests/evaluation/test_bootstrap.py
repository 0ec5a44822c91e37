"""Resamples of artists against a bootstrap that really repeats rows and asks scikit-learn."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import stats
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from tagscale.evaluation import resamples
from tagscale.evaluation.bootstrap import (
    MEASURED,
    Draw,
    Resampled,
    centred,
    difference_interval,
    draw,
    holm,
    interval,
    paired,
    resampled_metrics,
    share_that_holds,
    standard_error,
    two_sided,
)
from tagscale.evaluation.decisions import Sigmoid, TagDecision, decide
from tagscale.evaluation.metrics import MICRO_THRESHOLDS, OF_PART, OF_TAGS, evaluate, mean_of_known
from tagscale.evaluation.resamples import areas

NAN = np.nan
TOLERANCE = 1e-9


def brute_force(
    labels: np.ndarray,
    scores: np.ndarray,
    regression: np.ndarray,
    drawn: Draw,
    decisions: list[TagDecision | None] | None = None,
    fold: np.ndarray | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Repeat every track as often as its artist was drawn, then score the repeated rows.

    Values of every tag, (tags, resamples), and of the whole part, (resamples,).
    """
    found = {metric: np.full((labels.shape[1], drawn.resamples), NAN) for metric in OF_TAGS}
    whole = {metric.key: np.full(drawn.resamples, NAN) for metric in OF_PART}
    all_probabilities, all_decided = decide(scores, decisions)
    fold = np.zeros(len(labels), int) if fold is None else fold
    comparable = [areas_in_folds(labels[:, [tag]], scores[:, [tag]], fold) for tag in range(labels.shape[1])]
    pooled = known(labels[:, ~regression]) >= 0.5
    for resample in range(drawn.resamples):
        rows = np.repeat(np.arange(len(labels)), drawn.counts[drawn.artist_of, resample])
        for tag in range(labels.shape[1]):
            use = rows[~np.isnan(labels[rows, tag])]
            truth, guess, probability = labels[use, tag], scores[use, tag], all_probabilities[use, tag]
            positive = truth >= 0.5
            if regression[tag]:
                if len(truth):
                    found["rmse"][tag, resample] = np.sqrt(np.mean((truth - guess) ** 2))
            elif not np.isnan(comparable[tag]).any():
                if len(use):
                    found["ece"][tag, resample] = expected_calibration_error(probability, positive)
                if positive.any():
                    found["f1"][tag, resample] = f1_score(positive, all_decided[use, tag], zero_division=0)
                both = areas_in_folds(labels[rows][:, [tag]], scores[rows][:, [tag]], fold[rows])
                found["roc_auc"][tag, resample], found["pr_auc"][tag, resample] = both
        if pooled.any() and not pooled.all():
            part = [array[rows][:, ~regression] for array in (labels, scores, all_decided)]
            for key, value in of_whole_part(*part, fold[rows]).items():
                whole[key][resample] = value
    return found, whole


def areas_in_folds(labels: np.ndarray, scores: np.ndarray, fold: np.ndarray) -> tuple[float, float]:
    """ROC-AUC and average precision: scikit-learn's of each fold, weighted by its pairs and by its positives."""
    folds = []
    for number in np.unique(fold):
        use = ~np.isnan(labels) & (fold == number)[:, None]
        positive, guess = labels[use] >= 0.5, scores[use]
        if positive.any() and not positive.all():
            both = roc_auc_score(positive, guess), average_precision_score(positive, guess)
            folds.append((*both, positive.sum() * (~positive).sum(), positive.sum()))
    if not folds:
        return NAN, NAN
    roc, precision, pairs, positives = np.array(folds).T
    return float(np.average(roc, weights=pairs)), float(np.average(precision, weights=positives))


def known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def expected_calibration_error(probabilities: np.ndarray, positive: np.ndarray) -> float:
    """The definition, bin by bin."""
    place = np.minimum(np.floor(probabilities * 15), 14)
    gaps = [
        (place == one).mean() * abs(positive[place == one].mean() - probabilities[place == one].mean())
        for one in np.unique(place)
    ]
    return float(sum(gaps))


def of_whole_part(labels: np.ndarray, scores: np.ndarray, decided: np.ndarray, fold: np.ndarray) -> dict[str, float]:
    """Metrics over all pairs by scikit-learn, and the precision of each track's three highest scores."""
    values = {}
    use = ~np.isnan(labels)
    positive = labels[use] >= 0.5
    if positive.any():
        values["micro_f1"] = f1_score(positive, decided[use], zero_division=0)
        values["micro_roc_auc"], values["micro_pr_auc"] = areas_in_folds(labels, scores, fold)
    shares = []
    for truth, guess in zip(labels, scores, strict=True):
        tags = np.flatnonzero(~np.isnan(truth))
        if len(tags) >= 3:
            picks = [tags[list(order[:3])] for order in permutations(range(len(tags))) if in_order(guess[tags], order)]
            shares.append(np.mean([(truth[pick] >= 0.5).mean() for pick in picks]))
    if shares:
        values["precision_at_3"] = float(np.mean(shares))
    return values


def in_order(scores: np.ndarray, order: tuple[int, ...]) -> bool:
    return bool((np.diff(scores[list(order)]) <= 0).all())


@st.composite
def studies(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Up to 25 tracks and 3 tags by up to 6 artists; labels soft, hard or missing; scores with many ties."""
    shape = (draw(st.integers(1, 25)), draw(st.integers(1, 3)))
    labels = draw(npst.arrays(np.float64, shape, elements=st.sampled_from([0.0, 1.0, 0.3, 0.5, 0.8, NAN])))
    scores = draw(npst.arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])))
    regression = draw(npst.arrays(bool, shape[1]))
    artists = draw(st.lists(st.sampled_from("abcdef"), min_size=shape[0], max_size=shape[0]))
    return labels, scores, regression, artists


def check(
    labels: np.ndarray,
    scores: np.ndarray,
    regression: np.ndarray,
    drawn: Draw,
    decisions: list[TagDecision | None] | None = None,
    fold: np.ndarray | None = None,
) -> Resampled:
    found = resampled_metrics(labels, scores, regression, drawn, decisions=decisions, fold=fold)
    of_tags, whole = brute_force(labels, scores, regression, drawn, decisions, fold)
    for metric, expected in of_tags.items():
        np.testing.assert_allclose(found[metric], expected, rtol=0, atol=TOLERANCE, err_msg=metric)
    for metric, expected in whole.items():
        np.testing.assert_allclose(found.of_part[metric], expected, rtol=0, atol=TOLERANCE, err_msg=metric)
    return found


@settings(max_examples=60, deadline=None)
@given(studies())
def test_against_rows_really_repeated(study: tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]) -> None:
    labels, scores, regression, artists = study
    decision = TagDecision(calibration=Sigmoid(slope=2, offset=-1), threshold=0.25, positives=1, tracks=2)
    decisions = [None if is_regression else decision for is_regression in regression]
    check(labels, scores, regression, draw(artists, 8, "seed"), decisions)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(studies(), st.integers(2, 4))
def test_folds_against_rows_really_repeated(
    study: tuple[np.ndarray, np.ndarray, np.ndarray, list[str]], folds: int
) -> None:
    labels, scores, regression, artists = study
    drawn = draw(artists, 8, "seed")
    check(labels, scores, regression, drawn, fold=drawn.artist_of % folds)


@pytest.fixture(scope="module")
def songs() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """300 tracks by 40 artists of different sizes: two tags, a rare one, one with missing labels, a regression tag."""
    random = np.random.default_rng(3)
    artist = random.choice(40, 300, p=np.arange(1, 41) / 820)
    taste = random.normal(size=(40, 5))[artist]
    scores = 1 / (1 + np.exp(-taste - random.normal(size=(300, 5))))
    scores[:, 1] = scores[:, 1].round(1)  # ties
    labels = (taste + random.normal(size=(300, 5)) > [0, 0.5, 2.6, 0.2, 0]).astype(float)
    labels[random.random(300) < 0.3, 3] = NAN
    labels[:, 4] = np.clip(scores[:, 4] + random.normal(0, 0.1, 300), 0, 1)
    return labels, scores, np.array([False, False, False, False, True]), [f"artist {number}" for number in artist]


@pytest.mark.parametrize(("product", "chunk"), [(1 << 21, 128), (1, 1), (1, 7), (4096, 64)])
def test_the_same_however_the_work_is_cut(
    songs: tuple[np.ndarray, np.ndarray, np.ndarray, list[str]],
    product: int,
    chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resamples, "PRODUCT", product)
    monkeypatch.setattr(resamples, "CHUNK", chunk)
    labels, scores, regression, artists = songs
    check(labels, scores, regression, draw(artists, 20, "seed"))


def test_everybody_once_is_the_metric_itself(songs: tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]) -> None:
    labels, scores, regression, artists = songs
    once = Draw(draw(artists, 1, "seed").artist_of, np.ones((40, 1), np.uint16))
    for fold in (None, once.artist_of % 3):
        found = resampled_metrics(labels, scores, regression, once, fold=fold)
        expected = evaluate(labels, scores, regression, fold=fold)
        for metric in OF_TAGS:
            np.testing.assert_allclose(found[metric][:, 0], expected[metric], atol=1e-12)
        means = {metric: values[0] for metric, values in found.overall().items()}
        assert means == pytest.approx(expected.overall(), abs=1e-12)


def test_very_many_tracks_are_counted_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """More tracks than a float32 can count: the same numbers as with a few, each standing for many."""
    labels, scores = np.array([[1.0], [0.0], [1.0], [0.0]]), np.array([[0.9], [0.8], [0.4], [0.4]])
    few = Draw(np.arange(4), np.array([[1, 3], [2, 1], [1, 1], [1, 5]]))
    many = Draw(np.arange(4), few.counts * 5_000_001)
    for metric in ("roc_auc", "pr_auc"):
        alike = [resampled_metrics(labels, scores, np.array([False]), which)[metric] for which in (few, many)]
        np.testing.assert_allclose(*alike, rtol=0, atol=1e-12)


def test_areas_over_all_pairs_at_few_thresholds_are_near_those_at_all() -> None:
    random = np.random.default_rng(4)
    artist, taste = random.integers(60, size=900), random.normal(size=(60, 8))
    level = taste[artist] + random.normal(size=(900, 8))
    labels, scores = (level > 0.8).astype(float), 1 / (1 + np.exp(-level - random.normal(size=(900, 8))))
    drawn = draw([f"artist {number}" for number in artist], 50, "seed")
    found = resampled_metrics(labels, scores, np.zeros(8, bool), drawn).of_part
    exact = areas(labels.ravel() >= 0.5, scores.ravel(), np.repeat(drawn.artist_of, 8), drawn.counts)
    assert (labels >= 0.5).sum() > 3 * MICRO_THRESHOLDS
    for metric, values in zip(("micro_roc_auc", "micro_pr_auc"), exact, strict=True):
        gaps = found[metric] - values
        assert np.abs(gaps).max() < 3e-3
        assert gaps.std() < 0.03 * values.std(), "they move together"


def test_frequent_tags_are_those_of_the_part_itself() -> None:
    random = np.random.default_rng(5)
    labels = np.zeros((40, 3))
    labels[:10, 0] = labels[:9, 1] = labels[:10, 2] = 1
    artists = [f"artist {number // 4}" for number in range(40)]  # ten tracks are by three artists
    scores, kinds = random.random((40, 3)), np.zeros(3, bool)
    drawn = draw([*["artist 0"] * 5, *artists[5:]], 20, "seed")
    alone = evaluate(labels, scores, kinds, artist=draw(artists, 1, "seed").artist_of)
    assert alone.frequent.tolist() == [True, False, True]
    assert alone.overall()["frequent_pr_auc"] == pytest.approx(alone["pr_auc"][[0, 2]].mean())
    found = resampled_metrics(labels, scores, kinds, drawn)
    assert found.frequent.tolist() == [True, False, True]
    np.testing.assert_allclose(found.overall()["frequent_f1"], mean_of_known(found["f1"][[0, 2]]))
    two = evaluate(labels, scores, kinds, artist=np.arange(40) // 5)
    assert not two.frequent.any(), "ten positives by two artists are not enough"


def test_resamples_hold_as_many_artists_as_there_are_and_whole_artists() -> None:
    drawn = draw(["c", "a", "b", "a"], 500, "0123456789ab")
    assert drawn.artist_of.tolist() == [2, 0, 1, 0]
    assert (drawn.counts.sum(axis=0) == 3).all()
    assert drawn.counts.mean(axis=1) == pytest.approx([1, 1, 1], abs=0.15)
    assert (drawn.counts == 3).any(), "an artist may be drawn more than once"


def test_the_draw_depends_on_artists_and_seed_alone() -> None:
    artists = [f"artist {number % 7}" for number in range(30)]
    drawn, more = draw(artists, 5, "one"), draw(artists, 9, "one")
    np.testing.assert_array_equal(more.counts[:, :5], drawn.counts)
    assert draw(artists, 5, "one").hash == drawn.hash
    others = [more, draw(artists, 5, "two"), draw(artists[::-1], 5, "one")]
    assert all(other.hash != drawn.hash for other in others)
    # Pinned: resamples of results that were made at different times must fit each other.
    assert drawn.counts.sum(axis=1).tolist() == [6, 4, 4, 4, 5, 7, 5]


def test_intervals_of_tags_and_why_some_have_none() -> None:
    artists = ["a", "a", "b", "b", "c", "c"]
    labels = np.array(
        [[1, 1, 0.2, 0.2], [0, 1, 0.4, NAN], [1, 0, 0.3, NAN], [0, 0, 0.9, NAN], [0, 0, 0, NAN], [1, 0, 0, NAN]]
    )
    scores = np.random.default_rng(0).random((6, 4))
    regression = np.array([False, False, True, True])
    found = resampled_metrics(labels, scores, regression, draw(artists, 400, "seed"))
    assert found.artists.tolist() == [3, 1, 3, 1]
    itself = evaluate(labels, scores, regression)
    low, high = found.intervals("pr_auc", itself["pr_auc"], 0.8)
    score, error = itself["pr_auc"][0], np.sqrt(3 / 2) * np.nanstd(found["pr_auc"][0])
    reach = stats.t.ppf(0.9, 2) * error / (score * (1 - score))  # in log-odds; three artists: two degrees of freedom
    odds = np.log(score / (1 - score)) + np.array([-reach, reach])
    assert (low[0], high[0]) == pytest.approx(tuple(1 / (1 + np.exp(-odds))))
    assert np.isnan([low[1:], high[1:]]).all()
    of_values = found.intervals("rmse", itself["rmse"], 0.8)
    assert np.isfinite(of_values[0]).tolist() == [False, False, True, False]
    reach = stats.t.ppf(0.9, 2) * np.sqrt(3 / 2) * np.nanstd(found["rmse"][2])
    ends = itself["rmse"][2] - reach, itself["rmse"][2] + reach
    assert (of_values[0][2], of_values[1][2]) == pytest.approx((max(ends[0], 0), min(ends[1], 1)))
    assert not np.isnan(found["pr_auc"][1]).all(), "the tag counts in the means wherever it can be scored"


def test_a_tag_with_one_class_in_a_resample_is_left_out_of_that_mean() -> None:
    labels = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    scores = np.array([[0.9, 0.1], [0.2, 0.3], [0.1, 0.2], [0.6, 0.7]])
    without_first = Draw(np.array([0, 1, 1, 1]), np.array([[0, 1], [2, 1]]))
    found = resampled_metrics(labels, scores, np.array([False, False]), without_first)
    assert np.isnan(found["roc_auc"][1]).tolist() == [True, False]
    macro = found.overall()
    assert macro["roc_auc"].tolist() == [found["roc_auc"][0, 0], found["roc_auc"][:, 1].mean()]
    assert np.isnan(macro["rmse"]).all()


def test_the_interval_of_a_mean_is_students() -> None:
    """Resamples of a mean of independent values: the classic interval, which SciPy computes from the values."""
    values = np.random.default_rng(6).normal(0.5, 0.1, 12)
    drawn = draw([f"{number:02}" for number in range(12)], 40_000, "seed").counts
    means = values @ drawn / 12
    error = standard_error(means, 12)
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(12), rel=0.02)
    found = interval(values.mean(), stats.sem(values), 12, 0.95)
    assert found == pytest.approx(tuple(stats.ttest_1samp(values, 0).confidence_interval(0.95)))
    assert interval(0.97, 0.1, 12, 0.95, (0.0, 1.0))[1] == 1, "no metric is above 1"
    assert np.isnan(interval(0.5, 0.1, 1, 0.95)).all(), "one artist says nothing about another"
    assert np.isnan(interval(0.5, float(standard_error(np.array([NAN]), 12)), 12, 0.95)).all()
    low, high = interval(1.0, 0.0, 12, 0.95, (0.0, 1.0), log_odds=True)
    assert 0.99 < low <= high == 1, "the score is inside"


def test_such_intervals_hold_a_normal_mean_as_often_as_they_say() -> None:
    values = np.random.default_rng(7).normal(size=(4000, 10))
    low, high = interval(values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(10), 10, 0.95)
    assert ((low <= 0) & (high >= 0)).mean() == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 4000))


def test_the_error_of_an_area_is_that_of_obuchowski() -> None:
    """The standard error of a ROC-AUC over resamples of artists against Obuchowski 1997: DeLong's, by cluster."""
    random = np.random.default_rng(8)
    artist = random.integers(60, size=480)
    level = random.normal(size=60)[artist] + random.normal(size=480)
    positive, scores = level > 0.8, 1 / (1 + np.exp(-level - random.normal(size=60)[artist] - random.normal(size=480)))
    names = [f"{number:02}" for number in artist]
    resampled = resampled_metrics(
        positive[:, None] * 1.0, scores[:, None], np.zeros(1, bool), draw(names, 2000, "seed")
    )
    above = (scores[positive][:, None] > scores[~positive]) * 1.0  # (positives, negatives)
    area, of_positive, of_negative = above.mean(), above.mean(axis=1), above.mean(axis=0)
    rows, columns = artist[positive], artist[~positive]
    x = np.bincount(rows, of_positive - area, 60) / positive.sum()
    y = np.bincount(columns, of_negative - area, 60) / (~positive).sum()
    formula = np.sqrt(60 / 59 * ((x + y) ** 2).sum())  # an artist's positives and negatives vary together
    assert standard_error(resampled["roc_auc"][0], 60) == pytest.approx(formula, rel=0.1)


def test_holms_correction() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # 4 x .005, 3 x .01, 2 x .03, max
    assert holm([0.5, NAN, 0.9])[::2] == [1.0, 1.0]
    assert holm([NAN, 0.02, 0.01])[1:] == pytest.approx([0.02, 0.02]), "what was not compared counts nowhere"
    assert holm([]) == []


def test_the_p_value_is_students() -> None:
    values = np.random.default_rng(9).normal(0.3, 1, 15)
    expected = stats.ttest_1samp(values, 0).pvalue
    assert two_sided(values.mean(), stats.sem(values), 15) == pytest.approx(expected)
    assert two_sided(-values.mean(), stats.sem(values), 15) == pytest.approx(expected)
    assert (two_sided(0.0, 0.0, 15), two_sided(0.1, 0.0, 15)) == (1, 2 * 0.5**15), "no resample differs"
    assert difference_interval(0.1, 0.0, 5, 0.95) == (0.0, 0.1), "five artists who agree: p is .0625"
    assert difference_interval(-0.1, 0.0, 6, 0.95) == (-0.1, -0.1)
    assert np.isnan([two_sided(0.1, NAN, 15), two_sided(0.1, 0.1, 1)]).all()


def test_centred_resamples_have_the_score_as_their_mean() -> None:
    values = np.random.default_rng(0).normal(0.6, 0.05, 100)
    values[3] = NAN
    moved = centred(values, 0.55)
    assert np.nanmean(moved) == pytest.approx(0.55)
    np.testing.assert_allclose(np.diff(moved), np.diff(values), atol=1e-12)
    assert np.nanmax(centred(values, 0.98)) > 1, "the spread is kept where the ends are cut"
    assert np.isnan(centred(np.full(3, NAN), NAN)).all()


@pytest.mark.slow
def test_an_interval_holds_the_mean_score_of_such_test_parts_about_as_often_as_it_says() -> None:
    """Test parts of 30 artists drawn anew: 95% intervals of their PR-AUC against the mean PR-AUC of such parts."""
    random = np.random.default_rng(2)

    def part() -> tuple[np.ndarray, np.ndarray, list[str]]:
        artist = random.integers(30, size=120)
        taste, sound = random.normal(size=(2, 30, 4))[:, artist]
        level = taste + random.normal(size=(120, 4))
        heard = level + sound + random.normal(size=(120, 4))
        return (level > [0.5, 1, 1.5, 2]).astype(float), 1 / (1 + np.exp(-heard)), [str(name) for name in artist]

    kinds = np.zeros(4, bool)
    many = [part() for _ in range(1000)]
    truth = np.mean([evaluate(labels, scores, kinds).overall()["pr_auc"] for labels, scores, _ in many])
    held = 0
    for number, (labels, scores, artists) in enumerate(many[:100]):
        drawn = resampled_metrics(labels, scores, kinds, draw(artists, 200, str(number))).overall()["pr_auc"]
        low, high = interval(evaluate(labels, scores, kinds).overall()["pr_auc"], standard_error(drawn, 30), 30, 0.95)
        held += low <= truth <= high
    assert 90 <= held <= 99


def test_the_shares_that_the_report_quotes_are_those_of_the_simulation() -> None:
    page = (Path(__file__).parents[2] / "benchmarks" / "results" / "coverage.md").read_text(encoding="utf-8")
    shares: dict[int, list[int]] = {}
    for section in page.split("\n## ")[1:-1]:
        artists = int(section.split(", ")[1].split(" ")[0])
        (row,) = [line for line in section.split("single tags")[0].splitlines() if line.startswith("| SD x t |")]
        head = next(line for line in section.splitlines() if line.startswith("| means over tags |"))
        place = [cell.strip() for cell in head.split("|")].index("PR-AUC")
        shares.setdefault(artists, []).append(int(row.split("|")[place].split("(")[0]))
    confidence, measured = MEASURED
    assert measured == {artists: min(both) / 100 for artists, both in shares.items()}
    assert all(len(both) == 2 for both in shares.values())
    assert share_that_holds(10, confidence) == measured[20], "fewer were not measured"
    assert measured[50] <= share_that_holds(35, confidence) <= measured[20]
    assert share_that_holds(200, confidence) is share_that_holds(20, 0.9) is None


def test_paired_differences() -> None:
    first, second = np.array([0.5, 0.6, 0.7, 0.5, NAN]), np.array([0.4, 0.6, 0.5, 0.6, 0.1])
    found = paired(first, second, difference=0.07, artists=5, confidence=0.5)
    error = np.sqrt(5 / 4) * np.std([0.1, 0, 0.2, -0.1])
    assert (found.difference, found.error) == (0.07, pytest.approx(error))
    assert (found.low, found.high) == pytest.approx(stats.t(4, 0.07, error).interval(0.5))
    assert found.p == pytest.approx(2 * stats.t.sf(0.07 / error, 4))


def test_a_paired_difference_is_surer_than_two_intervals(
    songs: tuple[np.ndarray, np.ndarray, np.ndarray, list[str]],
) -> None:
    labels, scores, regression, artists = songs
    worse = np.clip(scores + np.random.default_rng(1).normal(0, 0.05, scores.shape), 0, 1)
    drawn = draw(artists, 300, "seed")
    tables = [resampled_metrics(labels, given_scores, regression, drawn).overall() for given_scores in (scores, worse)]
    ours, theirs = (table["pr_auc"] for table in tables)
    found = paired(ours, theirs, 0.0, 40, 0.95)
    low, high = interval(0.5, standard_error(ours, 40), 40, 0.95)
    assert found.high - found.low < (high - low) / 2


def test_no_tracks_and_no_resamples() -> None:
    none = resampled_metrics(np.zeros((0, 2)), np.zeros((0, 2)), np.array([False, True]), draw([], 3, "seed"))
    assert np.isnan(none["rmse"]).all()
    assert np.isnan(none.overall()["roc_auc"]).all()
    undrawn = resampled_metrics(np.ones((2, 1)), np.ones((2, 1)), np.array([True]), draw(["a", "b"], 0, "s"))
    assert undrawn.overall()["rmse"].shape == (0,)


def test_what_does_not_fit_is_refused() -> None:
    drawn = draw(["a", "b"], 2, "seed")
    with pytest.raises(ValueError, match=r"artists: expected \(3,\), found \(2,\)"):
        resampled_metrics(np.zeros((3, 1)), np.zeros((3, 1)), np.zeros(1, bool), drawn)
    with pytest.raises(ValueError, match="scores: expected values in"):
        resampled_metrics(np.zeros((2, 1)), np.full((2, 1), 2.0), np.zeros(1, bool), drawn)
    with pytest.raises(ValueError, match="regression: expected"):
        resampled_metrics(np.zeros((2, 1)), np.zeros((2, 1)), np.zeros(2, bool), drawn)
