"""A user's folder becomes the catalog that it describes; every mistake in it is named with its place and its remedy."""

import gzip
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagscale.catalog.sources import folder, folder_table
from tagscale.catalog.tables import Catalog, Split, artist_keys
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.names import normalised
from user_folder import ROOT, TAGS, rows, write_table
from user_folder import settings as user_settings

SHARED = Path(os.environ.get("TAGSCALE_SHARED_DATA", ROOT / ".." / "shared" / "data"))


def read(root: Path, tags: str | None = "tags.yaml", split: str | None = None) -> Catalog:
    return folder.read(root, user_settings(dataset={"name": "mine", "tags": tags, "split": split}).dataset)


def test_tracks_labels_and_tags(tmp_path: Path) -> None:
    table = rows(4)[::-1]
    table[0] |= {"rock": "", "energy": "1e-1", "artist": "NA"}
    table[1] |= {"seconds": "", "path": "  audio/a b.mp3 "}
    write_table(tmp_path, table)
    catalog = read(tmp_path)
    assert catalog.tracks["track_id"].tolist() == ["song00", "song01", "song02", "song03"]
    assert catalog.tracks["artist"].tolist() == ["artist 0", "artist 1", "artist 2", "NA"]
    assert catalog.tracks["path"].tolist()[2] == "audio/a b.mp3"
    np.testing.assert_array_equal(catalog.tracks["seconds"], [1, 1, np.nan, 1])
    assert catalog.tracks["split"].tolist() == [None] * 4
    assert (catalog.tracks[["album", "title"]] == "").all(axis=None)
    np.testing.assert_array_equal(catalog.labels["rock"], np.array([0, 1, 0, np.nan], np.float32))
    np.testing.assert_array_equal(catalog.labels["energy"], np.array([0, 0.25, 0.5, 0.1], np.float32))
    assert catalog.labels.index.tolist() == catalog.tracks["track_id"].tolist()
    assert catalog.tags.to_dict("index") == {
        "rock": {"group": "tags", "kind": "classification", "exclusive": ""},
        "energy": {"group": "mood", "kind": "regression", "exclusive": ""},
    }


def test_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    write_table(tmp_path / "a", rows())
    write_table(tmp_path / "b", rows()[::-1])
    assert read(tmp_path / "a").hash == read(tmp_path / "b").hash


def test_category_becomes_exclusive_tags(tmp_path: Path) -> None:
    table = [row | {"genre": genre} for row, genre in zip(rows(4), ["hip hop", "", "rock", "hip  hop"], strict=True)]
    tags = {"columns": {"genre": {"kind": "category", "group": "genre"}, "*": {"kind": "ignore"}}}
    write_table(tmp_path, table, tags)
    catalog = read(tmp_path)
    assert catalog.tags.to_dict("index") == {
        tag: {"group": "genre", "kind": "classification", "exclusive": "genre"}
        for tag in ("genre_hip_hop", "genre_rock")
    }
    np.testing.assert_array_equal(catalog.labels, [[1, 0], [np.nan, np.nan], [0, 1], [1, 0]])


@pytest.mark.parametrize(("said", "meant"), [("validation", "valid"), ("val", "valid"), ("Train", "train"), ("", None)])
def test_split(tmp_path: Path, said: str, meant: str | None) -> None:
    write_table(tmp_path, [row | {"split": said} for row in rows(2)])
    assert read(tmp_path).tracks["split"].tolist() == [meant, meant]


def test_a_split_is_in_every_row_or_in_none(tmp_path: Path) -> None:
    write_table(tmp_path, [row | {"split": "train" if i == 2 else ""} for i, row in enumerate(rows(4))])
    with pytest.raises(
        TagscaleError, match="tracks without a split: line 2 `song00`, line 3 `song01`, line 5 `song03`"
    ):
        read(tmp_path)
    assert read(tmp_path, split="stratified").split is None


