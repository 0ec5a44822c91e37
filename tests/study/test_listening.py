"""Popularity bias and exclusive tags: against brute-force loops, and what must hold for any labels and scores."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import confusion_matrix

from tagscale.evaluation.metrics import evaluate
from tagscale.study import listening

SETS = ["mode", "mode", "", "genre", "genre", "genre", "alone", "mode", "", "", "genre", ""]


def pr_auc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return evaluate(labels, scores, np.zeros(labels.shape[1], bool))["pr_auc"]


def made_up(seed: int, tracks: int = 60, tags: int = 12, missing: float = 0.15, levels: int = 6) -> Any:
    """Labels with gaps, ties in the scores, one tag without positives and one that is always true."""
    generator = np.random.default_rng(seed)
    labels = (generator.random((tracks, tags)) < np.linspace(0.05, 0.6, tags)).astype(float)
    labels[:, 0], labels[:, -1] = 0, 1
    labels[generator.random((tracks, tags)) < missing] = np.nan
    scores = np.round(generator.random((tracks, tags)) * levels) / levels
    return labels, np.clip(scores * 0.7 + 0.3 * np.nan_to_num(labels), 0, 1)


def picks_by_loop(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The mean over every order in which a track could break its ties."""
    picked = np.zeros(labels.shape)
    for track in range(len(labels)):
        known = [tag for tag in range(labels.shape[1]) if not math.isnan(labels[track, tag])]
        count = sum(labels[track, tag] >= 0.5 for tag in known)
        orders = [
            sorted(order, key=lambda tag: -scores[track, tag]) for order in itertools.permutations(known)
        ]  # sorted is stable: each order breaks the ties in another way
        for order in orders:
            picked[track, order[:count]] += 1 / len(orders)
    return picked


