"""FMA's two-level table and its genre hierarchy, made up in their format."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tagscale.catalog.sources import fma
from tagscale.catalog.tables import Catalog, Split
from tagscale.runtime.errors import TagscaleError
from user_folder import settings

LEVELS = [
    ["", "album", "album", "artist", "artist", "set", "set", *["track"] * 5],
    ["", "id", "title", "id", "name", "split", "subset", "duration", "genre_top", "genres", "genres_all", "title"],
    ["track_id", *[""] * 11],
]
TRACKS = [
    ["2", "1", "Way", "7", "Awol", "training", "small", "168", "Hip-Hop", "[21]", "[21]", 'Food "1"'],
    ["3", "1", "Way", "7", "Awol", "training", "medium", "237", "Rock", "[25]", "[25, 12]", "Two\nlines"],
    ["20", "4", "Niris", "9", "Nicky", "test", "large", "311", "", "[76, 103]", "[76, 103]", "Spiritual"],
    ["098565", "4", "Niris", "8", "Nicky", "validation", "small", "30", "Rock", "[26]", "[26, 12]", ""],
    ["133", "5", "", "8", "Nicky", "validation", "large", "0", "", "[]", "[]", "x"],
]
GENRES = """genre_id,#tracks,parent,title,top_level
21,9,0,Hip-Hop,21
12,9,0,Rock,12
25,9,12,Punk,12
26,9,25,Punk,12
10,9,0,Pop,10
76,9,10,Experimental Pop,10
103,9,26,Singer-Songwriter,12
"""


def write(root: Path, tracks: list[list[str]] = TRACKS, genres: str = GENRES, levels: list[list[str]] = LEVELS) -> None:
    (root / "fma_metadata").mkdir(parents=True, exist_ok=True)
    with open(root / "fma_metadata" / "tracks.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([*levels, *tracks])
    (root / "fma_metadata" / "genres.csv").write_text(genres, encoding="utf-8")


def catalog(root: Path, **choice: str | None) -> Catalog:
    asked = {"name": "f", "source": "fma", "tags": None, "split": None, "variant": None} | choice
    return fma.read(root, settings(dataset=asked).dataset)


def test_tracks(tmp_path: Path) -> None:
    write(tmp_path)
    found = catalog(tmp_path)
    assert found.split == Split("fma", artist_filtered=True)
    assert found.tracks["track_id"].tolist() == ["000002", "098565"]
    assert found.tracks["split"].tolist() == ["train", "valid"]
    assert found.tracks["fault"].tolist() == ["", "listed by its authors as 1.6 s instead of 30 s"]
    expected = {"path": "fma_small/000/000002.mp3", "artist": "7", "album": "1", "title": 'Food "1"', "seconds": 30.0}
    assert found.tracks.loc[0, list(expected)].to_dict() == expected
    assert catalog(tmp_path, split="stratified").split is None


def test_variants_contain_each_other(tmp_path: Path) -> None:
    write(tmp_path)
    counts = {variant: len(catalog(tmp_path, variant=variant).tracks) for variant in fma.VARIANTS}
    assert counts == {"small": 2, "medium": 3, "large": 5, "full": 5}
    full = catalog(tmp_path, variant="full").tracks.set_index("track_id")
    assert full.loc["000003", ["path", "seconds"]].tolist() == ["fma_full/000/000003.mp3", 237.0]
    assert np.isnan(full.loc["000133", "seconds"])
    assert (full["fault"] == "").all()


def test_top_level_genres(tmp_path: Path) -> None:
    write(tmp_path)
    medium = catalog(tmp_path, variant="medium")
    assert medium.tags["exclusive"].to_dict() == {"Hip-Hop": "genre", "Rock": "genre"}
    assert medium.labels["Rock"].tolist() == [0, 1, 1]
    large = catalog(tmp_path, variant="large")
    assert large.tags["exclusive"].tolist() == [""] * 3
    assert large.labels.loc["000020"].to_dict() == {"Hip-Hop": 0, "Pop": 1, "Rock": 1}
    assert large.labels.loc["000133"].isna().all()


def test_every_genre_brings_its_ancestors(tmp_path: Path) -> None:
    write(tmp_path)
    found = catalog(tmp_path, variant="large", tags="all")
    assert found.tags["group"].to_dict() == {
        "Hip-Hop": "Hip-Hop",
        **{"Experimental Pop": "Pop", "Pop": "Pop"},
        **dict.fromkeys(["Punk (25)", "Punk (26)", "Rock", "Singer-Songwriter"], "Rock"),
    }
    row = found.labels.loc["098565"]
    assert set(row.index[row == 1]) == {"Punk (26)", "Punk (25)", "Rock"}
    row = found.labels.loc["000020"]
    assert set(row.index[row == 0]) == {"Hip-Hop"}


def changed(column: int, cell: str) -> list[list[str]]:
    return [[*TRACKS[0][:column], cell, *TRACKS[0][column + 1 :]], *TRACKS[1:]]


@pytest.mark.parametrize(
    ("tracks", "message"),
    [
        ([], "a header without rows"),
        ([TRACKS[0], TRACKS[0]], "track_id used more than once: line 4 `000002`, line 5 `000002`"),
        ([TRACKS[0], ["000002", *TRACKS[0][1:]]], "track_id used more than once"),
        (changed(0, "../2"), "track_id that is no number of up to 6 digits: line 4 `../2`"),
        (changed(0, "/2"), "track_id that is no number"),
        (changed(5, "dev"), "unknown set.split: line 4 `dev`; expected one of training, validation, test"),
        (changed(6, "tiny"), "unknown set.subset: line 4 `tiny`"),
        (changed(7, "long"), "value of `track.duration` that is no number .*: line 4 `long`"),
        (changed(8, "Punk"), "genre_top that is no top-level genre: line 4 `Punk`"),
        (changed(8, ""), "genre_top that is no top-level genre: line 4;"),
        (changed(10, "__import__('os')"), "genres_all that is no list: line 4"),
        (changed(10, "[0.5]"), r"genres_all that is no list: line 4 `\[0.5\]`"),
        (changed(10, "[999]"), r"genre that genres\.csv does not have: line 4 `\[999\]`"),
        ([TRACKS[2]], "no track is in the subset small"),
    ],
)
def test_bad_tracks(tmp_path: Path, tracks: list[list[str]], message: str) -> None:
    write(tmp_path, tracks)
    with pytest.raises(TagscaleError, match=message) as caught:
        catalog(tmp_path)
    assert str(tmp_path / "fma_metadata" / "tracks.csv") in str(caught.value)


@pytest.mark.parametrize(
    ("genres", "message"),
    [
        ("", r"genres\.csv: empty"),
        (GENRES + "12,9,0,Rock,12\n", "genre_id used more than once: line 3 `12`, line 9 `12`"),
        (GENRES + "99,9,98,New,12\n", "parent that is no genre: line 9 `98`"),
        (GENRES + "99,9,12,New,98\n", "top_level that is no genre: line 9 `98`"),
        (GENRES + "99,9,12,,12\n", "empty title: line 9"),
        (GENRES + "99,9,rock,New,12\n", "parent that is no id: line 9 `rock`"),
        (GENRES + "98,9,99,New,12\n99,9,98,Old,12\n", "genre 98 is its own ancestor"),
    ],
)
def test_bad_genres(tmp_path: Path, genres: str, message: str) -> None:
    write(tmp_path, genres=genres)
    with pytest.raises(TagscaleError, match=message):
        catalog(tmp_path)


def test_files_that_are_missing_or_something_else(tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match=r"tracks\.csv: no such file.*github\.com/mdeff/fma"):
        catalog(tmp_path)
    (tmp_path / "tracks.csv").write_text("")
    with pytest.raises(TagscaleError, match="expected three header lines"):
        catalog(tmp_path)
    (tmp_path / "tracks.csv").write_text(",album\n" + "x" * 200_000 + ",id\ntrack_id,\n")
    with pytest.raises(TagscaleError, match=r"tracks\.csv: not a well-formed table"):
        catalog(tmp_path)
    (tmp_path / "tracks.csv").write_text("track_id,genre\n1,rock\n2,rock\n3,rock\n")
    with pytest.raises(TagscaleError, match="expected three header lines"):
        catalog(tmp_path)
    levels = [[cell for i, cell in enumerate(row) if i != 9 and i != 10] for row in LEVELS]
    write(tmp_path, [row[:-2] for row in TRACKS], levels=levels)
    with pytest.raises(TagscaleError, match=r"missing column track\.genres_all"):
        catalog(tmp_path)
