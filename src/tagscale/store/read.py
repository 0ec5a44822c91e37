"""The int16 store: every track decoded once, in a few large files that any number of readers read at random.

Files of a store's folder: shard-00000.bin ... (raw little-endian int16, mono, 16 kHz, track after track),
index.parquet (place and measurements of each track), store.json (format, hash, shards with their SHA-256) and
rejected.csv (tracks without usable audio, with the reason).
"""

import os
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired

import numpy as np
import pandas as pd
from pydantic import Field, NonNegativeInt
from typing_extensions import TypedDict

from tagscale import SAMPLE_RATE
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.reading import Output
from tagscale.runtime.tables import csv_in, schema, table_in
from tagscale.store.remote import Bucket, Piece, RemoteShards, default_cache

FORMAT = 1
BYTES_PER_SAMPLE = 2
COMMAND = "tagscale preprocess"
TABLES = ("index.parquet", "sources.parquet", "rejected.csv")  # beside store.json and the shards
PLACES = {"track_id": "text", "shard": "whole", "offset": "whole", "samples": "whole"}
FACTS = {"source_rate": "whole?", "channels": "whole?", "only_channel": "whole?"}
FACTS |= dict.fromkeys(("source_seconds", "rms_dbfs", "peak", "clipped", "dc"), "number?") | {"audio_sha256": "text?"}
INDEX = schema(**PLACES, **FACTS)
SOURCES = schema(track_id="text", path="text", source_bytes="whole", source_sha256="text")
REJECTED = schema(track_id="text", path="text", reason="text")


class Shard(TypedDict):
    """A shard in store.json."""

    file: Annotated[str, Field(pattern=r"^shard-\d{5,}\.bin$")]
    samples: NonNegativeInt
    sha256: str


class Slice(TypedDict):
    """Which slice of a catalog a store holds."""

    number: int
    of: int
    catalog: str


class Version(TypedDict):
    """What every store.json says, of any format."""

    format: int
    sample_rate: int


class StoreFacts(Version):
    """The content of store.json."""

    hash: str
    decoder: NotRequired[int]
    slice: NotRequired[Slice]
    shards: list[Shard]


class Store:
    """A store opened for reading; safe to share between threads and to send to other processes.

    store = Store.open("data/store")
    store.read("song", start=3, count=4)  # array([3, 4, 5, 6], dtype=int16)
    """

    def __init__(self, shards: "LocalShards | RemoteShards", index: pd.DataFrame, content_hash: str) -> None:
        self.hash = content_hash
        self.facts = index.set_index("track_id").reindex(columns=["samples", *FACTS])
        self._shards = shards
        self._row = {track: row for row, track in enumerate(index["track_id"])}
        self._shard = index["shard"].to_numpy(np.int64)
        self._offset = index["offset"].to_numpy(np.int64)
        self._samples = index["samples"].to_numpy(np.int64)

    @classmethod
    def open(cls, address: Path | str, cache: Path | None = None, cache_gb: float | None = None) -> "Store":
        """Open the store in a folder, or at an address that fsspec knows, as s3://bucket/prefix.

        Args:
            cache: folder for blocks of a remote store, shared by all processes of a machine; by default
                TAGSCALE_CACHE, else ~/.cache/tagscale
            cache_gb: limit of the blocks there; by default TAGSCALE_CACHE_GB, else 20
        Raises:
            TagscaleError: no store there, another format, damaged tables, a shard that is missing or not of its
                recorded length, or an object store that does not answer.
        """
        bucket = Bucket(str(address)) if "://" in str(address) else None
        if bucket is not None and bucket.address.startswith(("file://", "local://")):
            address, bucket = Path(bucket.connection()[1]), None
        folder = Path(address)
        output = Output(folder, "store.json", COMMAND) if bucket is None else bucket.output("store.json", COMMAND)
        facts = facts_of(output)
        size = bucket.size if bucket else lambda name: _local_size(folder / name)
        lengths = [shard["samples"] * BYTES_PER_SAMPLE for shard in facts["shards"]]
        for shard, expected in zip(facts["shards"], lengths, strict=True):
            if (found := size(shard["file"])) != expected:
                state = "missing" if found is None else f"{found} bytes long"
                raise output.damaged(shard["file"], f"{state}, expected {expected} bytes")
        index = index_of(output, facts)
        shards: LocalShards | RemoteShards
        if bucket is None:
            shards = LocalShards([folder / shard["file"] for shard in facts["shards"]])
        else:
            shards = RemoteShards(bucket, facts["shards"], lengths, default_cache(cache, cache_gb))
        return cls(shards, index, facts["hash"])

    @property
    def track_ids(self) -> list[str]:
        """All tracks of the store, in the order of its shards."""
        return list(self._row)

    def samples(self, track_id: str) -> int:
        """Length of a track in samples at 16 kHz."""
        return int(self._samples[self._row[track_id]])

    def read(self, track_id: str, start: int, count: int) -> np.ndarray:
        """`count` samples of a track from sample `start`: int16, (count,). Reads no more than these from disk.

        Raises:
            KeyError: no such track.
            ValueError: the excerpt reaches out of the track.
            TagscaleError: the shard cannot be read, or ends before its recorded length.
        """
        self._check(self._row[track_id], track_id, start, count)
        excerpt = np.empty(max(count, 0), np.int16)
        self.read_into([track_id], [start], [excerpt])
        return excerpt

    def read_into(self, track_ids: Sequence[str], starts: Sequence[int], excerpts: Sequence[np.ndarray]) -> None:
        """Fill int16 arrays with the tracks' samples from `starts` on; a batch at once, without copies.

        The disk, or the object store, gets all requests before the first is awaited. Raises as `read`.
        """
        rows = [self._row[track_id] for track_id in track_ids]
        for row, track_id, start, excerpt in zip(rows, track_ids, starts, excerpts, strict=True):
            self._check(row, track_id, start, len(excerpt))
        firsts = [(int(self._offset[row]) + start) * BYTES_PER_SAMPLE for row, start in zip(rows, starts, strict=True)]
        self._shards.fill(
            [(int(self._shard[row]), first, out) for row, first, out in zip(rows, firsts, excerpts, strict=True)]
        )

    def _check(self, row: int, track_id: str, start: int, count: int) -> None:
        if start < 0 or count < 0 or start + count > self._samples[row]:
            raise ValueError(f"track {track_id}: samples {start} to {start + count} asked, {self._samples[row]} there")

    def __len__(self) -> int:
        return len(self._row)

    def __contains__(self, track_id: str) -> bool:
        return track_id in self._row

    def require(self, tracks: Sequence[str], address: Path | str) -> None:
        """Raise TagscaleError unless this store, which was opened at the address, holds all tracks of a partition."""
        if missing := [track for track in tracks if track not in self]:
            raise TagscaleError(
                f"{address}: {len(missing)} tracks of the partition are not in it, the first is {missing[0]}. "
                "Run `tagscale preprocess`, `validate` and `partition` again."
            )