def test_picks_against_every_way_to_break_ties() -> None:
    labels, scores = made_up(3, tracks=25, tags=6, levels=3)
    np.testing.assert_allclose(listening.picks(labels, scores), picks_by_loop(labels, scores), atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_popularity_against_loops(seed: int) -> None:
    labels, scores = made_up(seed)
    labels[:, 4] = np.nan  # nobody was asked about this tag
    train = np.random.default_rng(seed).permutation(12) / 20
    train[7] = np.nan
    precision = pr_auc(labels, scores)
    found = listening.popularity(train, labels, scores, precision, listening.shares(labels))
    picked, true, lifts = [], [], {}
    for tag in range(12):
        known = ~np.isnan(labels[:, tag])
        picked.append(sum(listening.picks(labels, scores)[:, tag]))
        true.append(sum(labels[known, tag] >= 0.5))
        share = true[-1] / known.sum() if known.any() else math.nan
        if tag not in (4, 7) and 0 < share < 1:
            lifts[tag] = (precision[tag] - share) / (1 - share)
        assert found.ratio[tag] == pytest.approx(picked[-1] / true[-1] if true[-1] else math.nan, nan_ok=True)
        mean = scores[known, tag].mean() if known.any() else math.nan
        assert found.mean_score[tag] == pytest.approx(mean, nan_ok=True)
    usable = [tag for tag in range(12) if tag not in (4, 7)]
    ratios = [(picked[tag] + 0.5) / (true[tag] + 0.5) for tag in usable]
    assert found.correlation == pytest.approx(spearmanr(train[usable], ratios).statistic)
    best = max(usable, key=lambda tag: train[tag])
    assert np.flatnonzero(found.tenth).tolist() == [best], "a tenth of ten tags is one"
    assert found.tenth_picked == pytest.approx(picked[best] / sum(picked[tag] for tag in usable))
    assert found.tenth_true == pytest.approx(true[best] / sum(true[tag] for tag in usable))
    order = sorted(lifts, key=lambda tag: -train[tag])
    sizes = [len(order) // 3 + (place < len(order) % 3) for place in range(3)]
    for place, name in enumerate(("popular", "middle", "rare")):
        members = order[sum(sizes[:place]) : sum(sizes[: place + 1])]
        assert found.lifts[place] == pytest.approx(np.mean([lifts[tag] for tag in members])), name
        assert set(np.flatnonzero(found.third == place)) == set(members)
    assert (found.third[[4, 7]] == -1).all()


def test_a_model_that_knows_everything_has_no_bias_and_one_that_copies_the_prevalence_has() -> None:
    generator = np.random.default_rng(0)
    shares = np.linspace(0.02, 0.6, 30)
    labels = (generator.random((500, 30)) < shares).astype(float)
    precision = pr_auc(labels, labels)
    knowing = listening.popularity(shares, labels, labels, precision, listening.shares(labels))
    assert knowing.correlation == 0
    assert knowing.tenth_picked == knowing.tenth_true
    assert knowing.lifts == (1, 1, 1)
    copying = np.tile(shares, (500, 1))
    parrot = listening.popularity(shares, labels, copying, pr_auc(labels, copying), listening.shares(labels))
    assert parrot.correlation > 0.7
    assert parrot.tenth_picked > 1.5 * parrot.tenth_true
    assert parrot.lifts == pytest.approx((0, 0, 0))
    np.testing.assert_allclose(parrot.mean_score, shares)


def thresholds_by_loop(labels: np.ndarray, scores: np.ndarray) -> list[float]:
    found = []
    for tag in range(labels.shape[1]):
        rows = [(label, score) for label, score in zip(labels[:, tag], scores[:, tag], strict=True) if label == label]
        wanted = sum(label >= 0.5 for label, _ in rows)
        candidates = [math.inf, *sorted({score for _, score in rows}, reverse=True)]
        counts = {limit: sum(score >= limit for _, score in rows) for limit in candidates}
        found.append(min(candidates, key=lambda limit: (abs(counts[limit] - wanted), counts[limit])))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_thresholds_against_loops(seed: int) -> None:
    labels, scores = made_up(seed)
    labels[:, 5] = np.nan
    limits = listening.thresholds(labels, scores)
    assert limits.tolist() == thresholds_by_loop(labels, scores)
    assert limits[0] == limits[5] == math.inf, "never true, never annotated: never predicted"


@pytest.mark.parametrize("seed", range(4))
def test_exclusive_tags_against_loops(seed: int) -> None:
    labels, scores = made_up(seed)
    limits = listening.thresholds(*made_up(seed + 10))
    found = listening.exclusive(labels, scores, limits, SETS)
    chosen = [[labels[t, i] == labels[t, i] and scores[t, i] >= limits[i] for i in range(12)] for t in range(60)]
    rates = [sum(row[i] for row in chosen) / max(1, sum(labels[:, i] == labels[:, i])) for i in range(12)]
    pairs = [(i, j) for i, j in itertools.combinations(range(12), 2) if SETS[i] and SETS[i] == SETS[j]]
    assert listening.pairs_of(SETS).tolist() == [list(pair) for pair in pairs]
    wrong, wrong_labels, chances = [], [], []
    for track in range(60):
        known = [i for i in range(12) if labels[track, i] == labels[track, i]]
        asked = [(i, j) for i, j in pairs if i in known and j in known]
        if asked:
            wrong.append(sum(chosen[track][i] and chosen[track][j] for i, j in asked))
            wrong_labels.append(sum(labels[track, i] >= 0.5 and labels[track, j] >= 0.5 for i, j in asked))
            none = 1.0
            for name in ("mode", "genre"):
                own = [i for i in known if SETS[i] == name]
                possible = 0.0  # over every combination of the set's tags with at most one of them
                for combination in itertools.product((0, 1), repeat=len(own)):
                    if sum(combination) < 2:
                        chance = [rates[i] if on else 1 - rates[i] for i, on in zip(own, combination, strict=True)]
                        possible += math.prod(chance)
                none *= possible
            chances.append(1 - none)
    assert found.share == pytest.approx(sum(count > 0 for count in wrong) / len(wrong))
    assert found.share_labelled == pytest.approx(sum(count > 0 for count in wrong_labels) / len(wrong))
    assert found.mean == pytest.approx(sum(wrong) / len(wrong))
    assert found.mean_labelled == pytest.approx(sum(wrong_labels) / len(wrong))
    assert found.share_expected == pytest.approx(sum(chances) / len(chances))
    for place, (i, j) in enumerate(pairs):
        asked = [track for track in range(60) if not math.isnan(labels[track, i] + labels[track, j])]
        assert found.tracks[place] == len(asked)
        assert found.predicted[place] == sum(chosen[track][i] and chosen[track][j] for track in asked)
        assert found.labelled[place] == sum(labels[t, i] >= 0.5 and labels[t, j] >= 0.5 for t in asked)
        assert found.expected[place] == pytest.approx(len(asked) * rates[i] * rates[j])


def test_independent_tags_are_predicted_together_as_often_as_expected() -> None:
    generator = np.random.default_rng(1)
    labels = np.eye(4)[generator.integers(4, size=20_000)]
    scores = generator.random(labels.shape)
    limits = listening.thresholds(labels, scores)
    blind = listening.exclusive(labels, scores, limits, ["key"] * 4)
    assert blind.share == pytest.approx(blind.share_expected, rel=0.05)
    np.testing.assert_allclose(blind.predicted, blind.expected, rtol=0.15)
    knowing = listening.exclusive(labels, labels, listening.thresholds(labels, labels), ["key"] * 4)
    assert (knowing.share, knowing.mean, knowing.share_labelled) == (0, 0, 0)
    assert knowing.share_expected == pytest.approx(blind.share_expected, rel=0.05), "as bold as the blind one"


def test_without_sets_there_is_nothing_to_count() -> None:
    labels, scores = made_up(0)
    found = listening.exclusive(labels, scores, listening.thresholds(labels, scores), [""] * 11 + ["alone"])
    assert len(found.tracks) == len(found.predicted) == 0
    assert math.isnan(found.share)
    assert math.isnan(found.share_expected)


def test_no_tags_and_no_tracks_are_no_error() -> None:
    none = np.zeros((5, 0))
    empty = listening.popularity(np.zeros(0), none, none, np.zeros(0), np.zeros(0))
    assert math.isnan(empty.correlation)
    assert math.isnan(empty.tenth_true)
    assert all(math.isnan(lift) for lift in empty.lifts)
    lost = np.full((4, 3), np.nan)
    unasked = listening.popularity(np.array([0.1, 0.2, 0.3]), lost, np.zeros((4, 3)), *np.full((2, 3), np.nan))
    assert unasked.picked.tolist() == [0, 0, 0]
    assert math.isnan(listening.exclusive(lost, np.zeros((4, 3)), np.zeros(3), ["a", "a", "a"]).share)


@pytest.mark.parametrize("scores", [np.zeros((3, 2)), np.full((3, 3), np.nan)])
def test_scores_that_cannot_be_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected labels and scores|found NaN"):
        listening.picks(np.zeros((3, 3)), scores)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9), st.floats(0, 0.6))
