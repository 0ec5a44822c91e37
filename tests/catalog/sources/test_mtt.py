"""MagnaTagATune's files, made up in their format and real where they are present, become the published splits."""

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tagscale.catalog.sources import mtt, read
from tagscale.catalog.tables import Catalog
from tagscale.runtime.errors import TagscaleError
from tagscale.validation.leaks import artist_filtered, as_json, crossings
from user_folder import ROOT, settings

REAL = Path(os.environ.get("TAGSCALE_SHARED_DATA", ROOT / ".." / "shared" / "data")) / "mtt"
real = pytest.mark.skipif(not REAL.is_dir(), reason="MagnaTagATune's annotations are not here (TAGSCALE_SHARED_DATA)")
TAGS = [f"tag {i:02}" for i in range(52)]
Rows = list[dict[str, str]]


def catalog(root: Path, split: str | None = None, tags: str | None = None) -> Catalog:
    return read(root, settings(dataset={"name": "mtt", "source": "mtt", "split": split, "tags": tags}).dataset)


def write(root: Path, change: Callable[[Rows, Rows], None] = lambda annotations, clips: None) -> None:
    """48 clips by 12 artists, three in each of the folders 0 to f; clip 35644 is the last. Tags 00 and 01 are rare."""
    annotations, clips = [], []
    for i in range(48):
        clip, path = "35644" if i == 47 else str(i + 2), f"{i // 3:x}/song{i}-0-29.mp3"
        labels = {tag: str(int(k > 1 and i % 3 < 2)) for k, tag in enumerate(TAGS)}
        annotations.append({"clip_id": clip, **labels, "mp3_path": path})
        facts = {
            "title": f"song {i}",
            "artist": f"artist {i % 12}",
            "album": f"album {i % 24}",
            "original_url": f"u{i}",
        }
        clips.append({"clip_id": clip, **facts, "mp3_path": path})
    annotations[2]["tag 00"] = "1"
    clips.append(clips[0] | {"clip_id": "99", "mp3_path": ""})  # not annotated, as 5,519 of the real ones are
    change(annotations, clips)
    for name, table in ((mtt.ANNOTATIONS, annotations), (mtt.CLIPS, clips)):
        with open(root / name, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]), delimiter="\t", quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(table)


def test_tracks_and_labels(tmp_path: Path) -> None:
    write(tmp_path)
    found = catalog(tmp_path)
    tracks = found.tracks.set_index("track_id")
    assert len(tracks) == 48
    assert tracks.loc["2", "path":"title"].tolist() == ["0/song0-0-29.mp3", "artist 0", "album 0", "u0", "song 0"]
    assert (tracks["seconds"] == 29.1).all()
    assert tracks.index[tracks["fault"] != ""].tolist() == ["35644"]
    assert sorted(found.labels.columns) == TAGS[2:]
    assert catalog(tmp_path, tags="all").labels.columns.tolist() == TAGS
    assert catalog(tmp_path, tags="all").labels.loc["4", ["tag 00", "tag 02"]].tolist() == [1, 0]


def test_splits_by_folder(tmp_path: Path) -> None:
    write(tmp_path)
    original = catalog(tmp_path).tracks.set_index("track_id")["split"]
    assert original.value_counts(dropna=False).to_dict() == {"train": 36, "valid": 3, "test": 8, None: 1}
    assert original[["37", "38", "40", "41"]].tolist() == ["train", "valid", "valid", "test"]
    clean = catalog(tmp_path, "clean").tracks.set_index("track_id")["split"]
    assert clean.value_counts().to_dict() == {"train": 23, "valid": 2, "test": 6}  # 29 is in no clean list
    assert clean["4"] is None  # its one tag is not among the top 50
    assert catalog(tmp_path, "stratified").split is None


def test_artist_split_keeps_artists_whole_for_both_tag_sets(tmp_path: Path) -> None:
    write(tmp_path)
    found = catalog(tmp_path, "artist")
    assert artist_filtered(crossings(found.tracks))
    assert set(found.tracks["split"].dropna()) == {"train", "valid", "test"}
    assert found.split_hash == catalog(tmp_path, "artist", "all").split_hash
    write(tmp_path, lambda annotations, clips: annotations.reverse())
    assert found.split_hash == catalog(tmp_path, "artist").split_hash


