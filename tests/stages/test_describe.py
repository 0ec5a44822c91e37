"""The describe stage: one finite row per track, the same bytes however they came about."""

import errno
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hostile_store import HostileStore
from stores import write_store
from tagscale.descriptors import table
from tagscale.descriptors.describe import describe as describe_samples
from tagscale.descriptors.describing import Described, _describe
from tagscale.params.load import Params, load
from tagscale.partition.divide import Partition
from tagscale.runtime.errors import TagscaleError
from tagscale.stages import describe
from tagscale.store.read import Store

SAMPLES = {
    "a": np.random.default_rng(1).integers(-5000, 5000, 48_000).astype(np.int16),
    "b": np.zeros(32_000, np.int16),
    "c": (9000 * np.sin(np.arange(1600) / 5)).astype(np.int16),
    "broken": np.ones(3000, np.int16),
}


@pytest.fixture(scope="module")
def params() -> Params:
    return load(Path(__file__).parents[2] / "params.yaml")


def store_of(tracks: dict[str, np.ndarray], folder: Path) -> Path:
    digests = {track: hashlib.sha256(samples.tobytes()).hexdigest() for track, samples in tracks.items()}
    return write_store(folder, ((track, tracks[track], {"audio_sha256": digests[track]}) for track in tracks))


def partition_of(tracks: Iterable[str], folder: Path) -> Path:
    names = sorted(tracks)
    table = pd.DataFrame({"track_id": names, "artist": names, "part": "train", "rank": range(len(names))})
    Partition(table, ["jazz"]).save(folder)
    return folder