def test_what_holds_for_any_labels_and_scores(seed: int, tracks: int, tags: int, missing: float) -> None:
    labels, scores = made_up(seed, tracks, tags, missing, levels=4)
    picked = listening.picks(labels, scores)
    np.testing.assert_allclose(picked.sum(axis=1), (labels >= 0.5).sum(axis=1))
    assert ((picked >= 0) & (picked <= 1 + 1e-12)).all()
    assert (picked[np.isnan(labels)] == 0).all()
    np.testing.assert_allclose(listening.picks(labels, scores**3), picked)  # only the order of the scores counts
    order = np.random.default_rng(seed).permutation(tags)
    np.testing.assert_allclose(listening.picks(labels[:, order], scores[:, order]), picked[:, order])
    sets = [f"set {number}" for number in np.random.default_rng(seed).integers(3, size=tags)]
    limits = listening.thresholds(labels, scores)
    found = listening.exclusive(labels, scores, limits, sets)
    assert (found.predicted <= found.tracks).all()
    if not math.isnan(found.share):
        assert 0 <= found.share_expected <= 1
        assert found.share <= found.mean + 1e-12
        nothing = listening.exclusive(labels, scores, np.full(tags, np.inf), sets)
        assert nothing.predicted.sum() == nothing.share == 0
        assert nothing.share_expected == pytest.approx(0, abs=1e-12)


def test_confusion_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(3)
    true, scores = random.integers(0, 5, 200), random.random((200, 5))
    labels = np.eye(5)[true]
    expected = confusion_matrix(true, scores.argmax(axis=1), labels=range(5))
    assert (listening.confusion(labels, scores) == expected).all()
    labels[0], labels[1], labels[2, 0] = 0, 1, np.nan  # no tag, all tags, a tag that is not annotated
    assert listening.confusion(labels, scores).sum() == 197
