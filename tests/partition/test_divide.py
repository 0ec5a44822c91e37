"""Whole artists in parts of about the right size, nested training subsets, quality numbers that are true."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagscale.partition.divide import PARTS, Partition, divide
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json

SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}
KINDS = ["classification", "classification", "regression"]


def dataset(tracks: int, artists: int, seed: int = 0, missing: float = 0.1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tracks whose artists prefer tags: a common tag, a rarer fractional one and a regression one."""
    random = np.random.default_rng(seed)
    artist_of = np.concatenate([np.arange(artists), random.integers(0, artists, tracks - artists)])
    taste = random.random((artists, 3))
    labels = np.stack(
        [
            random.random(tracks) < taste[artist_of, 0],
            random.random(tracks) * taste[artist_of, 1],
            (taste[artist_of, 2] + random.random(tracks)) / 2,
        ],
        axis=1,
    )
    labels[random.random(labels.shape) < missing] = np.nan
    ids = pd.Index([f"t{i:05}" for i in range(tracks)], name="track_id")
    table = pd.DataFrame({"track_id": ids, "artist": [f"a{i}" for i in artist_of], "split": None})
    return table, pd.DataFrame(labels.astype(np.float32), ids, ["rock", "soft", "energy"])


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 40), st.integers(0, 200), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_invariants(artists: int, more: int, missing: float, seed: int) -> None:
    tracks, labels = dataset(artists + more, artists, seed, missing)
    partition, quality = divide(tracks, labels, KINDS, SHARES, seed)
    table = partition.table
    assert table["track_id"].tolist() == tracks["track_id"].tolist()  # everyone once
    assert table["artist"].tolist() == tracks["artist"].tolist()
    assert (table.groupby("artist")["part"].nunique() == 1).all()
    assert quality["artists_crossing"] == 0
    assert set(table["part"]) == set(PARTS)
    ranks = table.loc[table["part"] == "train", "rank"]
    assert sorted(ranks) == list(range(len(ranks)))
    assert (table.loc[table["part"] != "train", "rank"] == -1).all()
    again, _ = divide(tracks, labels, KINDS, SHARES, seed)
    assert again.hash == partition.hash
    whole = partition.training_subset("all")
    assert sorted(whole) == partition.tracks("train")
    for size in {1, len(ranks) // 2 + 1, len(ranks)}:
        assert partition.training_subset(size) == whole[:size]


def test_clips_of_one_recording_stay_together_where_the_artist_is_unknown() -> None:
    tracks, labels = dataset(120, 20)
    recordings = "r" + pd.Series(np.arange(120) // 4).astype(str)
    nameless = tracks.assign(artist="", recording=recordings.where(np.arange(120) < 100, ""))
    table = divide(nameless, labels, KINDS, SHARES, 0)[0].table
    assert (table["part"][:100].groupby(recordings[:100]).nunique() == 1).all()
    assert table["artist"].nunique() == 25 + 20
    clips = tracks.assign(recording="one")
    assert divide(clips, labels, KINDS, SHARES, 0)[0].hash == divide(tracks, labels, KINDS, SHARES, 0)[0].hash


def test_parts_have_their_share_and_their_tags() -> None:
    tracks, labels = dataset(1000, 160)
    partition, quality = divide(tracks, labels, KINDS, SHARES, 1)
    shares = partition.table["part"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.8, abs=0.01)
    assert shares["valid"] == pytest.approx(0.1, abs=0.01)
    assert quality["source"] == "stratified"
    assert quality["deviation"]["max"] < 0.03
    assert quality["deviation"]["mean"] < quality["deviation"]["random_mean"] / 3
    assert quality["no_positive"] == {"train": [], "valid": [], "test": []}
    # the numbers, computed plainly
    gaps = [
        max(means) - min(means)
        for tag in labels
        if (means := [labels[tag][(partition.table["part"] == part).to_numpy()].mean() for part in PARTS])
    ]
    assert quality["deviation"]["max"] == pytest.approx(max(gaps), abs=1e-5)
    assert quality["deviation"]["mean"] == pytest.approx(np.mean(gaps), abs=1e-5)


def test_seeds_and_hash() -> None:
    tracks, labels = dataset(300, 50)
    first, second = (divide(tracks, labels, KINDS, SHARES, seed)[0] for seed in (1, 2))
    assert first.hash != second.hash
    renamed = Partition(first.table, ["rock", "soft", "other"])
    moved = first.table.assign(rank=first.table["rank"].where(first.table["rank"] != 0, 1000))
    assert len({first.hash, renamed.hash, Partition(moved, first.tags).hash}) == 3


def test_a_tag_that_cannot_be_everywhere_is_named() -> None:
    tracks, labels = dataset(100, 20, missing=0)
    labels["rock"] = (tracks["artist"] == "a3").to_numpy(np.float32)
    _, quality = divide(tracks, labels, KINDS, SHARES, 1)
    without = [part for part in PARTS if "rock" in quality["no_positive"][part]]
    assert len(without) == 2
    assert "train" not in without


@pytest.mark.parametrize("artists", [1, 2])
def test_fewer_artists_than_parts(artists: int) -> None:
    tracks, labels = dataset(50, artists)
    with pytest.raises(TagscaleError, match=rf"has {artists} artist\(s\).*at least 3 are needed. Add tracks of other"):
        divide(tracks, labels, KINDS, SHARES, 1)


def test_the_datasets_own_split_wins() -> None:
    tracks, labels = dataset(60, 2)
    split = ["test", "valid", "train"] * 20
    partition, quality = divide(tracks.assign(split=split), labels, KINDS, SHARES, 1)
    assert partition.table["part"].tolist() == split
    assert quality["source"] == "split column"
    assert quality["artists_crossing"] == 2
    assert sorted(partition.table.loc[partition.table["part"] == "train", "rank"]) == list(range(20))


def test_tracks_outside_the_split_are_in_no_part() -> None:
    tracks, labels = dataset(6, 3)
    split = ["train", None, "valid", None, "test", "train"]
    partition, _ = divide(tracks.assign(split=split), labels, KINDS, SHARES, 1)
    assert partition.table["track_id"].tolist() == ["t00000", "t00002", "t00004", "t00005"]


def test_unusable_splits() -> None:
    tracks, labels = dataset(6, 3)
    with pytest.raises(TagscaleError, match="no usable track is for valid, test"):
        divide(tracks.assign(split="train"), labels, KINDS, SHARES, 1)


def test_training_sizes() -> None:
    tracks, labels = dataset(50, 10)
    partition, _ = divide(tracks, labels, KINDS, SHARES, 1)
    available = len(partition.tracks("train"))
    assert partition.training_subset("7") == partition.training_subset(7)
    assert set(partition.training_subset(available)) == set(partition.tracks("train"))
    with pytest.raises(TagscaleError, match=f"training size 999: the training part holds {available} tracks"):
        partition.training_subset(999)
    for wrong in (0, -3, "some", "1.5"):
        with pytest.raises(TagscaleError, match="expected a positive number of tracks or `all`"):
            partition.training_subset(wrong)


def test_round_trip(tmp_path: Path) -> None:
    tracks, labels = dataset(50, 10)
    partition, quality = divide(tracks, labels, KINDS, SHARES, 1)
    partition.save(tmp_path / "partition", quality)
    loaded = Partition.load(tmp_path / "partition")
    assert loaded.hash == partition.hash
    assert loaded.tracks("test") == partition.tracks("test")
    facts: dict[str, Any] = read_json(tmp_path / "partition" / "partition.json")
    assert facts["hash"] == partition.hash
    assert facts["counts"] == {part: len(partition.tracks(part)) for part in PARTS}
    assert sum(facts["artists"].values()) == 10
    assert facts["tags"] == ["rock", "soft", "energy"]
    assert set(facts["deviation"]) == {"max", "mean", "random_max", "random_mean"}
    (tmp_path / "partition" / "partition.json").unlink()
    with pytest.raises(TagscaleError, match=r"partition\.json: no such file\. Run `tagscale partition` first"):
        Partition.load(tmp_path / "partition")
