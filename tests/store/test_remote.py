"""A store behind an address reads as its local copy does, from a real S3 server, through a cache that stays bounded."""

import logging
import multiprocessing
import pickle
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores import write_store
from tagscale.audio.loading import loader
from tagscale.audio.patches import RandomPatches
from tagscale.runtime.errors import TagscaleError
from tagscale.store import remote
from tagscale.store.read import Store
from tagscale.store.remote import BlockCache, Bucket, default_cache

LENGTHS = [400_000, 700_000, 1, 524_287, 524_289, 60_000]  # 524,288 samples make a block


def write(folder: Path) -> Store:
    tracks = []
    for track, count in enumerate(LENGTHS):
        samples = np.random.default_rng(track).integers(-32768, 32768, count).astype(np.int16)
        tracks.append((f"t{track}", samples, {"audio_sha256": str(track)}))
    return Store.open(write_store(folder, tracks, 3))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store]:
    folder = tmp_path_factory.mktemp("local")
    return folder, write(folder)


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    moto = pytest.importorskip("moto.server", reason="needs the S3 server of the dev extra")
    running = moto.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def bucket(server: Any, local: tuple[Path, Store], monkeypatch: pytest.MonkeyPatch) -> str:
    """The store on the S3 server, found by the usual environment variables and nothing else."""
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    files.makedirs("songs", exist_ok=True)
    for path in sorted(local[0].iterdir()):
        files.pipe_file(f"songs/store/{path.name}", path.read_bytes())
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    return "s3://songs/store"


