"""The paper's rows beside ours: numbers in the paper's units, orders with exact p values, sections of a report."""

from dataclasses import replace
from itertools import permutations
from math import nan
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from study.compare_fixtures import make_study
from tagscale.models.paper import ROWS, TABLES, Row, rows_of
from tagscale.study.grid import read_study
from tagscale.study.paper_rows import Beside, Measured, beside_study, cells, compare_orders, headings, name_of, spearman


def ours(roc_auc: float, pr_auc: float = 30.0, reach: float = 2.0) -> Measured:
    scores = {"roc_auc": (roc_auc, roc_auc - reach, roc_auc + reach), "pr_auc": (pr_auc, nan, nan), "rmse": (nan,) * 3}
    return Measured(scores, 1_234, 800, 2, 5400.0)


def row(table: int, name: str) -> Row:
    return next(one for one in rows_of(table) if one.row == name)


@pytest.mark.parametrize("table", TABLES)
def test_every_row_of_the_paper_stands_once_on_its_page(table: int) -> None:
    rows = [Beside(one, one.model) for one in rows_of(table)]
    table_rows = cells(rows, "")
    assert len(table_rows) == len({line[0] for line in table_rows}) == sum(one.table == table for one in ROWS)
    assert all(len(line) == len(headings(rows)) and line[-1] == "not run" for line in table_rows)


def test_numbers_are_in_the_papers_units() -> None:
    beside = Beside(row(2, "# filters × 4"), "waveform-x4", ours(87.5, 35.12), state="run")
    shown = dict(zip(headings([beside]), cells([beside], "")[0], strict=True))
    assert shown["paper ROC-AUC"] == "89.05"
    assert shown["ours ROC-AUC"] == "87.50 [85.5, 89.5]"
    assert shown["difference ROC-AUC"] == "−1.55 [−3.5, +0.5]"
    assert (shown["ours PR-AUC"], shown["difference PR-AUC"]) == ("35.12", "+0.20"), "no interval, none shown"
    assert shown["parameters, ours / paper"] == "1,234 / 11.8M"
    assert (shown["same data"], shown["seeds"], shown["hours"]) == ("yes", "2", "1.50")


def test_scores_of_other_data_are_not_subtracted() -> None:
    beside = Beside(row(2, "# filters × 4"), "waveform-x4", ours(87.5), state="run")
    shown = dict(zip(headings([beside]), cells([beside], "another corpus")[0], strict=True))
    assert shown["difference ROC-AUC"] == shown["difference PR-AUC"] == "–"
    assert shown["same data"] == "another corpus"
    assert shown["ours ROC-AUC"].startswith("87.50")


def test_a_quoted_score_of_cleaner_data_is_not_subtracted() -> None:
    rows = [
        Beside(row(2, name), "samplecnn", ours(87.5))
        for name in ("SampleCNN [14], cleaner data", "SampleCNN (reproduced)")
    ]
    cleaner, own = (dict(zip(headings(rows), line, strict=True)) for line in cells(rows, ""))
    assert (cleaner["same data"], cleaner["difference ROC-AUC"]) == ("the paper's is of cleaner data", "–")
    assert (own["same data"], own["difference ROC-AUC"]) == ("yes", "−1.06 [−3.1, +0.9]")


def test_the_error_of_table_1_is_no_percentage() -> None:
    scores = {"rmse": (0.14, 0.1312, 0.1491), "roc_auc": (nan,) * 3, "pr_auc": (nan,) * 3}
    beside = Beside(rows_of(1)[1], "waveform", replace(ours(92.0), scores=scores), state="run")
    shown = dict(zip(headings([beside]), cells([beside], "")[0], strict=True))
    assert shown["paper √MSE"] == "0.1465"
    assert shown["difference √MSE"] == "−0.0065 [−0.015, +0.003]"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([1, 2, 3, 4, 5, 6], [2, 1, 4, 3, 6, 5]),
        ([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]),
        ([1, 2.5, 2.5, 4, 5, 6], [3, 1.5, 1.5, 6, 4.5, 4.5]),
    ],
)
def test_p_is_the_share_of_all_orders(first: list[float], second: list[float]) -> None:
    """Against the list of all 720 orders, and SciPy's correlation."""
    rho, p = spearman(np.array(first), np.array(second))
    assert rho == pytest.approx(scipy.stats.spearmanr(first, second).statistic)
    every = [abs(np.corrcoef(first, order)[0, 1]) for order in permutations(second)]
    assert p == pytest.approx(np.mean(np.array(every) >= abs(rho) - 1e-12))


def test_an_order_is_of_what_the_paper_measured_itself() -> None:
    """SampleCNN and Dieleman have a quoted row each; 512 units and x2 are one model."""
    rows = [Beside(one, one.model, ours(100 - (one.roc_auc or 0), one.pr_auc or 0)) for one in rows_of(2)]
    roc, pr = compare_orders(rows[:9])
    assert roc.rho == pytest.approx(-1)
    assert roc.p == pytest.approx(2 / 5040), "seven models"
    assert pr.rho == pytest.approx(1)
    assert (roc.pairs, roc.width) == (21, pytest.approx(4.0))
    paper = [one.roc_auc or 0 for one in rows_of(2)[:9] if one.pr_auc is not None]
    assert roc.close == sum(abs(one - other) < 4 for place, one in enumerate(paper) for other in paper[:place])
    assert roc.words.endswith("nor one near 1 for it.")
    assert "does not speak" not in replace(roc, close=10).words, "intervals that tell most pairs apart"
    assert "interval" not in pr.words, "no intervals, no caution about them"
    assert compare_orders(rows[4:6]) == [], "two rows are no order"


def test_a_report_shows_the_rows_of_its_models(tmp_path: Path) -> None:
    """By name, by number of parameters, or else the nearest in size; elsewhere nothing."""
    models = ["waveform-x4", "spectrogram"]
    files = make_study(tmp_path, models=models, baselines=[], sizes={"all": 802}, resamples=20)
    study = read_study(files.runs, files.results, models=models, sizes=["all"], seeds=[0])
    second, third = beside_study(study, "mtt", "original", 50)
    assert [name_of(one.row) for one in second.rows] == ["# filters × 4"]
    assert second.rows[0].state == "another capacity", "the fixture's has 100,000 parameters"
    assert second.others == 16
    assert second.lines[0][second.heads.index("difference ROC-AUC")].startswith("−"), "ROC-AUC of .75 less 89.05"
    assert [name_of(one.row) for one in third.rows] == ["64 CNN filters - 500 units"]
    assert third.rows[0].state == "nearest in size", "254,000 beside 277,178"
    assert beside_study(study, "mtt", "artist", 50)[0].apart == "another split (artist)"
    assert beside_study(study, "synth", "stratified", 50) == []