def test_audio_in_a_folder(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "mp3" / "f").mkdir(parents=True)
    assert catalog(tmp_path).tracks["path"][0].startswith("mp3/")
    (tmp_path / "f").mkdir()
    assert not catalog(tmp_path).tracks["path"][0].startswith("mp3/")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a, c: a[3].update(clip_id="2"),
            "annotations_final.csv: clip_id used more than once: line 2 `2`, line 5",
        ),
        (lambda a, c: c[3].update(clip_id="2"), "clip_info_final.csv: clip_id used more than once: line 2 `2`, line 5"),
        (lambda a, c: a[3].update({"tag 07": "yes"}), "value of `tag 07` that is no number from 0 to 1: line 5 `yes`"),
        (lambda a, c: a[3].update({"tag 07": "2"}), "value of `tag 07` that is no number from 0 to 1: line 5 `2`"),
        (lambda a, c: a[3].update({"tag 07": ""}), "no label of `tag 07`: line 5"),
        (lambda a, c: a[3].update(mp3_path="/etc/a.mp3"), "path outside the dataset's folder: line 5 `/etc/a.mp3`"),
        (lambda a, c: a[3].update(mp3_path="../a.mp3"), "path outside the dataset's folder: line 5 `../a.mp3`"),
        (lambda a, c: a[3].update(mp3_path="x/a.mp3"), "mp3_path in no folder 0 to f: line 5 `x/a.mp3`"),
        (lambda a, c: c.pop(3), "clip_id that clip_info_final.csv does not have: line 5 `5`"),
        (lambda a, c: [row.pop("tag 51") and row.pop("tag 50") and row.pop("tag 49") for row in a], "49 tag columns"),
    ],
)
def test_bad_input(tmp_path: Path, change: Callable[[Rows, Rows], None], message: str) -> None:
    write(tmp_path, change)
    with pytest.raises(TagscaleError, match=message):
        catalog(tmp_path)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match=r"annotations_final\.csv: no such file, nor .*Set dataset\.root to"):
        catalog(tmp_path)
    write(tmp_path)
    (tmp_path / mtt.CLIPS).write_text("")
    with pytest.raises(TagscaleError, match=r"clip_info_final\.csv: empty"):
        catalog(tmp_path)


@real
def test_real_original_split_and_its_leak() -> None:
    found = catalog(REAL)
    assert len(found.tracks) == 25_863
    assert found.tracks["split"].value_counts().to_dict() == {"train": 18_706, "valid": 1_825, "test": 5_329}
    assert sorted(found.tracks.loc[found.tracks["fault"] != "", "track_id"]) == ["35644", "55753", "57881"]
    assert found.labels.sum().astype(int).iloc[[0, -1]].to_dict() == {"guitar": 4_852, "choral": 490}
    numbers = as_json(crossings(found.tracks))
    assert (numbers["test_artists"], numbers["test_artists_in_train"]) == (75, 45)
    assert (numbers["test_tracks"], numbers["test_tracks_by_train_artists"]) == (5_329, 3_284)
    assert numbers["test_albums_in_train"] == numbers["test_recordings_in_train"] == 0


@real
def test_real_clean_split_is_the_published_one() -> None:
    found = catalog(REAL, "clean", "all")
    assert len(found.tags) == 188
    published = pd.read_csv(REAL / "clean_split.csv.gz", dtype=str).set_index("clip_id")["split"].to_dict()
    computed = found.tracks.dropna(subset="split").set_index("track_id")["split"].to_dict()
    assert computed == published
    assert pd.Series(computed).value_counts().to_dict() == {"train": 15_244, "valid": 1_529, "test": 4_332}


@real
def test_real_artist_split() -> None:
    found = catalog(REAL, "artist")
    assert found.split_hash == "3d2d513ad8f0"  # it must never change: results on it would not be comparable
    assert artist_filtered(crossings(found.tracks))
    parts = found.tracks["split"].to_numpy(object)
    assert {part: int((parts == part).sum()) for part in mtt.PARTS} == {"train": 18_717, "valid": 1_809, "test": 5_334}
    values = found.labels.to_numpy()
    prevalence = {part: values[parts == part].mean(axis=0) for part in mtt.PARTS}
    assert np.abs(prevalence["train"] - prevalence["test"]).mean() < 0.006  # the original split's: 0.011
    assert min(values[parts == part].sum(axis=0).min() for part in mtt.PARTS) >= 10  # the original split's: 3
