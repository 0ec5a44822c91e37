"""Tables of names: whatever a column or a cell is called, it comes back as it was written."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagscale.runtime.files import seal
from tagscale.runtime.reading import Damaged, Output
from tagscale.runtime.tables import read_csv, schema, wide_in, write_csv, write_wide

HOSTILE = ["part", "track_id", "part_", "track_id_", "1980", "007", "True", "nan", "NA", "None", "1e5", "index"]
NAMES = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)
KEYS = schema(track_id="text", part="text")


def wide(folder: Path, values: pd.DataFrame) -> Output:
    keys = pd.DataFrame({"track_id": ["007", "NA"], "part": ["valid", "test"]})
    write_wide(keys, values, folder / "wide.parquet")
    seal(folder, "facts.json", {})
    return Output(folder, "facts.json", "tagscale evaluate")


@settings(max_examples=60, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=8, unique=True))
def test_a_wide_table_comes_back(names: list[str]) -> None:
    values = pd.DataFrame(np.arange(2 * len(names), dtype=np.float32).reshape(2, -1), columns=names, index=[5, 3])
    with tempfile.TemporaryDirectory() as folder:
        keys, numbers = wide_in(wide(Path(folder), values), "wide.parquet", KEYS, pa.float32())
    assert list(keys) == ["track_id", "part"]
    assert keys.to_numpy().tolist() == [["007", "valid"], ["NA", "test"]]
    assert list(numbers) == names
    np.testing.assert_array_equal(numbers, values)


def test_a_wide_table_is_flat_for_others_and_checked(tmp_path: Path) -> None:
    output = wide(tmp_path, pd.DataFrame({"rock": np.float32([0.5, 1])}))
    table = pd.read_parquet(tmp_path / "wide.parquet")
    assert list(table) == ["track_id", "part", "rock"]
    table.drop(columns="part").to_parquet(tmp_path / "wide.parquet")
    seal(tmp_path, "facts.json", {})
    with pytest.raises(Damaged, match=r"column\(s\) part missing.*Run `tagscale evaluate` again"):
        wide_in(Output(tmp_path, "facts.json", output.command), "wide.parquet", KEYS, pa.float32())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.one_of(st.sampled_from(HOSTILE), CELLS), CELLS), max_size=6))
def test_cells_of_text_come_back(rows: list[tuple[str, str]]) -> None:
    table = pd.DataFrame(rows, columns=["tag", "reason"], dtype=str).assign(score=np.arange(len(rows)) / 3, tracks=7)
    table["score"] = table["score"].where(table["score"] != 0)
    with tempfile.TemporaryDirectory() as folder:
        write_csv(table, Path(folder) / "text.csv")
        found = read_csv(Path(folder) / "text.csv", ("tag", "reason"), "tagscale x", ("score", "tracks"))
    assert [*zip(found["tag"], found["reason"], strict=True)] == rows
    np.testing.assert_array_equal(found["score"].to_numpy(float), table["score"].to_numpy(float))