class Requests:
    """Counts what the bucket is asked for, and passes it on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, int, int]] = []
        ranges = Bucket.ranges

        def counted(bucket: Bucket, wanted: Any) -> list[bytes]:
            self.asked.extend(wanted)
            return ranges(bucket, wanted)

        monkeypatch.setattr(Bucket, "ranges", counted)


def held(cache: Path) -> int:
    """Bytes of all files in a cache that other processes may be using."""
    total = 0
    for path in (cache / "blocks").glob("*-*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def test_every_track_from_s3_is_the_local_one(bucket: str, local: tuple[Path, Store], tmp_path: Path) -> None:
    store = Store.open(bucket, cache=tmp_path)
    assert store.hash == local[1].hash
    assert store.track_ids == local[1].track_ids
    for _ in range(2):  # from the server, then from the cache
        for track, count in zip(store.track_ids, LENGTHS, strict=True):
            np.testing.assert_array_equal(store.read(track, 0, count), local[1].read(track, 0, count))
    with pytest.raises(ValueError, match="track t2"):
        store.read("t2", 0, 2)


def test_only_the_blocks_of_an_excerpt_are_fetched_and_only_once(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Requests(monkeypatch)
    store = Store.open(bucket, cache=tmp_path)
    store.read("t1", 200_000, 10)  # sample 600,000 of the shard
    assert requests.asked == [("shard-00000.bin", 1 << 20, 2 << 20)]
    store.read("t1", 200_010, 10_000)
    Store.open(bucket, cache=tmp_path).read("t1", 600_000, 10)
    assert len(requests.asked) == 1


def test_memory_and_file_addresses(local: tuple[Path, Store], tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    files.put(str(local[0]) + "/", "/copy/", recursive=True)
    for address in ("memory://copy", f"file://{local[0]}", str(local[0])):
        store = Store.open(address, cache=tmp_path)
        np.testing.assert_array_equal(store.read("t4", 5, 300_000), local[1].read("t4", 5, 300_000))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(data=st.data(), block=st.sampled_from([2, 6, 64, 1000]), limit=st.sampled_from([0, 100, 3000, 10**6]))
def test_excerpts_across_block_borders(data: st.DataObject, block: int, limit: int) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 2500).astype(np.int16)
    fsspec.filesystem("memory").pipe_file("/borders/a.bin", samples.tobytes())
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "BLOCK", block)
        cache = BlockCache(Path(folder), limit)
        shards = remote.RemoteShards(Bucket("memory://borders"), [{"file": "a.bin", "sha256": "x"}], [5000], cache)
        for _ in range(3):
            start = data.draw(st.integers(0, 2500))
            found = np.zeros(data.draw(st.integers(0, min(300, 2500 - start))), np.int16)
            shards.fill([(0, 2 * start, found)])
            np.testing.assert_array_equal(found, samples[start : start + len(found)])
            assert sum(path.stat().st_size for path in Path(folder).glob("*-*")) <= limit


def test_the_cache_never_exceeds_its_bound_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache, part = BlockCache(tmp_path, limit=1000), np.empty(2, np.int16)
    for number in range(50):
        cache.put(f"k-{number}", bytes([number]) * 100)
        assert sum(path.stat().st_size for path in tmp_path.glob("k-*")) <= 1000
        assert cache.read("k-0", 100, 0, part), "used all the time"
    assert cache.read("k-49", 100, 96, part)
    assert part.tobytes() == b"\x31" * 4
    assert not cache.read("k-5", 100, 0, part)
    assert not cache.read("k-49", 101, 0, part), "another length"
    cache.put("k-huge", bytes(1001))
    assert not (tmp_path / "k-huge").exists()


def test_a_killed_writer_leaves_no_half_block(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path, limit=300)
    (tmp_path / "k-1.new").write_bytes(bytes(250))
    (tmp_path / "ledger").write_bytes(b"%020d" % 250)
    cache.put("k-2", bytes(100))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["k-2", "ledger"]


def test_a_full_disk_only_means_no_cache(
    bucket: str,
    local: tuple[Path, Store],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    store = Store.open(bucket, cache=tmp_path)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            np.testing.assert_array_equal(store.read("t0", 9, 999), local[1].read("t0", 9, 999))
    assert caplog.text.count("No space left") == 1


def read_all(address: str, cache: Path, seed: int, answers: Any) -> None:
    store, worst, total = Store.open(address, cache=cache, cache_gb=0.0035), 0, 0
    rng = np.random.default_rng(seed)
    for track in rng.choice(["t0", "t1", "t3", "t4"], 30).tolist():
        start = int(rng.integers(store.samples(track) - 1000))
        total += int(store.read(track, start, 1000).astype(int).sum())
        worst = max(worst, held(cache))
    answers.put((seed, worst, total))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_two_processes_share_one_bounded_cache(
    method: str, bucket: str, local: tuple[Path, Store], tmp_path: Path
) -> None:
    context: Any = multiprocessing.get_context(method)
    Store.open(bucket, cache=tmp_path).read("t0", 0, 10)  # this process has a connection before it forks
    answers = context.Queue()
    processes = [context.Process(target=read_all, args=(bucket, tmp_path, seed, answers)) for seed in (1, 2)]
    for process in processes:
        process.start()
    found = sorted(answers.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    for seed, worst, total in found:
        assert 0 < worst <= 3_500_000
        rng, expected = np.random.default_rng(seed), 0
        for track in rng.choice(["t0", "t1", "t3", "t4"], 30).tolist():
            start = int(rng.integers(local[1].samples(track) - 1000))
            expected += int(local[1].read(track, start, 1000).astype(int).sum())
        assert total == expected


@pytest.mark.slow
def test_training_patches_from_s3_with_workers(bucket: str, local: tuple[Path, Store], tmp_path: Path) -> None:
    def batches(store: Store, workers: int) -> list[np.ndarray]:
        patches = RandomPatches(store, store.track_ids, np.zeros((6, 1), np.float32), 48_000, 2, seed=1)
        return [waves.numpy().copy() for waves, _ in islice(loader(patches, 4, workers, False), 3)]

    remotely, locally = batches(Store.open(bucket, cache=tmp_path), 2), batches(local[1], 0)
    assert all(np.array_equal(one, other) for one, other in zip(remotely, locally, strict=True))


def test_a_pickled_store_connects_anew(bucket: str, local: tuple[Path, Store], tmp_path: Path) -> None:
    store = pickle.loads(pickle.dumps(Store.open(bucket, cache=tmp_path)))
    np.testing.assert_array_equal(store.read("t5", 3, 100), local[1].read("t5", 3, 100))


def test_what_is_not_there_is_named(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match=r"s3://songs/nothing/store\.json: no such file"):
        Store.open("s3://songs/nothing", cache=tmp_path)
    with pytest.raises(TagscaleError, match=r"s3://nobody/store"):
        Store.open("s3://nobody/store", cache=tmp_path)


def test_no_credentials(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(TagscaleError, match=r"store\.json.*AWS_ACCESS_KEY_ID"):
        Store.open(bucket, cache=tmp_path)


def test_a_changed_or_lost_shard(bucket: str, tmp_path: Path, local: tuple[Path, Store]) -> None:
    store = Store.open(bucket, cache=tmp_path)
    files, root = Bucket(bucket).connection()
    files.pipe_file(f"{root}/shard-00000.bin", b"1234")
    with pytest.raises(TagscaleError, match=r"songs/store/shard-00000\.bin.*bytes"):
        store.read("t0", 0, 10)
    with pytest.raises(TagscaleError, match="4 bytes long, expected"):
        Store.open(bucket, cache=tmp_path)
    files.rm_file(f"{root}/shard-00000.bin")
    with pytest.raises(TagscaleError, match=r"shard-00000\.bin: missing"):
        Store.open(bucket, cache=tmp_path)


@pytest.mark.slow
def test_a_server_that_dies(local: tuple[Path, Store], bucket: str, tmp_path: Path, server: Any) -> None:
    store = Store.open(bucket, cache=tmp_path)
    store.read("t0", 0, 10)
    server.stop()
    try:
        np.testing.assert_array_equal(store.read("t0", 10, 10), local[1].read("t0", 10, 10))  # from the cache
        with pytest.raises(TagscaleError, match=r"shard-0000\d\.bin, bytes \d+ to \d+: .*AWS_ENDPOINT_URL"):
            store.read("t5", 0, 10)
    finally:
        server.start()


def test_the_environment_sets_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGSCALE_CACHE", str(tmp_path))
    monkeypatch.setenv("TAGSCALE_CACHE_GB", "0.5")
    cache = default_cache()
    assert (cache.folder, cache.limit) == (tmp_path / "blocks", 500_000_000)
    assert default_cache(gigabytes=0).limit == 0
    monkeypatch.setenv("TAGSCALE_CACHE_GB", "much")
    with pytest.raises(TagscaleError, match="TAGSCALE_CACHE_GB: 'much'"):
        default_cache()
