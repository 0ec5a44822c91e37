"""The published tables: every row has a model in the table's preset, of exactly the size that the paper prints."""

from pathlib import Path

import pytest

from tagscale.models.architecture import architecture_of
from tagscale.models.build import build, parameter_count
from tagscale.models.paper import ROWS, Row, printed
from tagscale.models.spec import MODELS, base_model
from tagscale.params.load import Params, load

ROOT = Path(__file__).parents[2]
OURS = [row for row in ROWS if row.exact is not None]


def settings(table: int) -> Params:
    return load(ROOT / "params.yaml", ROOT / "presets" / f"table-{table}.yaml")


def size(row: Row) -> int:
    described = architecture_of(settings(row.table), row.model, ["tag"] * row.tags, ["classification"] * row.tags)
    return parameter_count(build(described))


def named(row: Row) -> str:
    return f"table {row.table}, {row.model}, {row.row}, {row.train_size or 'all'}"


@pytest.mark.parametrize("row", OURS, ids=named)
def test_parameters_are_those_of_the_paper(row: Row) -> None:
    assert size(row) == row.exact
    assert printed(row.exact) == row.printed


@pytest.mark.parametrize("row", [row for row in ROWS if row.exact is None and row.printed], ids=named)
def test_a_size_that_differs_from_the_print_has_a_note(row: Row) -> None:
    differs = printed(size(row)) != row.printed
    assert differs == (base_model(row.model) == "samplecnn" or row.model == "vgg-published"), "few are explained away"
    assert row.notes or not differs


@pytest.mark.parametrize("table", [1, 2, 3, 4])
def test_a_tables_preset_trains_the_models_of_its_rows(table: int) -> None:
    train = settings(table).train
    assert set(train.everyone) == {row.model for row in ROWS if row.table == table}


def test_every_published_baseline_stands_for_a_row() -> None:
    in_paper = {base_model(row.model) for row in ROWS}
    published = {name for name, entry in MODELS.items() if entry.role == "published baseline"}
    assert in_paper == published | {"waveform", "spectrogram", "descriptors"}
    assert all(row.notes for row in ROWS if row.exact is None and not row.printed), "no size: a note says why"


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