class LocalShards:
    """Shards in files, read by position, so that a truncated file or a broken disk raises an error.

    A memory map would be faster on pages that the same process has touched before. It is many times slower on a cold
    disk, and it kills the process with SIGBUS where the file was truncated.
    """

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._handles: dict[int, int] = {}  # opened on first use, in each process for itself
        weakref.finalize(self, _close, self._handles)

    def fill(self, pieces: Iterable[Piece]) -> None:
        """Fill the pieces' arrays: first those in memory, then the rest, which the disk gets as one request.

        Raises:
            TagscaleError: a shard cannot be read, or is shorter than it was when the store was opened.
        """
        on_disk = [piece for piece in pieces if not self._in_memory(piece)]
        if len(on_disk) > 1 and hasattr(os, "posix_fadvise"):
            for shard, first, out in on_disk:
                os.posix_fadvise(self._handle(shard), first, out.nbytes, os.POSIX_FADV_WILLNEED)
        for piece in on_disk:
            self._wait_for(piece)

    def _in_memory(self, piece: Piece) -> bool:
        """Fill from the page cache; False where a part is missing there, or the system cannot tell."""
        shard, first, out = piece
        handle = self._handle(shard)
        if not hasattr(os, "RWF_NOWAIT"):
            return False
        try:
            return os.preadv(handle, [out.data], first, os.RWF_NOWAIT) == out.nbytes
        except OSError:  # would have to wait; or a file system without such reads; or an error that `_wait_for` meets
            return False

    def _wait_for(self, piece: Piece) -> None:
        shard, first, out = piece
        handle, done, content = self._handle(shard), 0, out.data.cast("B")
        while done < out.nbytes:
            try:
                got = os.preadv(handle, [content[done:]], first + done)
            except OSError as error:
                raise TagscaleError(f"{self._paths[shard]}: {error}. Check the disk, then read again.") from error
            if got == 0:
                raise TagscaleError(
                    f"{self._paths[shard]}: {os.fstat(handle).st_size} bytes long, expected at least "
                    f"{first + out.nbytes}. The file was cut; run `tagscale preprocess` again."
                )
            done += got

    def _handle(self, shard: int) -> int:
        handle = self._handles.get(shard)
        if handle is not None:
            return handle
        try:
            opened = os.open(self._paths[shard], os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise TagscaleError(f"{self._paths[shard]}: {error}. Run `tagscale preprocess` again.") from error
        handle = self._handles.setdefault(shard, opened)
        if handle != opened:  # another thread was faster
            os.close(opened)
        return handle

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalShards, (self._paths,)


def _close(handles: dict[int, int]) -> None:
    for handle in handles.values():
        os.close(handle)


def facts_of(output: Output) -> StoreFacts:
    """store.json of a store. Raises Damaged."""
    version = output.facts(Version)
    if (version["format"], version["sample_rate"]) != (FORMAT, SAMPLE_RATE):
        raise output.damaged(
            output.sealed,
            f"format {version['format']} at {version['sample_rate']} Hz; expected format {FORMAT} at {SAMPLE_RATE} Hz",
        )
    return output.facts(StoreFacts)


def index_of(output: Output, facts: StoreFacts) -> pd.DataFrame:
    """index.parquet of a store. Raises Damaged, also where a track is not inside the shard that it names."""
    index = table_in(output, "index.parquet", INDEX)
    lengths = np.array([shard["samples"] for shard in facts["shards"]], np.int64)
    shard, begin, samples = (index[name].to_numpy(np.int64) for name in ("shard", "offset", "samples"))
    known = (shard >= 0) & (shard < len(lengths)) & (begin >= 0) & (samples >= 0)
    if not known.all() or (begin + samples > lengths[shard]).any():
        raise output.damaged("index.parquet", "a track in it is outside the shards that store.json lists")
    if index["track_id"].duplicated().any():
        raise output.damaged("index.parquet", "a track is in it twice")
    return index


def read_rejected(folder: Path) -> pd.DataFrame:
    """rejected.csv of a store: track_id, path, reason. Raises Damaged."""
    return csv_in(Output(folder, "store.json", COMMAND), "rejected.csv", REJECTED.names)[REJECTED.names]


def read_sources(folder: Path) -> pd.DataFrame:
    """sources.parquet of a store: path, bytes and SHA-256 of the file of each track. Raises Damaged."""
    return table_in(Output(folder, "store.json", COMMAND), "sources.parquet", SOURCES)


def _local_size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
