"""MTG-Jamendo's ragged lists, made up in their format and real where they are present."""

import os
from pathlib import Path

import pytest

from tagscale.catalog.sources import jamendo, read
from tagscale.catalog.tables import Catalog, Split
from tagscale.runtime.errors import TagscaleError
from tagscale.validation.leaks import artist_filtered, crossings
from user_folder import ROOT, settings

REAL = Path(os.environ.get("TAGSCALE_SHARED_DATA", ROOT / ".." / "shared" / "data")) / "jamendo"
real = pytest.mark.skipif(not REAL.is_dir(), reason="MTG-Jamendo's lists are not here (TAGSCALE_SHARED_DATA)")
HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
LISTS = {
    "train": "track_1\tartist_1\talbum_1\t41/241.mp3\t340.1\tgenre---rock\tmood/theme---dark\n"
    'track_2\tartist_1\talbum_1\t42/242.mp3\t248.5\tgenre---dark\tgenre---"pop"\n',
    "validation": "track_3\tartist_2\talbum_2\t43/243.mp3\t10\tinstrument---piano\n",
    "test": "track_4\tartist_3\talbum_3\t44/244.mp3\t10\tgenre---rock\n",
}


def catalog(root: Path, **choice: str | None) -> Catalog:
    return read(
        root, settings(dataset={"name": "j", "source": "jamendo", "tags": None, "split": None} | choice).dataset
    )


def write(folder: Path, name: str = "autotagging_top50tags", **changed: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in (LISTS | changed).items():
        (folder / f"{name}-{part}.tsv").write_text(HEADER + rows if rows else "", encoding="utf-8")


def test_tracks_and_labels(tmp_path: Path) -> None:
    write(tmp_path / "splits" / "split-0")
    found = catalog(tmp_path)
    assert found.split == Split("split-0", artist_filtered=True)
    assert found.tracks["split"].tolist() == ["train", "train", "valid", "test"]
    expected = {"track_id": "track_1", "path": "41/241.mp3", "artist": "artist_1", "album": "album_1", "seconds": 340.1}
    assert found.tracks.loc[0, list(expected)].to_dict() == expected
    groups = {"genre dark": "genre", '"pop"': "genre", "rock": "genre", "piano": "instrument", "mood dark": "mood"}
    assert found.tags["group"].to_dict() == groups
    assert found.labels.loc["track_1"].to_dict() == {tag: float(tag in ("rock", "mood dark")) for tag in groups}
    assert catalog(tmp_path, variant="low").tracks["path"][0] == "41/241.low.mp3"
    assert catalog(tmp_path, split="stratified").split is None


@pytest.mark.parametrize("place", ["splits/split-3", "data/splits/split-3", "split-3"])
@pytest.mark.parametrize("tags", jamendo.TAG_SETS)
def test_where_the_lists_lie(tmp_path: Path, place: str, tags: str) -> None:
    write(tmp_path / place, jamendo.FILES[tags])
    assert len(catalog(tmp_path, split="split-3", tags=tags).tracks) == 4
    with pytest.raises(TagscaleError, match=r"no autotagging\S*-train\.tsv \(nor \.gz\) of split-2\. Looked in"):
        catalog(tmp_path, split="split-2", tags=tags)


@pytest.mark.parametrize(
    ("test_list", "message"),
    [
        ("", r"-test\.tsv: empty"),
        ("track_9\ta\tb\t1/1.mp3\n", "-test.tsv, line 2: 4 cells, expected at least 5"),
        ("track_9\ta\tb\t1/1.mp3\t9\trock\n", "tag of no known group: line 2 `rock`"),
        ("track_9\ta\tb\t1/1.mp3\tlong\tgenre---rock\n", "value of `DURATION` that is no number .*line 2 `long`"),
        ("track_9\ta\tb\t/1/1.mp3\t9\tgenre---rock\n", "path outside the dataset's folder: line 2"),
        ("track_9\ta\tb\t../1.mp3\t9\tgenre---rock\n", "path outside the dataset's folder: line 2"),
        ("track_9\ta\tb\t1/1.wav\t9\tgenre---rock\n", "path that is no .mp3: line 2"),
        ("track_9\ta\tb\t1/1.mp3\t9\n" * 2, "TRACK_ID used more than once: line 2 `track_9`, line 3"),
        ("track_1\ta\tb\t1/1.mp3\t9\tgenre---rock\n", "1 tracks are in more than one list, track_1 for one"),
    ],
)
def test_bad_input(tmp_path: Path, test_list: str, message: str) -> None:
    write(tmp_path / "split-0", test=test_list)
    with pytest.raises(TagscaleError, match=message):
        catalog(tmp_path)


@real
def test_real_split_0() -> None:
    found = catalog(REAL / "full-split-0")
    assert found.tracks["split"].value_counts().to_dict() == {"train": 32_136, "valid": 10_888, "test": 11_356}
    assert found.labels.shape == (54_380, 50)
    assert artist_filtered(crossings(found.tracks))


@real
@pytest.mark.parametrize("tags", ["top50", "genre", "instrument", "mood"])
def test_real_samples_of_every_tag_set(tags: str) -> None:
    found = catalog(REAL, tags=tags)
    assert found.tracks["split"].value_counts().to_dict() == {"train": 120, "valid": 120, "test": 120}
    groups = set(found.tags["group"])
    assert groups == ({"genre", "instrument", "mood"} if tags == "top50" else {tags})
