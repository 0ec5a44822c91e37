"""MSD's split in both of its forms becomes the same catalog; nothing of its pickles is executed."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagscale.catalog.sources import msd, plain_pickle
from tagscale.catalog.tables import Catalog
from tagscale.runtime.errors import TagscaleError
from user_folder import ROOT, settings

SHARED = Path(os.environ.get("TAGSCALE_SHARED_DATA", ROOT / ".." / "shared" / "data"))
IDS = [f"TRAB{letter}GW12903CD5E6{i}" for i, letter in enumerate("CDEFGH")]
PART = {"train": IDS[:3], "valid": IDS[3:4], "test": IDS[4:]}
TAGS = ["rock", "pop", "female vocalists"]
VALUES = np.random.default_rng(1).integers(0, 2, (6, 3)).astype(np.float64)
SEVEN = {track: str(8_985_987 + 11 * i) for i, track in enumerate(IDS)}


def read(root: Path, variant: str | None = None, split: str | None = None) -> Catalog:
    dataset = {"name": "msd", "source": "msd", "tags": None, "variant": variant, "split": split}
    return msd.read(root, settings(dataset=dataset).dataset)


def write_tags(root: Path) -> None:
    (root / "50tagList.txt").write_text("Rock\npop\nfemale vocalists\n")


def dump(path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content, 2))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test reads often: a process of its own takes a second to start."""
    monkeypatch.setattr(plain_pickle, "in_bounds", lambda reader, path: reader(path))


@pytest.fixture
def pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(msd, "TRAINING", 3)
    write_tags(tmp_path)
    dump(tmp_path / "msd_id_to_tag_vector.cP", {i: v[:, None] for i, v in zip(IDS, VALUES, strict=True)})
    dump(tmp_path / "filtered_list_train.cP", PART["train"] + PART["valid"])
    dump(tmp_path / "filtered_list_test.cP", PART["test"])
    dump(tmp_path / "MSD_id_to_7D_id.pkl", SEVEN)
    dump(tmp_path / "7D_id_to_path.pkl", {s: f"{s[0]}/{s[1]}/{s}.clip.mp3" for s in SEVEN.values()})
    return tmp_path


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    write_tags(tmp_path)
    for part, ids in PART.items():
        (tmp_path / f"{part}_x_msd_id.txt").write_text("\n".join(ids) + "\n")
        (tmp_path / f"{part}_x_7d_id.txt").write_text("\n".join(SEVEN[track] for track in ids) + "\n")
        np.save(tmp_path / f"{part}_y.npy", VALUES[[IDS.index(track) for track in ids]])
    return tmp_path