class Bench:
    """The stage on a few tracks, which notes what it computes; in this process, unless `workers` says how many."""

    def __init__(self, params: Params, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.params, self.root = params, root
        self.store = store_of(SAMPLES, root / "store")
        self.output = root / "descriptors"
        self.computed: list[str] = []
        self.stop_after = 99
        self._real, self._patch = describe.describe_all, monkeypatch

    def run(self, tracks: str = "a b c", workers: int | None = None, previous: Path | None = None) -> bytes:
        self.computed = []
        self._patch.setattr(describe, "describe_all", self._real if workers else self._here)
        partition = partition_of(tracks.split(), self.root / "partition")
        folders = {"partition": partition, "store": self.store, "descriptors": self.output}
        describe.run(self.params, **folders, workers=workers, previous=previous)
        return b"".join((self.output / name).read_bytes() for name in ("descriptors.parquet", "sources.parquet"))

    def _here(self, store: Store, tracks: Iterable[str], workers: int) -> Iterator[Described]:
        for track in tracks:
            if len(self.computed) == self.stop_after:
                raise KeyboardInterrupt
            self.computed.append(track)
            yield _describe(store, track)

    @property
    def partial(self) -> Path:
        return self.output.with_name(".descriptors.partial")


@pytest.fixture
def bench(params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(params, tmp_path, monkeypatch)


@pytest.mark.slow
def test_a_row_per_track_of_the_partition(bench: Bench) -> None:
    whole = bench.run(workers=2)
    table = pd.read_parquet(bench.output / "descriptors.parquet").set_index("track_id")
    assert table.index.tolist() == ["a", "b", "c"]
    assert np.isfinite(table.to_numpy()).all()
    assert set(table.dtypes) == {np.dtype(np.float32)}
    np.testing.assert_allclose(table.loc["a"], list(describe_samples(SAMPLES["a"]).values()), rtol=1e-4, atol=1e-6)
    bench.output.rename(bench.root / "two")
    assert bench.run(workers=1) == whole


def test_only_new_tracks_are_computed(bench: Bench) -> None:
    whole = bench.run("a b c")
    assert bench.computed == ["a", "b", "c"]
    assert bench.run("a b c") == whole
    assert bench.computed == []
    bench.run("a c")
    assert bench.computed == []
    assert bench.run("a b c") == whole
    assert bench.computed == ["b"]
    assert not bench.partial.exists()


def test_rows_follow_the_samples_not_the_name(bench: Bench) -> None:
    bench.run("a b")
    bench.store = store_of({"a": SAMPLES["c"], "z": SAMPLES["a"], "y": SAMPLES["a"]}, bench.root / "renamed")
    bench.run("a y z")
    assert bench.computed == ["a"]
    table = pd.read_parquet(bench.output / "descriptors.parquet").set_index("track_id")
    np.testing.assert_allclose(table.loc["z"], list(describe_samples(SAMPLES["a"]).values()), rtol=1e-4, atol=1e-6)
    assert table.loc["y"].equals(table.loc["z"].rename("y"))


def test_an_earlier_table_elsewhere(bench: Bench) -> None:
    whole = bench.run("a b c")
    elsewhere = bench.output.rename(bench.root / "elsewhere")
    assert bench.run("a b c", previous=elsewhere) == whole
    assert bench.computed == []


def test_an_interrupted_run_continues(bench: Bench) -> None:
    whole = bench.run("a b c")
    bench.output.rename(bench.root / "whole")
    bench.stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        bench.run("a b c")
    assert not bench.output.exists()
    (bench.partial / "0-damaged.parquet").write_bytes(b"PAR1")
    bench.stop_after = 99
    assert bench.run("a b c") == whole
    assert bench.computed == ["c"]
    assert not bench.partial.exists()


def test_rows_are_on_disk_before_the_run_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kill leaves: parts are written on the way, and those in memory are lost."""
    monkeypatch.setattr(table, "PART_SECONDS", -1.0)
    monkeypatch.setattr(bench, "stop_after", 2)
    with pytest.raises(KeyboardInterrupt):
        bench.run("a b c")
    assert len(list(bench.partial.glob("*.parquet"))) == 2


def test_another_definition_of_the_descriptors(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run("a b")
    bench.stop_after = 0
    with pytest.raises(KeyboardInterrupt):
        bench.run("a b c")
    bench.stop_after = 99
    monkeypatch.setattr(table, "VERSION", table.VERSION + 1)
    bench.run("a b c")
    assert bench.computed == ["a", "b", "c"]


def test_a_table_without_digests_is_computed_anew(bench: Bench) -> None:
    """What an earlier tagscale wrote, and a store that does not know its samples' digests."""
    whole = bench.run("a b")
    (bench.output / "sources.parquet").unlink()
    assert bench.run("a b") == whole
    assert bench.computed == ["a", "b"]
    bench.store = write_store(bench.root / "bare", [("a", SAMPLES["a"], {})])
    for _ in range(2):
        bench.run("a")
        assert bench.computed == ["a"]


def test_a_damaged_table_is_computed_anew(bench: Bench) -> None:
    whole = bench.run("a b")
    (bench.output / "descriptors.parquet").write_bytes(b"PAR1")
    assert bench.run("a b") == whole
    assert bench.computed == ["a", "b"]


def test_a_bad_track_is_named_and_the_others_are_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bench.run("c")
    monkeypatch.setattr(describe, "Store", HostileStore)
    with pytest.raises(TagscaleError) as caught:
        bench.run("a b broken c")
    assert "1 of 4 tracks could not be described:\n  broken: TagscaleError: shard-00000.bin" in str(caught.value)
    assert "run `tagscale describe` again: it continues" in str(caught.value)
    assert bench.computed == ["a", "b", "broken"]
    assert (bench.output / "descriptors.parquet").read_bytes() + (
        bench.output / "sources.parquet"
    ).read_bytes() == before
    monkeypatch.setattr(describe, "Store", Store)
    bench.run("a b broken c")
    assert bench.computed == ["broken"]


def test_a_full_disk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(table.DescriptorTable, "save", full)
        with pytest.raises(TagscaleError, match=r"The disk is full: .* kept in .*\.descriptors\.partial"):
            bench.run("a b")
    bench.run("a b")
    assert bench.computed == []


def test_a_track_that_the_store_lacks(bench: Bench) -> None:
    with pytest.raises(TagscaleError, match=r"1 tracks of .* are not in it, the first is z"):
        bench.run("a z")
    assert not bench.output.exists()
