"""The shift between two samples, against scipy's tests and against resamples of whole clusters."""

import numpy as np
import pytest
from scipy import stats

from tagscale.evaluation.bootstrap import draw, standard_error
from tagscale.evaluation.resamples import areas
from tagscale.evaluation.two_samples import Shift, shift

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("decimals", [0, 6], ids=["many ties", "none"])
@pytest.mark.parametrize("moved", [0.0, 0.4])
def test_rows_by_themselves_are_tested_as_by_scipy(decimals: int, moved: float) -> None:
    first = RANDOM.normal(size=60).round(decimals)
    second = (moved + 2 * RANDOM.normal(size=90)).round(decimals)
    found = shift(first, second, np.arange(60), np.arange(90))
    assert found.chance == pytest.approx(stats.mannwhitneyu(second, first).statistic / (60 * 90))
    assert found.p() == pytest.approx(stats.brunnermunzel(first, second).pvalue)


def clustered(clusters: int, rows: int, moved: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of clusters of unequal size, half of whose variance is that of their cluster."""
    of = np.sort(RANDOM.choice(clusters, rows, p=np.arange(1, clusters + 1) / (clusters * (clusters + 1) / 2)))
    return moved + RANDOM.normal(size=clusters)[of] + RANDOM.normal(size=rows), of


def test_the_error_is_that_of_resamples_of_whole_clusters() -> None:
    (first, of_first), (second, of_second) = clustered(40, 200), clustered(60, 500, 0.5)
    found = shift(first, second, of_first, of_second)
    names = [f"a{one}" for one in of_first], [f"b{one}" for one in of_second]
    draws = [draw(one, 2000, str(len(one))) for one in names]
    counts = np.concatenate([one.counts for one in draws])
    cluster = np.concatenate([draws[0].artist_of, draws[1].artist_of + len(draws[0].counts)])
    served = np.repeat([False, True], [200, 500])
    chances, _ = areas(served, np.concatenate([first, second]), cluster, counts)
    assert found.error == pytest.approx(float(standard_error(chances, 50)), rel=0.1)
    naive = shift(first, second, np.arange(200), np.arange(500))
    assert found.error > 1.5 * naive.error, "rows of a cluster are alike"
    assert found.chance == naive.chance
    low, high = found.interval(0.95)
    assert low < found.chance < high < 1


def test_two_samples_of_one_population_differ_as_often_as_said() -> None:
    def pair() -> tuple[np.ndarray, ...]:
        (first, of_first), (second, of_second) = clustered(30, 150), clustered(40, 300)
        return first, second, of_first, of_second

    pairs = [pair() for _ in range(300)]
    known = np.mean([shift(*one).p() < 0.05 for one in pairs])
    rows = np.mean([stats.brunnermunzel(*one[:2]).pvalue < 0.05 for one in pairs])
    unknown = np.mean([shift(*one[:3]).p() < 0.05 for one in pairs])
    assert known < 0.09, "0.05 and four of its standard errors"
    assert rows > 0.3
    assert unknown < 0.15, "of clusters that nobody knows, the size is a guess"


def test_beyond_a_margin() -> None:
    known = Shift(chance=0.66, error=0.05, clusters=21)
    t = stats.t(20)
    assert known.p() == pytest.approx(2 * t.sf(0.16 / 0.05))
    assert known.p(0.06) == pytest.approx(t.sf(0.1 / 0.05))
    assert known.p(0.26) == pytest.approx(t.sf(-0.1 / 0.05))


def test_ends_of_the_scale() -> None:
    apart = shift(np.zeros(5), np.ones(4), np.arange(5), np.arange(4))
    assert (apart.chance, apart.clusters) == (1.0, 8.0)
    assert apart.p(0.06) == 0.5**8, "the sign test: nine values that lie apart have no spread, and prove something"
    same = shift(np.zeros(5), np.zeros(4), np.arange(5), np.arange(4))
    assert (same.chance, same.p(), same.p(0.06)) == (0.5, 1.0, 1.0)
    lone = shift(np.arange(5.0), np.arange(4.0), np.zeros(5), np.arange(4))
    assert np.isnan(lone.p()), "one artist alone says nothing about others"
    assert np.isnan(lone.interval(0.95)).all()
    with pytest.raises(ValueError, match="0 and 4 rows"):
        shift(np.zeros(0), np.zeros(4), np.zeros(0))