@pytest.fixture(params=["pickles", "arrays"])
def either(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def test_both_forms_are_the_same_catalog(either: Path) -> None:
    catalog = read(either)
    assert catalog.tracks["track_id"].tolist() == sorted(IDS)
    for part, ids in PART.items():
        assert set(catalog.tracks.loc[catalog.tracks["split"] == part, "track_id"]) == set(ids)
    assert list(catalog.labels) == TAGS
    np.testing.assert_array_equal(catalog.labels.loc[IDS], VALUES)
    assert catalog.split == msd.SPLITS["original"]
    assert (catalog.tracks["artist"] == "").all()
    assert read(either, split="stratified").tracks["split"].isna().all()


def test_both_layouts_of_previews(either: Path) -> None:
    first = IDS[0]
    assert read(either).tracks.set_index("track_id").loc[first, "path"] == "8/9/8985987.clip.mp3"
    msd_path = read(either, "msd").tracks.set_index("track_id").loc[first, "path"]
    assert msd_path == f"{first[2]}/{first[3]}/{first[4]}/{first}.mp3"


def test_artists_where_they_are_known(either: Path) -> None:
    (either / "unique_tracks.txt").write_text(f"{IDS[0]}<SEP>SOXXX<SEP>Nina<SEP>A Song\n", encoding="utf-8")
    row = read(either).tracks.set_index("track_id").loc[IDS[0]]
    assert (row["artist"], row["title"]) == ("Nina", "A Song")
    (either / "unique_tracks.txt").write_text("TRXXX,Nina\n")
    with pytest.raises(TagscaleError, match=r"unique_tracks\.txt, line 1: 1 cells, expected 4"):
        read(either)


class Hostile:
    def __reduce__(self) -> Any:
        return (os.system, ("touch executed",))


def test_nothing_of_the_labels_is_executed(pickles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pickles)
    dump(pickles / "msd_id_to_tag_vector.cP", {IDS[0]: Hostile()})
    with pytest.raises(TagscaleError, match=r"msd_id_to_tag_vector\.cP: .*posix.system"):
        read(pickles)
    np.save(pickles / "train_y.npy", np.array([Hostile()], object), allow_pickle=True)
    assert not (pickles / "executed").exists()


@pytest.mark.usefixtures("in_this_process")
def test_bad_pickles(pickles: Path) -> None:
    labels = dict(zip(IDS, VALUES, strict=True))

    def refused(name: str, content: Any, message: str) -> None:
        before = (pickles / name).read_bytes()
        dump(pickles / name, content)
        with pytest.raises(TagscaleError) as caught:
            read(pickles)
        assert name in str(caught.value)
        assert message in str(caught.value)
        (pickles / name).write_bytes(before)

    refused("filtered_list_test.cP", [], "expected a list of track ids")
    refused("msd_id_to_tag_vector.cP", [1, 2], "expected a dict")
    refused("msd_id_to_tag_vector.cP", {IDS[0]: VALUES[0]}, "no labels of 5 tracks")
    refused("msd_id_to_tag_vector.cP", labels | {IDS[1]: VALUES[1] * 3 + 1}, "label outside [0, 1]")
    refused("msd_id_to_tag_vector.cP", labels | {IDS[1]: VALUES[1][:2]}, "not every track has 3 labels")
    refused("msd_id_to_tag_vector.cP", labels | {IDS[1]: "rock"}, "not every track has 3 labels")
    tenfold: Any = [0.0] * 3
    for _ in range(6):
        tenfold = [tenfold] * 10  # a million values, once and again
    refused("msd_id_to_tag_vector.cP", labels | {IDS[1]: tenfold}, "not every track has 3 labels")
    refused("7D_id_to_path.pkl", {SEVEN[IDS[0]]: tenfold}, "holds a list in place of an id or a path")
    refused("MSD_id_to_7D_id.pkl", {IDS[0]: 10**5000}, "holds a int in place of an id or a path")
    refused("7D_id_to_path.pkl", {SEVEN[IDS[0]]: "/etc/passwd"}, "path outside the dataset's folder")
    refused("7D_id_to_path.pkl", {SEVEN[IDS[0]]: "../x.mp3"}, "path outside the dataset's folder")
    (pickles / "filtered_list_test.cP").write_bytes(b"")
    with pytest.raises(TagscaleError, match=r"filtered_list_test\.cP: "):
        read(pickles)


def test_an_id_twice(pickles: Path) -> None:
    dump(pickles / "filtered_list_test.cP", [*PART["test"], IDS[0]])
    with pytest.raises(TagscaleError, match="track_id used more than once"):
        read(pickles)


def test_bad_arrays(arrays: Path) -> None:
    np.save(arrays / "test_y.npy", VALUES[:1])
    with pytest.raises(TagscaleError, match=r"test_y\.npy: \(1, 3\) of float64, expected \(2, 3\) numbers"):
        read(arrays)
    np.save(arrays / "test_y.npy", np.array([["a"] * 3] * 2))
    with pytest.raises(TagscaleError, match=r"test_y\.npy: .*expected"):
        read(arrays)
    np.save(arrays / "test_y.npy", np.array([Hostile()] * 2, object), allow_pickle=True)
    with pytest.raises(TagscaleError, match=r"test_y\.npy: not an array of numbers"):
        read(arrays)
    (arrays / "test_y.npy").write_bytes(b"")
    with pytest.raises(TagscaleError, match=r"test_y\.npy: not an array of numbers"):
        read(arrays)


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(4611686018427387904, 4)", "(1, 2", "(((((", "(True, 3)"])
def test_arrays_whose_header_lies(arrays: Path, shape: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    (arrays / "test_y.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(48))
    with pytest.raises(TagscaleError, match=r"test_y\.npy: not an array of numbers"):
        read(arrays)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match=r"50tagList\.txt: no such file"):
        read(tmp_path)
    write_tags(tmp_path)
    with pytest.raises(TagscaleError, match=r"neither msd_id_to_tag_vector\.cP nor any of train_y\.npy"):
        read(tmp_path)


def test_the_real_samples() -> None:
    root = SHARED / "msd"
    if not root.is_dir():
        pytest.skip(f"real lists not there: {root} (set TAGSCALE_SHARED_DATA)")
    catalog = read(root)
    assert catalog.tracks["split"].value_counts().to_dict() == {"valid": 50, "test": 50} or len(catalog.tracks) == 400
    assert len(catalog.tags) == 50
    by_id = catalog.tracks.set_index("track_id")
    assert by_id.loc["TRAAGWS12903CD5E61", "path"] == "8/9/8985987.clip.mp3"
    listed = [line.split("\t") for line in (root / "musicnn_val_gt_msd.tsv").read_text().splitlines()]
    known = [(track, text) for track, text in listed if track in catalog.labels.index]
    for track, text in known:
        assert catalog.labels.loc[track].astype(int).tolist() == [int(v) for v in text.strip("[]").split(",")]
