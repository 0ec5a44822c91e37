"""The difference of two models and its error over artists, against independent references."""

import numpy as np
import pytest
from scipy import stats

from tagscale.evaluation.metrics import METRICS, evaluate
from tagscale.registry import paired
from tagscale.registry.paired import Gap, Paired, Tracks, power


def tracks_of(artists: int = 12, each: int = 5, tags: int = 4, seed: int = 0) -> Tracks:
    """Labels of `tags` classification tags and one regression tag, `energy`; every artist has as many tracks."""
    random = np.random.default_rng(seed)
    artist = np.repeat(np.arange(artists), each)
    labels = (random.random((len(artist), tags + 1)) < 0.4).astype(float)
    labels[:, -1] = random.random(len(artist))
    names = [*(f"tag {number}" for number in range(tags)), "energy"]
    groups = ["genre"] * (tags - 1) + ["mood", "energy"]
    regression = np.array([False] * tags + [True])
    return Tracks(labels, names, groups, regression, artist, np.zeros(len(artist), int))


def scores_of(tracks: Tracks, skill: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(tracks.labels.shape)
    return 1 / (1 + np.exp(-(skill * (2 * tracks.labels - 1) + noise)))


def pair(tracks: Tracks, first: np.ndarray, second: np.ndarray) -> Paired:
    return Paired(tracks, tracks.score(first, None), tracks.score(second, None))


@pytest.mark.parametrize("metric", ["pr_auc", "roc_auc", "rmse", "frequent_pr_auc", "micro_f1", "ece"])
def test_the_error_is_the_jackknife_by_brute_force(metric: str) -> None:
    tracks = tracks_of()
    both = scores_of(tracks, 1.0, 1), scores_of(tracks, 0.5, 2)

    def difference(kept: np.ndarray) -> float:
        values = [
            evaluate(tracks.labels[kept], one[kept], tracks.regression, None, tracks.artist[kept]).overall()[metric]
            for one in both
        ]
        return METRICS[metric].sign * (values[0] - values[1])

    without = np.array([difference(tracks.artist != artist) for artist in range(12)])
    gap = pair(tracks, *both).overall(metric)
    assert gap is not None
    assert gap.difference == pytest.approx(difference(np.ones(60, bool)), abs=1e-9)
    assert gap.error == pytest.approx(np.sqrt(11 / 12 * ((without - without.mean()) ** 2).sum()), abs=1e-9)
    assert gap.degrees == 11


def test_p_is_that_of_a_t_test_where_the_metric_is_a_mean_over_artists() -> None:
    tracks = tracks_of(artists=15, tags=5)
    both = scores_of(tracks, 0.8, 1), scores_of(tracks, 0.4, 2)
    gap = pair(tracks, *both).overall("precision_at_3")
    assert gap is not None
    one = [tracks.artist == artist for artist in range(15)]
    each = [[evaluate(tracks.labels[m], s[m], tracks.regression).of_part["precision_at_3"] for m in one] for s in both]
    expected = stats.ttest_1samp(np.subtract(*each), 0.01, alternative="greater")
    assert gap.p(0.01) == pytest.approx(expected.pvalue, rel=1e-9)
    low, high = stats.ttest_1samp(np.subtract(*each), 0).confidence_interval(0.95)
    assert gap.interval() == pytest.approx((low, high))


def test_of_many_artists_groups_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "MOST_ARTISTS", 10)
    monkeypatch.setattr(paired, "GROUPS", 4)
    draw = tracks_of().left_out
    assert draw.counts.shape == (12, 5)
    assert draw.counts.sum(axis=0).tolist() == [12, 9, 9, 9, 9]
    assert (draw.counts[:, 1:].sum(axis=1) == 3).all(), "every artist is left out once"


