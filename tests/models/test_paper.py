"""The published tables: every model of the paper has exactly the parameters that were counted, and printed."""

import pytest

from tagscale.models.build import Architecture, build, parameter_count
from tagscale.models.paper import ROWS, Row, printed

OURS = [row for row in ROWS if row.exact is not None]


def named(row: Row) -> str:
    return f"table {row.table}, {row.model}, {row.row}, {row.train_size or 'all'}"


@pytest.mark.parametrize("row", OURS, ids=named)
def test_parameters_are_those_of_the_paper(row: Row) -> None:
    tags = tuple(f"tag {number}" for number in range(row.tags))
    kinds = ("classification",) * row.tags
    model = build(Architecture(row.model, row.capacity, tags, kinds, row.patch_seconds))
    assert parameter_count(model) == row.exact
    assert printed(row.exact) == row.printed


def test_tables_are_complete() -> None:
    assert {table: sum(row.table == table for row in ROWS) for table in (1, 2, 3, 4)} == {1: 7, 2: 17, 3: 17, 4: 6}
    assert len(OURS) == 34
    assert all(50 < row.roc_auc < 100 for row in ROWS)


def test_best_published_results() -> None:
    """The bold numbers of the tables."""
    assert max(row.roc_auc for row in ROWS if row.table == 1) == 92.50
    assert max(row.pr_auc for row in ROWS if row.table == 1) == 61.20
    assert min(row.rmse for row in ROWS if row.table == 1) == 0.1465
    best = max((row for row in ROWS if row.table == 3), key=lambda row: row.pr_auc or 0)
    assert (best.row, best.roc_auc, best.pr_auc) == ("# filters × 1/2 (selected)", 90.40, 38.11)
