"""Processes that describe: the same rows for any number of them, whatever a track does to one."""

import hashlib
from multiprocessing import active_children

import numpy as np
import pytest

from hostile_store import HostileStore
from stores import write_store
from tagscale.descriptors.describe import describe, names
from tagscale.descriptors.describing import describe_all

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