def test_tags_that_one_artist_alone_stands_behind_are_left_out_of_both_means() -> None:
    tracks = tracks_of()
    tracks.labels[:, 0] = tracks.artist == 3
    first, second = scores_of(tracks, 1.0, 1), scores_of(tracks, 0.5, 2)
    result = pair(tracks, first, second)
    assert result.lone("pr_auc") == ["tag 0"]
    rest = evaluate(tracks.labels[:, 1:], first[:, 1:], tracks.regression[1:]).overall()["pr_auc"]
    gap = result.overall("pr_auc")
    assert gap is not None
    assert gap.candidate == pytest.approx(rest)
    assert result.among("pr_auc", ["tag 0"]) is None
    table = result.in_table("pr_auc")
    assert table is not None
    own, other = (evaluate(tracks.labels, scores, tracks.regression).overall()["pr_auc"] for scores in (first, second))
    assert (table.candidate, table.other) == pytest.approx((own, other)), "as the report has them"
    assert table.difference == pytest.approx(own - other)
    assert table.error == gap.error


def test_groups_go_by_the_metric_or_by_the_main_one_of_their_kind() -> None:
    tracks = tracks_of()
    first, second = scores_of(tracks, 1.0, 1), scores_of(tracks, 0.5, 2)
    gaps = pair(tracks, first, second).groups("roc_auc")
    assert {group: gap.metric for group, gap in gaps.items()} == {
        "genre": "roc_auc",
        "mood": "roc_auc",
        "energy": "rmse",
    }
    values = evaluate(tracks.labels, first, tracks.regression)
    assert gaps["genre"].candidate == pytest.approx(values["roc_auc"][:3].mean())
    assert gaps["energy"].candidate == pytest.approx(values["rmse"][4])
    assert gaps["energy"].difference == pytest.approx(gaps["energy"].other - gaps["energy"].candidate), (
        "lower is better"
    )
    assert pair(tracks, first, second).groups("micro_pr_auc")["mood"].metric == "pr_auc"


@pytest.mark.parametrize("metric", ["rmse", "frequent_pr_auc", "micro_pr_auc"])
def test_values_of_the_table_are_those_of_the_metric(metric: str) -> None:
    tracks = tracks_of()
    first, second = scores_of(tracks, 1.0, 1), scores_of(tracks, 0.5, 2)
    gap = pair(tracks, first, second).in_table(metric)
    assert gap is not None
    own, other = (evaluate(tracks.labels, scores, tracks.regression).overall()[metric] for scores in (first, second))
    assert (gap.candidate, gap.other) == pytest.approx((own, other))
    assert gap.difference == pytest.approx(other - own if metric == "rmse" else own - other)


def test_a_part_of_one_artist_says_nothing() -> None:
    tracks = tracks_of(artists=1)
    first = scores_of(tracks, 1.0, 1)
    result = pair(tracks, first, first)
    assert result.overall("pr_auc") is None
    assert result.overall("micro_f1") is None
    assert result.groups("pr_auc") == {}


def test_models_that_are_the_same_differ_by_nothing() -> None:
    tracks = tracks_of()
    first = scores_of(tracks, 1.0, 1)
    gap = pair(tracks, first, first).overall("pr_auc")
    assert gap is not None
    assert (gap.difference, gap.error) == (0, 0)
    assert gap.p() == 1
    assert gap.p(-0.01) == 0.5 ** (gap.degrees + 1), "the sign test: two artists that agree prove nothing"


def test_power_is_that_of_the_noncentral_t_distribution() -> None:
    level = 0.05 / 26
    expected = stats.nct.sf(stats.t.isf(level, 19), 19, 2.0)
    assert power(0.02, 0.01, 19, level) == pytest.approx(expected)
    random = np.random.default_rng(0)
    samples = random.normal(0.02, 0.01 * np.sqrt(20), (20_000, 20))
    passed = [Gap("pr_auc", 0, 0, m, s, 19).p() <= 0.05 for m, s in zip(samples.mean(1), stats.sem(samples, 1))]  # noqa: B905
    assert np.mean(passed) == pytest.approx(power(0.02, 0.01, 19, 0.05), abs=0.012)
