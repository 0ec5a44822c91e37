"""The store gives back exactly what went in, from any thread or process, and refuses what is no whole store."""

import json
import os
import pickle
import tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seals import reseal
from stores import write_store
from tagscale.runtime.errors import TagscaleError
from tagscale.store.read import Store


def samples_of(track: int, count: int) -> np.ndarray:
    return np.random.default_rng(track).integers(-32768, 32768, count).astype(np.int16)


def write(folder: Path, lengths: list[int], shard_megabytes: int = 1) -> Store:
    tracks = (
        (f"t{track}", samples_of(track, count), {"audio_sha256": str(track), "rms_dbfs": -20.0 - track})
        for track, count in enumerate(lengths)
    )
    return Store.open(write_store(folder, tracks, shard_megabytes))


@settings(max_examples=25, deadline=None)
@given(st.data(), st.lists(st.integers(1, 400_000), min_size=1, max_size=6))
def test_every_excerpt_is_what_was_written(data: st.DataObject, lengths: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = write(Path(folder) / "store", lengths)
        assert store.track_ids == [f"t{track}" for track in range(len(lengths))]
        for track, length in enumerate(lengths):
            start = data.draw(st.integers(0, length))
            count = data.draw(st.integers(0, length - start))
            found = store.read(f"t{track}", start, count)
            assert store.samples(f"t{track}") == length
            assert found.dtype == np.int16
            np.testing.assert_array_equal(found, samples_of(track, length)[start : start + count])


def forgotten(folder: Path) -> None:
    """Drop the shards from the page cache, as far as the system does so when asked."""
    for file in folder.glob("*.bin"):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@settings(max_examples=25, deadline=None)
@given(st.data(), st.lists(st.integers(1, 400_000), min_size=1, max_size=6), st.booleans())
def test_a_batch_is_what_was_written(data: st.DataObject, lengths: list[int], cold: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = write(Path(folder) / "store", lengths)
        picked = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=12))  # tracks more than once, too
        starts = [data.draw(st.integers(0, lengths[track])) for track in picked]
        counts = [
            data.draw(st.integers(0, lengths[track] - start)) for track, start in zip(picked, starts, strict=True)
        ]
        room = np.full((len(picked), 400_002), 7, np.int16)
        if cold:
            forgotten(Path(folder) / "store")
        tracks = [f"t{track}" for track in picked]
        store.read_into(tracks, starts, [row[1 : 1 + count] for row, count in zip(room, counts, strict=True)])
        for row, track, start, count in zip(room, picked, starts, counts, strict=True):
            np.testing.assert_array_equal(row[1 : 1 + count], samples_of(track, lengths[track])[start : start + count])
            np.testing.assert_array_equal(row[1 : 1 + count], store.read(f"t{track}", start, count))
            assert row[0] == 7
            assert set(row[1 + count :].tolist()) == {7}  # nothing beside the excerpt was touched


def test_a_batch_with_one_excerpt_out_of_its_track_reads_nothing(tmp_path: Path) -> None:
    store = write(tmp_path, [100, 100])
    room = np.zeros((2, 10), np.int16)
    with pytest.raises(ValueError, match="track t1: samples 95 to 105"):
        store.read_into(["t0", "t1"], [0, 95], list(room))
    assert not room.any()


@pytest.mark.parametrize("opened", ["read before", "not read before"])
def test_a_shard_cut_while_open_is_an_error(tmp_path: Path, opened: str) -> None:
    store = write(tmp_path, [100_000, 100_000])
    if opened == "read before":
        store.read("t1", 0, 100_000)
    os.truncate(tmp_path / "shard-00000.bin", 300_000)  # in the middle of t1
    np.testing.assert_array_equal(store.read("t0", 0, 100_000), samples_of(0, 100_000))
    np.testing.assert_array_equal(store.read("t1", 0, 50_000), samples_of(1, 100_000)[:50_000])
    with pytest.raises(TagscaleError, match=r"shard-00000\.bin: 300000 bytes long, expected at least 300002.*was cut"):
        store.read("t1", 49_990, 11)
    room = np.zeros((2, 1000), np.int16)
    with pytest.raises(TagscaleError, match="300000 bytes long, expected at least 382000"):
        store.read_into(["t0", "t1"], [0, 90_000], list(room))


def test_excerpts_are_read_where_the_system_cannot_tell_what_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write(tmp_path, [100_000])
    plain = os.preadv

    def refusing(handle: int, buffers: list, offset: int, flags: int = 0) -> int:
        if flags:
            raise OSError(95, "Operation not supported")
        return plain(handle, [memoryview(buffers[0])[:1000]], offset)  # and never as much as was asked

    monkeypatch.setattr(os, "preadv", refusing)
    np.testing.assert_array_equal(store.read("t0", 10, 5000), samples_of(0, 100_000)[10:5010])
    monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)
    np.testing.assert_array_equal(store.read("t0", 20, 5000), samples_of(0, 100_000)[20:5020])


