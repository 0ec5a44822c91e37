"""A catalog comes back as it was saved, and its hash is of the content alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tagscale.catalog.tables import TRACK_COLUMNS, Catalog, Split, artist_keys, catalog_of
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json


def make() -> Catalog:
    ids = ["a", "b", "c"]
    tracks = pd.DataFrame({"track_id": ids, "path": ["a.wav", "b.wav", "c.wav"], "artist": ["X", "NA", "None"]})
    split = pd.Series(["train", None, None], dtype=object)
    tracks = tracks.assign(
        album="", recording="", title="", seconds=[1.5, np.nan, 3.0], split=split, fault=["", "cut", ""]
    )
    labels = np.array([[0, 0.25], [1, np.nan], [np.nan, 1]], np.float32)
    tags = pd.DataFrame(
        {"group": ["g", "null"], "kind": ["classification", "regression"], "exclusive": ["set", ""]},
        index=pd.Index(["rock", "NA"], name="tag"),
    )
    return Catalog(
        "name",
        tracks,
        pd.DataFrame(labels, pd.Index(ids, name="track_id"), tags.index.tolist()),
        tags,
        Split("own", False),
    )


def test_round_trip(tmp_path: Path) -> None:
    catalog = make()
    catalog.save(tmp_path / "catalog", source="folder", root="music")
    loaded = Catalog.load(tmp_path / "catalog")
    pd.testing.assert_frame_equal(loaded.tracks, catalog.tracks, check_dtype=False)
    pd.testing.assert_frame_equal(loaded.labels, catalog.labels, check_index_type=False)
    pd.testing.assert_frame_equal(loaded.tags, catalog.tags, check_dtype=False)
    assert loaded.labels.dtypes.unique().tolist() == [np.dtype(np.float32)]
    assert loaded.hash == catalog.hash
    assert loaded.split == catalog.split
    facts = read_json(tmp_path / "catalog" / "dataset.json")
    assert len(facts.pop("sha256")) == 64
    assert facts.pop("files").keys() == {"labels.parquet", "tags.csv", "tracks.parquet"}
    assert facts == {
        "name": "name",
        "source": "folder",
        "root": "music",
        "hash": catalog.hash,
        "tracks": 3,
        "artists": 3,
        "split": {"name": "own", "artist_filtered": False, "hash": catalog.split_hash},
        "tags": 2,
    }


def test_files_are_the_same_every_time(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        make().save(tmp_path / folder)
    for file in ("tracks.parquet", "labels.parquet", "tags.csv", "dataset.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_hash_ignores_the_name_and_the_bits_of_nan() -> None:
    catalog = make()
    strange_nan = np.array([0xFFC00001], np.uint32).view(np.float32)[0]
    renamed = make()
    renamed.name = "other"
    renamed.labels.iloc[1, 1] = strange_nan
    assert renamed.hash == catalog.hash


@pytest.mark.parametrize("column", TRACK_COLUMNS)
def test_hash_sees_every_column_of_tracks(column: str) -> None:
    changed = make()
    changed.tracks.loc[1, column] = 9.0 if column == "seconds" else "test"
    assert changed.hash != make().hash


def test_hash_sees_labels_tags_and_cell_borders() -> None:
    hashes = {make().hash}
    for row, column, value in ((0, 0, 1), (2, 0, 0), (0, 1, np.nan)):
        changed = make()
        changed.labels.iloc[row, column] = value
        hashes.add(changed.hash)
    for column in ("group", "kind", "exclusive"):
        changed = make()
        changed.tags.iloc[1, changed.tags.columns.get_loc(column)] = "other"
        hashes.add(changed.hash)
    changed = make()
    changed.tracks["album"], changed.tracks["title"] = ["x", "", ""], ["", "", ""]
    hashes.add(changed.hash)
    changed = make()
    changed.tracks["album"], changed.tracks["title"] = ["", "", ""], ["x", "", ""]
    hashes.add(changed.hash)
    assert len(hashes) == 9


def test_missing_file_is_named(tmp_path: Path) -> None:
    make().save(tmp_path / "catalog")
    (tmp_path / "catalog" / "tags.csv").unlink()
    with pytest.raises(TagscaleError, match=r"tags\.csv: no such file\. Run `tagscale catalog` first"):
        Catalog.load(tmp_path / "catalog")


def test_a_catalog_of_what_a_source_knows() -> None:
    tracks = pd.DataFrame({"track_id": ["b", "a"], "path": ["b.mp3", "a.mp3"], "artist": ["X", ""]})
    labels = pd.DataFrame({"rock": [1, 0]})
    catalog = catalog_of("songs", tracks, labels, pd.DataFrame({"group": "tags"}, index=["rock"]), None)
    assert catalog.tracks["track_id"].tolist() == ["a", "b"]
    assert list(catalog.tracks) == TRACK_COLUMNS
    assert catalog.labels["rock"].to_dict() == {"a": 0, "b": 1}
    assert catalog.tags.loc["rock"].to_dict() == {"group": "tags", "kind": "classification", "exclusive": ""}
    assert artist_keys(catalog.tracks).tolist() == ["unknown artist of a", "X"]


def test_the_hash_of_a_split_is_of_its_lists_alone() -> None:
    one, other = make(), make()
    other.tracks["title"] = "another"
    assert one.split_hash == other.split_hash
    other.tracks.loc[1, "split"] = "test"
    assert one.split_hash != other.split_hash