def test_an_own_split_is_taken_unless_tagscale_is_to_divide(tmp_path: Path) -> None:
    write_table(tmp_path, [row | {"split": "train"} for row in rows(2)])
    assert read(tmp_path).split == read(tmp_path, split="column").split == Split("column", False)
    assert read(tmp_path, split="stratified").tracks["split"].isna().all()
    write_table(tmp_path, rows(2))
    with pytest.raises(TagscaleError, match=r"dataset\.split is `column`, but the column `split` is missing or empty"):
        read(tmp_path, split="column")


def test_tracks_without_artist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path, [row | {"artist": " "} for row in rows(3)] + [rows(4)[3]])
    assert artist_keys(read(tmp_path).tracks).nunique() == 4
    assert "3 tracks name no artist; each counts as an artist of its own" in capsys.readouterr().out


def test_spreadsheet_exports_are_read(tmp_path: Path) -> None:
    """Byte-order mark, tabs, CRLF, blank lines, quoted line breaks."""
    text = 'track_id\tpath\tartist\ttitle\trock\r\n\r\na\ta.wav\tÄrzte\t"two\r\nlines, ""x"""\t1\r\n\r\n'
    write_table(tmp_path, rows(1), {"columns": {"rock": {"kind": "classification"}}})
    (tmp_path / "tracks.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    catalog = read(tmp_path)
    assert catalog.tracks.loc[0, ["artist", "title"]].tolist() == ["Ärzte", 'two\r\nlines, "x"']
    assert catalog.labels["rock"].tolist() == [1.0]


def test_tags_from_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "music", rows())
    (tmp_path / "presets").mkdir()
    (tmp_path / "music" / "tags.yaml").rename(tmp_path / "presets" / "mine.yaml")
    monkeypatch.chdir(tmp_path)
    assert read(Path("music"), "presets/mine.yaml").tags.index.tolist() == ["rock", "energy"]


def test_inferred_kinds_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = {"year": "1999", "empty": "", "mood[calm]": "0.5", "recording": "1"}
    write_table(tmp_path, [row | more for row in rows(4)])
    catalog = read(tmp_path, tags=None)
    assert catalog.tags["kind"].to_dict() == {
        "rock": "classification",
        "energy": "regression",
        "mood[calm]": "regression",
    }
    printed = capsys.readouterr().out
    for expected in ("only 0 and 1", "numbers from 0 to 0.75", "1999", "empty", "mood[calm]", "rename a tag"):
        assert expected in printed


def change(row: int, **cells: str) -> Callable[[list[dict[str, Any]]], None]:
    return lambda table: table[row].update(cells)


BAD_CELLS = {
    "empty id": (change(2, track_id=" "), "empty track_id: line 4; fill it in or remove the row"),
    "empty path": (change(0, path=""), "empty path: line 2;"),
    "same id": (change(3, track_id="song01"), "track_id used more than once: line 3 `song01`, line 5 `song01`; give"),
    "absolute": (change(1, path="/etc/passwd"), "path outside the folder: line 3 `/etc/passwd`; write it relative"),
    "up": (change(1, path="audio/../../x.wav"), "path outside the folder: line 3"),
    "drive": (change(1, path="C:/x.wav"), "path outside the folder: line 3"),
    "share": (change(1, path=r"\\host\x.wav"), "path outside the folder: line 3"),
    "backslashes up": (change(1, path=r"a\..\..\x.wav"), "path outside the folder: line 3"),
    "above 1": (change(2, rock="1.01"), "tag column `rock` that is no number from 0 to 1: line 4 `1.01`; scale it"),
    "below 0": (change(2, energy="-0.1"), "tag column `energy` that is no number from 0 to 1: line 4 `-0.1`"),
    "text": (change(2, rock="yes"), "tag column `rock` that is no number from 0 to 1: line 4 `yes`"),
    "nan": (change(2, rock="nan"), "`rock` that is no number from 0 to 1: line 4 `nan`; scale it, leave it empty"),
    "inf": (change(2, rock="inf"), "line 4 `inf`"),
    "seconds": (change(2, seconds="3:20"), "seconds that are no positive number: line 4 `3:20`"),
    "no seconds": (change(2, seconds="0"), "seconds that are no positive number: line 4 `0`"),
}


