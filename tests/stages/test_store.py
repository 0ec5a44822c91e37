"""Damage is found and named; what a store holds is counted right."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from seals import reseal
from stores import write_store
from tagscale.runtime.errors import TagscaleError
from tagscale.stages import store as stage
from tagscale.store.read import Store

SAMPLES = 120_000  # four tracks a shard of one megabyte
SHARD = "shard-00001.bin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten tracks in three shards, and one that was rejected."""
    tracks = []
    for track in range(10):
        samples = np.random.default_rng(track).integers(-999, 999, SAMPLES).astype(np.int16)
        digest = hashlib.sha256(samples.tobytes()).hexdigest()
        rate = 44100 if track < 7 else 8000
        tracks.append((f"t{track}", samples, {"audio_sha256": digest, "source_rate": rate, "channels": 2}))
    rejected = {"track_id": "bad", "path": "bad.mp3", "reason": "no audio"}
    return write_store(tmp_path / "store", tracks, rejected=[rejected])


def damaged(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def complaint(folder: Path) -> str:
    with pytest.raises(TagscaleError) as caught:
        stage.verify(folder)
    return str(caught.value)


def test_an_undamaged_store_passes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage.verify(folder)
    assert "3 shards, 2.4 MB, all as they were written" in capsys.readouterr().out


def test_a_wrong_byte_is_found_and_named(folder: Path) -> None:
    damaged(folder / SHARD, 2 * SAMPLES + 5)  # in the second track of the second shard
    Store.open(folder)  # which looks at lengths only
    said = complaint(folder)
    assert "1 of 3 shards are damaged" in said
    assert f"{SHARD}: not the bytes that were written: bytes {2 * SAMPLES} to {4 * SAMPLES - 1}; tracks t5\n" in said


def test_every_byte_counts(folder: Path) -> None:
    size = (folder / SHARD).stat().st_size
    for at in (0, 1, size // 2, size - 1):
        damaged(folder / SHARD, at)
        assert f"tracks t{4 + at // (2 * SAMPLES)}\n" in complaint(folder)
        damaged(folder / SHARD, at)
    stage.verify(folder)


def test_short_long_and_missing_shards(folder: Path) -> None:
    whole = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(whole[:-100])
    assert f"{SHARD}: 959900 bytes long, expected 960000: bytes 720000 to 959999; tracks t7" in complaint(folder)
    (folder / SHARD).write_bytes(whole + b"..")
    assert "960002 bytes long, expected 960000; no track of the store is in it" in complaint(folder)
    (folder / SHARD).unlink()
    assert f"{SHARD}: missing: bytes 0 to 959999; tracks t4, t5, t6 and t7" in complaint(folder)


def test_a_damaged_index_is_named(folder: Path) -> None:
    reseal(folder, "store.json", hash="0" * 12)
    assert "index.parquet: has the hash" in complaint(folder)
    (folder / "index.parquet").write_bytes(b"no table")
    assert "index.parquet: not the file that store.json beside it was written with" in complaint(folder)
    assert "store.json: no such file" in complaint(folder / "nowhere")


def test_info(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage.info(folder, as_json=True)
    facts = json.loads(capsys.readouterr().out)
    assert (facts["tracks"], facts["rejected"], facts["shards"], facts["dead_bytes"]) == (10, 1, 3, 0)
    assert facts["bytes"] == 10 * SAMPLES * 2
    assert facts["hours"] == pytest.approx(10 * 7.5 / 3600, abs=1e-3)
    assert facts["seconds"] == {"shortest": 7.5, "median": 7.5, "longest": 7.5}
    assert facts["source_rates"] == {"8000": 3, "44100": 7}
    assert facts["channels"] == {"2": 10}
    assert facts["hash"] == Store.open(folder).hash
    stage.info(folder)
    assert "10, and 1 rejected" in capsys.readouterr().out


def test_info_of_a_store_without_tracks(tmp_path: Path) -> None:
    write_store(tmp_path, [])
    stage.info(tmp_path)
    stage.verify(tmp_path)
