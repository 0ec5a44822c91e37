"""What crosses a split, against counts by hand and by brute force; unknown keys are never the same."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagscale.validation.leaks import artist_filtered, as_json, crossings

COLUMNS = ["track_id", "artist", "album", "recording", "split"]


def tracks(*rows: tuple[str, str, str, str | None]) -> pd.DataFrame:
    """Tracks t0, t1 ... of artist, album, recording and split."""
    return pd.DataFrame([(f"t{i}", *row) for i, row in enumerate(rows)], columns=COLUMNS)


TRACKS = tracks(
    ("ann", "hits", "r1", "train"),
    ("ann", "hits", "r1", "test"),
    ("ann", "live", "r2", "test"),
    ("bob", "hits", "r3", "test"),
    ("bob", "hits", "r3", None),
    ("cid", "cid", "r4", "valid"),
    ("cid", "cid", "r5", "train"),
    ("", "hits", "", "test"),
    ("", "hits", "", "train"),
)


def test_by_hand() -> None:
    artist, album, recording = crossings(TRACKS)
    assert (artist.test_keys, artist.test_keys_in_train, artist.test_tracks, artist.test_tracks_by_train) == (
        2,
        1,
        4,
        2,
    )
    assert artist.unknown == album.unknown == recording.unknown == 1
    assert artist.crossing.index.tolist() == ["ann", "cid"]
    assert artist.crossing.loc["cid"].tolist() == [1, 1, 0]
    assert (album.test_keys, album.test_keys_in_train, album.test_tracks_by_train) == (3, 1, 1)
    assert (recording.test_keys, recording.test_keys_in_train, recording.test_tracks_by_train) == (3, 1, 1)


def test_numbers_by_name() -> None:
    numbers = as_json(crossings(TRACKS))
    assert numbers["test_tracks"] == 4
    assert (numbers["test_artists"], numbers["test_artists_in_train"]) == (2, 1)
    assert numbers["test_tracks_by_train_artists"] == 2
    assert (numbers["artists_in_train_and_valid"], numbers["artists_in_valid_and_test"]) == (1, 0)
    assert numbers["test_audio"] is numbers["test_audio_in_train"] is numbers["test_tracks_by_train_audio"] is None


def test_identical_audio() -> None:
    audio = pd.Series({"t0": "aa", "t3": "aa", "t2": "bb", "t4": "bb"})
    numbers = as_json(crossings(TRACKS, audio))
    assert (numbers["test_audio"], numbers["test_audio_in_train"], numbers["test_tracks_by_train_audio"]) == (2, 1, 1)
    assert numbers["test_tracks_without_audio"] == 2


def test_artist_filter_holds_only_without_a_common_artist() -> None:
    assert not artist_filtered(crossings(TRACKS))
    assert not artist_filtered(crossings(TRACKS[TRACKS["artist"] != "ann"]))  # cid is in train and valid
    assert artist_filtered(crossings(TRACKS[~TRACKS["artist"].isin(["ann", "cid"])]))


def test_a_split_without_tracks() -> None:
    numbers = as_json(crossings(TRACKS.assign(split=None)))
    assert numbers["test_tracks"] == numbers["test_artists"] == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.sampled_from(["train", "valid", "test", None]))))
def test_against_brute_force(rows: list[tuple[str, str | None]]) -> None:
    found = crossings(tracks(*((artist, "", "", split) for artist, split in rows)))[0]
    train = {artist for artist, split in rows if split == "train" and artist}
    test = [artist for artist, split in rows if split == "test"]
    assert found.test_keys_in_train == len(train & set(test))
    assert found.test_tracks_by_train == sum(artist in train for artist in test)
    assert found.unknown == test.count("")
    crossing = {a for a in "abc" if len({split for artist, split in rows if artist == a and split}) > 1}
    assert set(found.crossing.index) == crossing


@pytest.mark.slow
def test_a_million_tracks_take_seconds() -> None:
    random = np.random.default_rng(0)
    count = 1_200_000
    artist = pd.Series(random.integers(0, 90_000, count)).astype(str)
    table = pd.DataFrame({"track_id": np.arange(count).astype(str), "artist": artist, "album": artist, "recording": ""})
    table["split"] = random.choice(["train", "valid", "test"], count)
    start = time.process_time()
    found = crossings(table)
    assert time.process_time() - start < 30, "of this process: others do not count"
    assert found[0].test_keys_in_train > 80_000