@pytest.mark.parametrize("case", BAD_CELLS)
def test_bad_cells(tmp_path: Path, case: str) -> None:
    spoil, message = BAD_CELLS[case]
    table = rows()
    spoil(table)
    write_table(tmp_path, table)
    with pytest.raises(TagscaleError) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'tracks.csv'}: ")
    assert message in str(caught.value)


def test_many_bad_cells_are_counted(tmp_path: Path) -> None:
    write_table(tmp_path, [row | {"rock": "x"} for row in rows(10)])
    with pytest.raises(TagscaleError, match=r"line 6 `x` and 5 more; scale it"):
        read(tmp_path)


def test_unknown_split(tmp_path: Path) -> None:
    write_table(tmp_path, [row | {"split": "dev"} for row in rows(2)])
    with pytest.raises(TagscaleError, match="unknown split: line 2 `dev`, line 3 `dev`; expected train, valid"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("column", "wrong", "hint"),
    [
        ("track_id", "trackid", "missing column `track_id` (rename `trackid`, if that is it)"),
        ("artist", "Artist", "missing column `artist` (rename `Artist`, if that is it)"),
        ("artist", "wxyz", "missing column `artist` (add it, with empty cells where it is unknown); expected"),
        ("path", "wxyz", "missing column `path`; expected track_id, path, artist"),
    ],
)
def test_missing_column(tmp_path: Path, column: str, wrong: str, hint: str) -> None:
    write_table(tmp_path, [{wrong if key == column else key: cell for key, cell in row.items()} for row in rows()])
    with pytest.raises(TagscaleError) as caught:
        read(tmp_path)
    assert hint in str(caught.value)


