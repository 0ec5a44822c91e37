"""Processes that describe: the same rows for any number of them, whatever a track does to one."""

import hashlib
from multiprocessing import active_children

import numpy as np
import pytest

from hostile_store import HostileStore
from stores import write_store
from tagscale.descriptors.describe import describe, describe_recording, names
from tagscale.descriptors.describing import describe_all
from tagscale.runtime.errors import TagscaleError

TRACKS = [f"track{number}" for number in range(6)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> HostileStore:
    folder = tmp_path_factory.mktemp("described") / "store"
    tracks = []
    for number, track in enumerate([*TRACKS, "broken", "deadly"]):
        samples = np.random.default_rng(number).integers(-900, 900, 8000 * (number + 1)).astype(np.int16)
        tracks.append((track, samples, {"audio_sha256": hashlib.sha256(samples.tobytes()).hexdigest()}))
    write_store(folder, tracks)
    store = HostileStore.open(folder)
    assert isinstance(store, HostileStore)
    return store


@pytest.mark.slow
def test_a_bad_track_takes_no_other_with_it(store: HostileStore) -> None:
    found = {described.track_id: described for described in describe_all(store, ["deadly", "broken", *TRACKS], 1)}
    assert list(found) == ["deadly", "broken", *TRACKS]
    assert found["broken"].reason == "TagscaleError: shard-00000.bin: the disk does not answer"
    assert found["deadly"].reason == "its process was killed twice (too little memory?)"
    for track in TRACKS:
        values = found[track].values
        assert values is not None, found[track].reason
        here = describe(store.read(track, 0, store.samples(track)))
        np.testing.assert_array_equal(values, np.array([here[name] for name in names()], np.float32))


def test_nothing_to_describe(store: HostileStore) -> None:
    assert list(describe_all(store, [], workers=2)) == []


def test_workers_end_when_the_caller_stops_listening(store: HostileStore) -> None:
    others = set(active_children())
    rows = describe_all(store, TRACKS, workers=1)
    next(rows)
    rows.close()
    assert set(active_children()) <= others


@pytest.mark.parametrize("values", [np.nan, np.inf])
def test_a_descriptor_that_is_not_finite_is_a_reason(
    store: HostileStore, monkeypatch: pytest.MonkeyPatch, values: float
) -> None:
    from tagscale.descriptors import describing

    monkeypatch.setattr(describing, "describe_pieces", lambda read, samples: dict.fromkeys(names(), values))
    assert describing._describe(store, "track0").reason.startswith("not finite: timbre_mfcc0_mean")


def test_a_recording_has_the_row_of_its_track(store: HostileStore) -> None:
    """From the store's int16, and from the floats that a decoder gives: bit for bit."""
    described = next(iter(describe_all(store, TRACKS[:1], 1)))
    samples = store.read(TRACKS[0], 0, store.samples(TRACKS[0]))
    for recording in (samples, samples / 32768, (samples / 32768).astype(np.float32)):
        row = describe_recording(recording)
        assert list(row) == list(names())
        assert (row.dtypes == np.float32).all()
        np.testing.assert_array_equal(row.to_numpy()[0], described.values)


@pytest.mark.parametrize("samples", [np.zeros((2, 16000)), np.zeros(0), np.array([0.1, np.nan])])
def test_no_recording(samples: np.ndarray) -> None:
    with pytest.raises(TagscaleError, match="Expected a mono recording of finite samples"):
        describe_recording(samples)
