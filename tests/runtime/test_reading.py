"""The readers of our own files, without a seal as well: keys, columns, types, gaps and bounds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import FiniteFloat
from typing_extensions import TypedDict

from tagscale.runtime import tables
from tagscale.runtime.files import read_json as read_any_json
from tagscale.runtime.files import seal, write_json
from tagscale.runtime.reading import Damaged, Output, read_json
from tagscale.runtime.tables import read_csv, read_table, schema, write_table

COLUMNS = schema(track="text", place="whole", rate="whole?", level="number", note="text?")
TABLE = pd.DataFrame(
    {"track": ["a", "b"], "place": [1, 2], "rate": [np.nan, 8000.0], "level": [0.5, -1.0], "note": ["", None]}
)


class Facts(TypedDict):
    name: str
    share: FiniteFloat


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    write_table(TABLE.assign(other=1.5), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet", COLUMNS, "tagscale make")
    pd.testing.assert_frame_equal(table, pd.read_parquet(tmp_path / "t.parquet")[COLUMNS.names])
    assert "other" in read_table(tmp_path / "t.parquet", COLUMNS, "tagscale make", others=pa.float32())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop(columns="level"), r"column\(s\) level missing"),
        (lambda table: table.assign(place=["1", "2"]), "column place holds .*string, expected int64"),
        (lambda table: table.assign(place=[1.0, 2.0]), "column place holds double, expected int64"),
        (lambda table: table.assign(track=[1, 2]), "column track holds int64, expected string"),
        (lambda table: table.assign(track=["a", None]), "column track has empty or infinite cells"),
        (lambda table: table.assign(level=[0.5, np.nan]), "column level has empty or infinite cells"),
        (lambda table: table.assign(level=[0.5, np.inf]), "column level has empty or infinite cells"),
    ],
)
def test_a_table_that_does_not_fit_is_named(tmp_path: Path, change: Callable[[Any], Any], words: str) -> None:
    write_table(change(TABLE), tmp_path / "t.parquet")
    with pytest.raises(Damaged, match=rf"t\.parquet: damaged \({words}.*Run `tagscale make` again\."):
        read_table(tmp_path / "t.parquet", COLUMNS, "tagscale make")


def test_other_columns_have_one_type_too(tmp_path: Path) -> None:
    write_table(TABLE.assign(tag=["x", "y"]), tmp_path / "t.parquet")
    with pytest.raises(Damaged, match=r"column tag holds .*string, expected float"):
        read_table(tmp_path / "t.parquet", COLUMNS, "tagscale make", others=pa.float32())


def test_no_wrong_byte_of_a_page_passes(tmp_path: Path) -> None:
    """Every byte of the values; those of the description behind them may say the same in other words."""
    file = tmp_path / "t.parquet"
    values = pd.DataFrame({"level": np.random.default_rng(0).random(50)})
    write_table(values, file)
    whole, columns = file.read_bytes(), schema(level="number")
    end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # where the description begins
    for place in range(4, end, 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            table = read_table(file, columns, "tagscale make")
        except Damaged:
            continue
        pd.testing.assert_frame_equal(table, values)


def test_a_small_file_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same number a million times, as run lengths have it: a thousandth of the table, with bounds to fit."""
    monkeypatch.setattr(tables, "FEW_BYTES", 1_000_000)
    monkeypatch.setattr(tables, "EXPANSION", 100)
    pq.write_table(pa.table({"level": np.zeros(1_000_000)}), tmp_path / "t.parquet", compression="zstd")
    assert (tmp_path / "t.parquet").stat().st_size < 10_000
    with pytest.raises(Damaged, match=r"1,000,000 rows of 1 columns in"):
        read_table(tmp_path / "t.parquet", schema(level="number"), "tagscale make")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"tag,score\nrock,0.5", "does not end with a whole row"),
        (b"tag,score\nrock\n", "row 2 has 1 cell"),
        (b"tag,score\nrock,0.5,1\n", "row 2 has 3 cell"),
        (b"tag,score\nrock,loud\n", "column score holds something other than numbers"),
        (b"score\n0.5\n", r"column\(s\) tag missing"),
        (b"tag,score,tag\nrock,0.5,jazz\n", "a column is in it twice"),
        (b"tag,score\nr\xff,0.5\n", ""),
        (b"tag,score\nr\0,0.5\n", ""),
    ],
)
def test_a_csv_that_is_no_table_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(Damaged, match=rf"t\.csv: damaged \(.*({words})"):
        read_csv(tmp_path / "t.csv", ["tag"], "tagscale make", ["score"])


def test_cells_of_text_stay_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("tag,score\n1980,0.5\n007,\nNA,1\n,2\n")
    table = read_csv(tmp_path / "t.csv", ["tag"], "tagscale make", ["score"])
    assert table["tag"].tolist() == ["1980", "007", "NA", ""]
    assert table["score"].isna().tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"name": "x"}', "key `share`: Field required"),
        ('{"name": 1, "share": 1}', "key `name`"),
        ('{"name": "x", "share": NaN}', "key `share`"),
        ('{"name": "x", "share": "1"}', "key `share`"),
        ("[" * 100_000, "recursion"),
        ("null", "object"),
    ],
)
def test_json_of_another_shape_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "f.json").write_text(content)
    with pytest.raises(Damaged, match=rf"f\.json: not as it was written \(.*{words}.*Run `tagscale make` again\."):
        read_json(tmp_path / "f.json", Facts, "tagscale make")


def test_json_nested_too_deeply_is_an_error_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="recursion"):
        read_any_json(tmp_path / "f.json")


def test_a_seal_holds_the_facts_and_the_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    seal(tmp_path, "facts.json", {"name": "x", "share": 0.1, "sizes": {16: 1, 9: 2}})
    output = Output(tmp_path, "facts.json", "tagscale make")
    assert output.facts(Facts) == {"name": "x", "share": 0.1}
    output.check()
    (tmp_path / "a.csv").write_text("a\n2\n")
    with pytest.raises(Damaged, match=r"a\.csv: not the file that facts\.json beside it was written with"):
        Output(tmp_path, "facts.json", "tagscale make").check()
    edited = json.loads((tmp_path / "facts.json").read_text()) | {"share": 0.2}
    write_json(tmp_path / "facts.json", edited)
    with pytest.raises(Damaged, match=r"facts\.json: not as it was written \(its content"):
        Output(tmp_path, "facts.json", "tagscale make").facts(Facts)
