"""Annotation files are read as they are, gzipped or not, and every flaw is named with file and line."""

import gzip
from pathlib import Path

import pandas as pd
import pytest

from tagscale.catalog.sources.annotations import check_paths, locate, numbers, read_table
from tagscale.runtime.errors import TagscaleError


def table(folder: Path, text: str | bytes, name: str = "table.tsv") -> Path:
    content = text.encode() if isinstance(text, str) else text
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder / name


def test_plain_and_gzipped_give_the_same_cells(tmp_path: Path) -> None:
    text = '\ufeff"id"\t"artist"\r\n"1"\t" Bj\xf6rk "\r\n\r\n"2"\t""\r\n'
    plain, packed = table(tmp_path, text), table(tmp_path, text, "packed.tsv.gz")
    cells = read_table(plain, "\t", columns=["id"], unique="id")
    assert cells.to_dict("list") == {"id": ["1", "2"], "artist": ["Bj\xf6rk", ""]}
    assert cells.index.tolist() == [2, 4]
    pd.testing.assert_frame_equal(cells, read_table(packed, "\t", columns=["id"]))


def test_locate_prefers_the_plain_file_and_says_both_names(tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match=r"a\.csv: no such file, nor a\.csv\.gz\. It comes from there\."):
        locate(tmp_path, "a.csv", "It comes from there.")
    table(tmp_path, "x", "a.csv.gz")
    assert locate(tmp_path, "a.csv").name == "a.csv.gz"
    table(tmp_path, "x", "a.csv")
    assert locate(tmp_path, "a.csv").name == "a.csv"


def test_ragged_last_column_and_no_header(tmp_path: Path) -> None:
    path = table(tmp_path, 'id\ttags\n1\tb\tc\n2\t"a\n3\n')
    cells = read_table(path, "\t", columns=["id"], rest="tags", quoted=False)
    assert cells["tags"].tolist() == ["b\tc", '"a', ""]
    cells = read_table(table(tmp_path, "1,x\n2,y\n"), ",", columns=[], header=["id", "name"])
    assert cells["name"].tolist() == ["x", "y"]
    assert cells.index.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty; expected a table with id, artist"),
        ("id\tartist\n", "no rows"),
        ("id\tname\n1\tx\n", "line 1: missing column artist; found: id, name"),
        ("id\tartist\tid\n1\tx\t1\n", "line 1: more than one column is named id"),
        ("id\tartist\t" + "\t".join(map(str, range(100_000))) + "\n", "100,002 columns, expected at most 10,000"),
        ("id\tartist\n1\tx\n2\n", "line 3: 1 cells, expected 2"),
        ("id\tartist\n1\tx\ty\n", "line 2: 3 cells, expected 2"),
        ("id\tartist\n1\tx\n2\ty\n1\tz\n", "id used more than once: line 2 `1`, line 4 `1`"),
        ("id\tartist\n1\tx\n\ty\n", "empty id: line 3"),
        ('id\tartist\n1\t"x"y\n', "line 2: not a well-formed table"),
        ("id\tartist\n1\tBj\xf6rk\n".encode("latin-1"), "not UTF-8 text"),
    ],
)
def test_flaws_are_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = table(tmp_path, content)
    with pytest.raises(TagscaleError, match=message) as caught:
        read_table(path, "\t", columns=["id", "artist"], unique="id")
    assert str(path) in str(caught.value)


def test_damaged_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(b"id\n" + bytes(range(65, 90)) * 50)
    for name, content in (("cut", whole[:-12]), ("none", b"id\n1\n")):
        (tmp_path / f"{name}.gz").write_bytes(content)
        with pytest.raises(TagscaleError, match=f"{name}.gz: not a whole gzip file"):
            read_table(tmp_path / f"{name}.gz", "\t", columns=["id"])


@pytest.mark.parametrize(
    "path", ["/etc/a.mp3", "../a.mp3", "b/../../a.mp3", "C:\\a.mp3", "\\\\host\\a.mp3", "b\\..\\a.mp3"]
)
def test_paths_stay_inside(path: str) -> None:
    cells = pd.Series(["f/ok.mp3", path], index=[2, 3], name="mp3_path")
    with pytest.raises(TagscaleError, match="info: path outside the dataset's folder: line 3"):
        check_paths(Path("info"), cells)
    check_paths(Path("info"), cells[:1])


@pytest.mark.parametrize("cell", ["yes", "2", "-0.1", "nan", "inf"])
def test_labels_are_numbers_from_0_to_1(cell: str) -> None:
    with pytest.raises(TagscaleError, match=r"info: value of `rock` that is no number from 0 to 1: line 4 "):
        numbers(Path("info"), pd.Series(["0", "", cell], index=[2, 3, 4], name="rock"))
    assert numbers(Path("info"), pd.Series(["1", "0.5"], name="rock")).tolist() == [1, 0.5]