HEADER, ROWS = "track_id,path,artist,rock,energy\n", "007,a.wav,True,1,0.5\n1e5,b.wav,NA,0,0.25\n"
LAYOUTS = {
    "comma": HEADER + ROWS,
    "semicolon": (HEADER + ROWS).replace(",", ";"),
    "tab": (HEADER + ROWS).replace(",", "\t"),
    "bar": (HEADER + ROWS).replace(",", "|"),
    "sep": "sep=;\r\n" + (HEADER + ROWS).replace(",", ";"),
    "quoted sep": '"sep=,"\n' + HEADER + ROWS,
    "blank lines first": "\n\n" + HEADER + ROWS,
    "byte order mark": "\ufeff" + HEADER + ROWS,
    "CRLF": (HEADER + ROWS).replace("\n", "\r\n"),
    "CR": (HEADER + ROWS).replace("\n", "\r"),
    "quotes": '"track_id","path","artist","rock","energy"\n' + ROWS,
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("case", LAYOUTS)
def test_a_table_in_any_layout_is_read_alike(tmp_path: Path, case: str, encoding: str) -> None:
    write_table(tmp_path, rows())
    (tmp_path / "tracks.csv").write_bytes(LAYOUTS[case].encode(encoding))
    catalog = read(tmp_path)
    assert catalog.tracks[["track_id", "path", "artist"]].to_numpy().tolist() == [
        ["007", "a.wav", "True"],
        ["1e5", "b.wav", "NA"],
    ]
    assert catalog.labels.to_numpy().tolist() == [[1, 0.5], [0, 0.25]]


REFUSED = {
    "decimal commas": (
        (HEADER + ROWS).replace(",", ";").replace("0.", "0,"),
        "tag column `energy` that is no number from 0 to 1: line 2 `0,5`, line 3 `0,25`; write decimals with a point",
    ),
    "decimal commas between commas": (
        HEADER + ROWS.replace("0.", "0,"),
        "tracks.csv, line 2: 6 cells, but the header has 5; the delimiter is `,`. Put double quotes around text that "
        "holds the delimiter, and write decimals with a point, as 0.5.",
    ),
    "seconds": (
        "track_id,path,artist,seconds,rock,energy\na,b,c,'3,5',1,1\n".replace("'", '"'),
        "decimals with a point",
    ),
    "comment first": ("# my table, 2026\n" + HEADER + ROWS, "line 1: a comment, `# my table, 2026`; a table has none."),
    "comment between": (
        HEADER + "# more\n" + ROWS,
        "line 2: 1 cells, but the header has 5; the delimiter is `,`. A ta",
    ),
    "workbook": (
        "PK\x03\x04\x14",
        "tracks.csv: an Excel or OpenDocument workbook, or another zip archive, but a table",
    ),
    "JSON": ('[{"track_id": "a"}]', "tracks.csv: JSON, but a table is CSV. Export it as CSV in UTF-8."),
    "NUL": (HEADER + "a\0,b,c,1,1\n", "tracks.csv: a NUL character, in `a\0,b,c,1,1`; expected text"),
    "colons": ((HEADER + ROWS).replace(",", ":"), "missing column `track_id`"),
    "ragged": (HEADER.replace(",", ";") + "a;b\n", "line 2: 2 cells, but the header has 5; the delimiter is `;`."),
    "open quote": (HEADER + 'a,"b,c,1,0\n' + ROWS, "lines 2 to 4: not a well-formed table: unexpected end of data."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_layout_is_refused_with_its_delimiter_and_line(tmp_path: Path, case: str) -> None:
    text, message = REFUSED[case]
    write_table(tmp_path, rows())
    (tmp_path / "tracks.csv").write_text(text, newline="")
    with pytest.raises(TagscaleError) as caught:
        read(tmp_path)
    assert message in str(caught.value)


def test_decimal_commas_make_no_column_vanish(tmp_path: Path) -> None:
    write_table(tmp_path, [row | {"energy": "0,5"} for row in rows(3)])
    with pytest.raises(
        TagscaleError, match=r"decimal commas in column `energy`: line 2 `0,5`, .*write decimals with a"
    ):
        read(tmp_path, tags=None)
    write_table(tmp_path, [row | {"note": "see page 1,2 or 3"} for row in rows(3)])
    assert "note" not in read(tmp_path, tags=None).labels


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path: Path) -> None:
    write_table(tmp_path, rows())
    (tmp_path / "tracks.csv").write_bytes((HEADER + ROWS + "3,c.wav,Bj\xf6rk,1,1\n").encode("latin-1"))
    with pytest.raises(TagscaleError, match=r"line 4: byte 0xf6 at its place 11 is not UTF-8 text .*Save it as UTF-8"):
        read(tmp_path)


def test_a_name_means_its_column_before_any_pattern(tmp_path: Path) -> None:
    table = [row | {"rock [live]": "1", "rock*": "0", "rocky": "1", "007": "0", "yes": "1"} for row in rows(2)]
    kinds = {"rock*": "regression", "*": "ignore", "rock [live]": "classification", "rocky": "classification"}
    tags = "columns:\n" + "".join(f'  "{name}": {{kind: {kind}}}\n' for name, kind in kinds.items())
    write_table(tmp_path, table)
    (tmp_path / "tags.yaml").write_text(tags + "  007: {kind: classification}\n  yes: {kind: regression}\n")
    assert read(tmp_path).tags["kind"].to_dict() == {
        "rock [live]": "classification",
        "rock*": "regression",
        "rocky": "classification",
        "007": "classification",
        "yes": "regression",
    }


def test_names_have_one_form(tmp_path: Path) -> None:
    table = [
        row | {"artist": artist, "na\u00efve\u00a0art": "1", "genre": genre}
        for row, artist, genre in zip(
            rows(4),
            ["Bj\u00f6rk", "Bjo\u0308rk ", "\u200bBj\u00f6rk", "bj\u00f6rk"],
            ["caf\u00e9 noir", "cafe\u0301\u2003noir", "", "caf\u00e9\u200b noir"],
            strict=True,
        )
    ]
    tags = {
        "columns": {
            "nai\u0308ve art": {"kind": "classification"},
            "genre": {"kind": "category"},
            "*": {"kind": "ignore"},
        }
    }
    write_table(tmp_path, table, tags)
    catalog = read(tmp_path)
    assert catalog.tracks["artist"].tolist() == ["Bj\u00f6rk"] * 3 + ["bj\u00f6rk"]
    assert catalog.tags.index.tolist() == ["na\u00efve art", "genre_caf\u00e9_noir"]


def test_names_that_are_one_are_refused(tmp_path: Path) -> None:
    write_table(tmp_path, [rows(2)[0], rows(2)[1] | {"track_id": "song00\u200b"}])
    with pytest.raises(TagscaleError, match="track_id used more than once: line 2 `song00`, line 3 `song00`"):
        read(tmp_path)
    write_table(tmp_path, [row | {"caf\u00e9": "1", "cafe\u0301": "0"} for row in rows(2)])
    with pytest.raises(TagscaleError, match="more than one column is named caf\u00e9"):
        read(tmp_path)
    two = {"columns": {**TAGS["columns"], "rock\u00a0": {"kind": "regression"}}}
    write_table(tmp_path, rows(2), two)
    with pytest.raises(TagscaleError, match=r"tags\.yaml: two entries are named `rock`"):
        read(tmp_path)


def test_a_tag_cannot_have_the_name_of_a_column_of_tracks(tmp_path: Path) -> None:
    write_table(
        tmp_path,
        [row | {"title": "1"} for row in rows(2)],
        {"columns": {"title": {"kind": "classification"}, **TAGS["columns"]}},
    )
    with pytest.raises(TagscaleError, match="`title` is no tag: the table's column of that name is about the tracks"):
        read(tmp_path)


BAD_TABLES = {
    "empty": ("", "empty; expected a header"),
    "header only": ("track_id,path,artist,rock\n", "a header without rows"),
    "blank rows": ("track_id,path,artist,rock\n\n\n", "a header without rows"),
    "no tags": ("track_id,path,artist\na,b,c\n", "no tag column"),
    "too many cells": ("track_id,path,artist,rock\na,b,c,1\nb,c,x, y,1\n", "line 3: 5 cells, but the header has 4"),
    "too few cells": ("track_id,path,artist,rock\na,b,c\n", "line 2: 3 cells, but the header has 4"),
    "unnamed column": ("track_id,path,,artist\na,b,,c\n", "column 3 of the header has no name"),
    "same column twice": ("track_id,path,artist,rock,rock\na,b,c,1,1\n", "more than one column is named rock"),
    "too many columns": ("track_id,path,artist," + ",".join(map(str, range(100_000))) + "\n", "100,003 columns"),
    "open quote": ('track_id,path,artist,rock\na,"b,c,1\n', "not a well-formed table"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_tables(tmp_path: Path, case: str) -> None:
    text, message = BAD_TABLES[case]
    write_table(tmp_path, rows(), {"columns": {}})
    (tmp_path / "tracks.csv").write_text(text)
    with pytest.raises(TagscaleError) as caught:
        read(tmp_path)
    assert str(tmp_path / "tracks.csv") in str(caught.value)
    assert message in str(caught.value)


def test_lines_are_counted_over_quoted_line_breaks(tmp_path: Path) -> None:
    text = 'track_id,path,artist,title,rock,energy\na,a.wav,x,"one\ntwo\nthree",1,0\n\nb,b.wav,x,,2,0\n'
    write_table(tmp_path, rows())
    (tmp_path / "tracks.csv").write_text(text)
    with pytest.raises(TagscaleError, match="line 6 `2`"):
        read(tmp_path)


def test_missing_and_unreadable_table(tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match=r"tracks\.csv: no such table\. Set dataset\.root"):
        read(tmp_path)
    (tmp_path / "tracks.csv").write_bytes("track_id,path,artist\na,b,Ä".encode("latin-1"))
    with pytest.raises(TagscaleError, match=r"not UTF-8 text.*Save it as UTF-8"):
        read(tmp_path)


def test_two_columns_that_make_one_tag(tmp_path: Path) -> None:
    table = [row | {"genre": "rock", "genre_rock": "1"} for row in rows()]
    tags = {"columns": {"genre": {"kind": "category"}, "genre_*": {"kind": "classification"}, **TAGS["columns"]}}
    write_table(tmp_path, table, tags)
    with pytest.raises(TagscaleError, match="make the tag `genre_rock`; rename one"):
        read(tmp_path)


text = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8).map(normalised)
label = st.one_of(st.just(""), st.sampled_from(["0", "1"]), st.floats(0, 1).map(repr))
row = st.fixed_dictionaries({"artist": text, "title": text, "rock": label, "energy": label})


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(text.filter(bool), row, min_size=1, max_size=8))
def test_what_is_written_is_read(tracks: dict[str, dict[str, str]]) -> None:
    table = [{"track_id": track, "path": f"{i}.wav"} | cells for i, (track, cells) in enumerate(tracks.items())]
    with tempfile.TemporaryDirectory() as root:
        write_table(Path(root), table)
        catalog = read(Path(root))
        catalog.save(Path(root) / "catalog")
        assert Catalog.load(Path(root) / "catalog").hash == catalog.hash
    assert catalog.tracks["track_id"].tolist() == sorted(tracks)
    for track, path in zip(catalog.tracks["track_id"], catalog.tracks["path"], strict=True):
        assert table[int(path.removesuffix(".wav"))]["track_id"] == track
    for tag in ("rock", "energy"):
        cells = [tracks[track][tag] for track in sorted(tracks)]
        expected = np.array([float(cell) if cell else np.nan for cell in cells], np.float32)
        np.testing.assert_array_equal(catalog.labels[tag], expected)
    for column in ("artist", "title"):
        for track, found in zip(catalog.tracks["track_id"], catalog.tracks[column], strict=True):
            assert found == tracks[track][column]


GROUPS = {  # of the paper's private dataset (section 3); how many tags each has is made up, 139 in all
    **{"meter": 6, "feel": 9, "harmony": 8, "mood": 12, "vocals": 15, "instrumentation": 25, "sonority": 12},
    **{"genre": 14, "subgenre": 38},
}


def private_table(tracks: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """139 tags in groups: genres and meters exclude each other, even ones of the other groups are regression tags."""
    names = {group: [f"{group}_{i}" for i in range(count)] for group, count in GROUPS.items()}
    table: list[dict[str, Any]] = []
    for track in range(tracks):
        cells: dict[str, str] = {}
        for group, tags in names.items():
            for i, tag in enumerate(tags):
                alone = group in ("meter", "genre") or i % 2
                cells[tag] = str(int((track + i) % len(tags) == 0)) if alone else f"{(track * 7 + i) % 101 / 100}"
        table.append({"track_id": f"t{track:03}", "path": f"{track:03}.mp3", "artist": f"a{track % 9}", **cells})
    columns: dict[str, Any] = {}
    for group in GROUPS:
        kind = {"kind": "classification", "group": group}
        if group in ("meter", "genre"):
            columns[f"{group}_*"] = kind | {"exclusive": group}
        else:
            columns |= {f"{group}_*[13579]": kind, f"{group}_*": {"kind": "regression", "group": group}}
    return table, {"columns": columns}


def test_the_private_format_of_the_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_table, "CHUNK_ROWS", 7)
    table, tags = private_table(40)
    table[3]["mood_1"] = ""
    write_table(tmp_path, table, tags)
    catalog = read(tmp_path)
    assert catalog.labels.shape == (40, 139)
    assert catalog.tags["group"].value_counts().to_dict() == GROUPS
    assert catalog.tags["exclusive"].value_counts().to_dict() == {"": 119, "genre": 14, "meter": 6}
    assert catalog.tags.loc["mood_1", "kind"] == "classification"
    assert catalog.tags.loc["mood_2", "kind"] == "regression"
    genres = catalog.labels[[tag for tag in catalog.labels if tag.startswith("genre_")]]
    assert (genres.sum(axis=1) == 1).all()
    assert np.isnan(catalog.labels.loc["t003", "mood_1"])
    expected = [[float(row[tag] or "nan") for tag in catalog.labels] for row in table]
    np.testing.assert_array_equal(catalog.labels, np.array(expected, np.float32))


def test_wrong_labels_are_counted_across_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_table, "CHUNK_ROWS", 3)
    write_table(tmp_path, [row | {"rock": "1_0" if i % 2 else "0"} for i, row in enumerate(rows(20))])
    places = "line 3 `1_0`, line 5 `1_0`, line 7 `1_0`, line 9 `1_0`, line 11 `1_0` and 5 more"
    with pytest.raises(TagscaleError, match=f"tag column `rock` that is no number from 0 to 1: {places}"):
        read(tmp_path)


def test_artist_ids_recordings_and_faults(tmp_path: Path) -> None:
    more = [
        {"artist_id": "7", "recording": "r1", "fault": ""},
        {"artist_id": "8", "recording": "r1", "fault": "clipped"},
        {"artist_id": "", "recording": "", "fault": ""},
    ]
    write_table(tmp_path, [row | {"artist": "Nirvana"} | extra for row, extra in zip(rows(3), more, strict=True)])
    for tags in ("tags.yaml", None):
        tracks = read(tmp_path, tags).tracks
        assert tracks["artist"].tolist() == ["7", "8", "Nirvana"]
        assert tracks["recording"].tolist() == ["r1", "r1", ""]
        assert tracks["fault"].tolist() == ["", "clipped", ""]
        assert "artist_id" not in read(tmp_path, tags).tags.index


def test_gzipped_table(tmp_path: Path) -> None:
    write_table(tmp_path, rows())
    packed = gzip.compress((tmp_path / "tracks.csv").read_bytes())
    dataset = user_settings(dataset={"name": "mine", "table": "tracks.csv.gz", "tags": "tags.yaml"}).dataset
    (tmp_path / "tracks.csv.gz").write_bytes(packed)
    assert folder.read(tmp_path, dataset).hash == read(tmp_path).hash
    (tmp_path / "tracks.csv.gz").write_bytes(packed[:-20])
    with pytest.raises(TagscaleError, match="not a whole gzip file"):
        folder.read(tmp_path, dataset)


def test_magnatune160() -> None:
    root = SHARED / "magnatune160"
    if not root.is_dir():
        pytest.skip(f"real music not there: {root} (set TAGSCALE_SHARED_DATA)")
    catalog = read(root, str(ROOT / "presets" / "magnatune160.tags.yaml"))
    assert (len(catalog.tracks), catalog.tracks["artist"].nunique()) == (160, 45)
    assert catalog.tags["group"].value_counts().to_dict() == {"magnatagatune": 50, "mood": 9, "genre": 4}
    source = pd.read_csv(root / "tracks.csv").set_index("track_id").sort_index()
    np.testing.assert_allclose(catalog.labels["mtt_guitar"], source["mtt_guitar"].to_numpy(np.float32))
    assert catalog.labels["genre_rock"].sum() == (source["genre"] == "rock").sum()