def test_a_column_that_is_not_known_changes_nothing(tmp_path: Path) -> None:
    known = write(tmp_path, [1000, 2000])
    index = pd.read_parquet(tmp_path / "index.parquet")
    index.insert(0, "loudness_of_a_later_version", [-9.5, -14.0])
    index.to_parquet(tmp_path / "index.parquet")
    reseal(tmp_path, "store.json")
    store = Store.open(tmp_path)
    pd.testing.assert_frame_equal(store.facts, known.facts)
    np.testing.assert_array_equal(store.read("t1", 5, 1990), samples_of(1, 2000)[5:1995])


def test_shards_are_cut_between_tracks(tmp_path: Path) -> None:
    store = write(tmp_path, [200_000, 200_000, 200_000, 700_000, 10])  # 500,000 samples make a megabyte
    facts = json.loads((tmp_path / "store.json").read_text())
    assert [shard["samples"] for shard in facts["shards"]] == [400_000, 200_000, 700_000, 10]
    assert [(tmp_path / shard["file"]).stat().st_size for shard in facts["shards"]] == [800_000, 400_000, 1_400_000, 20]
    assert store.facts.loc["t3", "rms_dbfs"] == -23
    assert len(store) == 5
    assert "t4" in store
    assert "t5" not in store


def test_hash_is_of_the_audio_not_of_the_shards(tmp_path: Path) -> None:
    lengths = [300_000, 300_000, 300_000]
    small, large = write(tmp_path / "small", lengths, 1), write(tmp_path / "large", lengths, 64)
    assert small.hash == large.hash
    assert write(tmp_path / "less", lengths[:2]).hash != small.hash


def test_reading_out_of_a_track(tmp_path: Path) -> None:
    store = write(tmp_path, [100, 100])
    for start, count in ((-1, 10), (95, 6), (101, 0), (0, -1)):
        with pytest.raises(ValueError, match="track t0"):
            store.read("t0", start, count)
    assert store.read("t0", 100, 0).shape == (0,)
    with pytest.raises(KeyError):
        store.read("t2", 0, 1)


def test_excerpts_can_be_written_to(tmp_path: Path) -> None:
    store = write(tmp_path, [100])
    store.read("t0", 0, 10)[:] = 0
    np.testing.assert_array_equal(store.read("t0", 0, 10), samples_of(0, 10))


def read_sum(store: Store, track: str) -> int:
    return int(store.read(track, 0, store.samples(track)).astype(int).sum())


def test_threads_and_processes_share_a_store(tmp_path: Path) -> None:
    store = write(tmp_path, [50_000] * 40)
    expected = [read_sum(store, track) for track in store.track_ids]
    with ThreadPoolExecutor(8) as threads:
        fresh = Store.open(tmp_path)
        assert list(threads.map(lambda track: read_sum(fresh, track), store.track_ids)) == expected
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as processes:  # as a data loader's workers
        excerpts = processes.map(store.read, store.track_ids, [0] * 40, [50_000] * 40)
        assert [int(excerpt.astype(int).sum()) for excerpt in excerpts] == expected


def test_pickled_store_opens_its_files_anew(tmp_path: Path) -> None:
    store = write(tmp_path, [1_000_000])
    store.read("t0", 0, 10)
    content = pickle.dumps(store)
    assert len(content) < 10_000
    np.testing.assert_array_equal(pickle.loads(content).read("t0", 5, 5), store.read("t0", 5, 5))


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match=r"store\.json: no such file\. Run `tagscale preprocess` first"):
        Store.open(tmp_path / "nowhere")
    write(tmp_path, [1000])
    shard = tmp_path / "shard-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(TagscaleError, match="1998 bytes long, expected 2000"):
        Store.open(tmp_path)
    shard.unlink()
    with pytest.raises(TagscaleError, match="missing"):
        Store.open(tmp_path)
    reseal(tmp_path, "store.json", format=99)
    with pytest.raises(TagscaleError, match="format 99"):
        Store.open(tmp_path)


def test_rejected_and_empty(tmp_path: Path) -> None:
    write_store(tmp_path, [], rejected=[{"track_id": "bad", "path": "a, b.mp3", "reason": 'said "no"'}])
    store = Store.open(tmp_path)
    assert len(store) == 0
    assert pd.read_csv(tmp_path / "rejected.csv").to_dict("records") == [
        {"track_id": "bad", "path": "a, b.mp3", "reason": 'said "no"'}
    ]
