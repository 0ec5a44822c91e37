"""The catalogue: every row of the paper is there, and no difference from the print goes without a reason."""

from collections import Counter
from pathlib import Path

import pytest
import yaml

from tagscale.models.catalogue import Entry, architecture_of, entries, record
from tagscale.models.paper import ROWS, printed
from tagscale.models.spec import MODELS, NETWORKS
from tagscale.runtime.errors import TagscaleError

ALL = entries()
PRESETS = Path(__file__).parents[2] / "presets"


def named(entry: Entry) -> str:
    return entry.name


def test_every_row_once_in_the_papers_order() -> None:
    rows = [entry for entry in ALL if entry.table is not None]
    assert [(entry.table, entry.roc_auc, entry.pr_auc, entry.rmse) for entry in rows] == [
        (row.table, row.roc_auc, row.pr_auc, row.rmse) for row in ROWS
    ]
    assert all(entry.row.startswith(row.row) for entry, row in zip(rows, ROWS, strict=True))
    assert Counter(entry.table for entry in ALL) == {1: 7, 2: 17, 3: 17, 4: 6, None: 4}
    assert len({entry.name for entry in ALL}) == len(ALL)


def test_every_model_that_can_be_built_is_listed() -> None:
    assert {entry.model for entry in ALL} == set(MODELS)


@pytest.mark.parametrize("entry", ALL, ids=named)
def test_no_unexplained_difference(entry: Entry) -> None:
    found = record(entry)
    if entry.model == "descriptors":
        assert found["parameters"] is None
        assert found["note"]
        return
    if found["paper_parameters"] != printed(found["parameters"]):
        assert found["note"], (
            f"{entry.name}: {found['parameters']:,} is not {found['paper_parameters']}, and no word on why"
        )
    assert 0 < found["shortest_seconds"] <= found["patch_seconds"]
    assert set(found["capacity"]) == set(NETWORKS[entry.model].capacity.model_fields)


def test_the_papers_own_models_need_no_excuse() -> None:
    for entry in ALL:
        if entry.table and entry.model in ("waveform", "spectrogram"):
            assert entry.paper_parameters == printed(record(entry)["parameters"])


def test_systems_whose_count_is_explained_away_are_few() -> None:
    differing = {
        entry.name
        for entry in ALL
        if entry.paper_parameters and entry.paper_parameters != printed(record(entry)["parameters"])
    }
    samplecnn = {"table-2-samplecnn-published", "table-2-samplecnn-reproduced", "table-4-samplecnn"}
    assert differing == {*samplecnn, "table-3-vgg-published"}


@pytest.mark.parametrize("table", [2, 3, 4])
def test_names_are_those_of_the_presets(table: int) -> None:
    preset = yaml.safe_load((PRESETS / f"table-{table}.yaml").read_text(encoding="utf-8"))
    rows = entries(table=table)
    assert set(preset["train"]["models"]) == {entry.in_params for entry in rows}
    for entry in rows:
        said = preset["model"].get(entry.in_params, {})
        if entry.model in ("waveform", "spectrogram"):
            capacity = {"layers": 7} | preset["model"]["backend"] | said
            architecture = architecture_of(entry)
            assert architecture is not None
            expected = {key: value for key, value in architecture.capacity.items() if key != "pooling"}
            assert {key: capacity[key] for key in expected} == expected, entry.name


def test_filters() -> None:
    assert {entry.model for entry in entries(model="crnn")} == {"crnn"}
    assert [entry.name for entry in entries(model="table-2-waveform-x4")] == ["table-2-waveform-x4"]
    assert {entry.name for entry in entries(model="spectrogram-half", table=3)} == {
        "table-3-spectrogram-half",
        "table-3-spectrogram-half-512f-500u",
    }
    assert len(entries(table=4)) == 6


@pytest.mark.parametrize(
    ("model", "table", "message"),
    [
        ("wavefrom", None, "--model wavefrom: unknown; did you mean `waveform`"),
        ("", None, "--model : unknown; did you mean"),
        (None, 5, "--table 5: the paper has the tables 1, 2, 3 and 4"),
        (None, -1, "--table -1: "),
        ("crnn", 1, "--model crnn is not in table 1; it is in table 4"),
        ("transformer", 1, "--model transformer is not in table 1; it is in none: it came after the paper"),
    ],
)
def test_unknown_names(model: str | None, table: int | None, message: str) -> None:
    with pytest.raises(TagscaleError, match=message):
        entries(model, table)
