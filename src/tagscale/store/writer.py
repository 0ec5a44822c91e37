"""Writes the int16 store: tracks go into shards one after another; index and checksums come last."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tagscale import SAMPLE_RATE
from tagscale.runtime.files import seal
from tagscale.runtime.journal import write_whole
from tagscale.runtime.tables import write_csv, write_table
from tagscale.store.read import BYTES_PER_SAMPLE, FORMAT, TABLES, Shard

ROWS = 10_000  # that become a table at once, so that a million rows are never a million dictionaries


class ShardWriter:
    """Appends tracks to numbered shard files. Every byte is with the system when `add` returns.

    Args:
        first: number of the first shard

    Attributes:
        closed: the complete shards, each with file, samples and sha256
    """

    def __init__(self, folder: Path, shard_megabytes: int, first: int = 0) -> None:
        self.folder = Path(folder)
        self.number = first
        self.samples = 0  # in the open shard
        self.closed: list[Shard] = []
        self._limit = shard_megabytes * 1_000_000 // BYTES_PER_SAMPLE
        self._file: int | None = None
        self._digest = hashlib.sha256()

    def has_room(self, samples: int) -> bool:
        """Whether so many samples fit into the open shard. A track longer than a shard has one for itself."""
        return self.samples == 0 or self.samples + samples <= self._limit

    def add(self, samples: np.ndarray) -> tuple[int, int]:
        """Append int16 samples to the open shard. Returns the shard's number and the offset in samples."""
        self.append(samples.astype("<i2", copy=False).tobytes())
        return self.number, self.samples - len(samples)

    def append(self, content: bytes) -> None:
        """Append samples as bytes. Raises OSError, as when the disk is full."""
        if self._file is None:
            path = self.folder / shard_name(self.number)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        write_whole(self._file, content)
        self._digest.update(content)
        self.samples += len(content) // BYTES_PER_SAMPLE

    def resume(self, samples: int) -> None:
        """Resume the open shard behind `samples` samples; cut off the rest."""
        path = self.folder / shard_name(self.number)
        with open(path, "rb") as file:
            for start in range(0, samples * BYTES_PER_SAMPLE, 1 << 20):
                self._digest.update(file.read(min(1 << 20, samples * BYTES_PER_SAMPLE - start)))
        os.truncate(path, samples * BYTES_PER_SAMPLE)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self.samples = samples

    def close_shard(self) -> None:
        """Bring the open shard safely to disk; the next track opens another."""
        if self._file is not None:
            os.fsync(self._file)
            self.release()
            name, digest = shard_name(self.number), self._digest.hexdigest()
            self.closed.append({"file": name, "samples": self.samples, "sha256": digest})
            self.skip()

    def skip(self) -> None:
        """Continue with the next shard."""
        self.number += 1
        self.samples = 0
        self._digest = hashlib.sha256()

    def release(self) -> None:
        """Close the open shard's file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def write_index(
    folder: Path, index: pd.DataFrame, shards: list[Shard], rejected: pd.DataFrame, more: dict[str, Any]
) -> None:
    """Turn a folder of shards into a store: write index.parquet, rejected.csv and, last, store.json.

    Args:
        more: further entries of store.json
    """
    write_table(index, folder / "index.parquet")
    write_csv(rejected, folder / "rejected.csv")
    facts = {"format": FORMAT, "sample_rate": SAMPLE_RATE, "hash": content_hash(index)}
    files = [name for name in TABLES if (folder / name).is_file()]
    seal(folder, "store.json", facts | more | {"shards": shards}, files)


def content_hash(index: pd.DataFrame) -> str:
    """First 12 hex digits of the SHA-256 over the tracks' audio by track id; the cut into shards does not matter."""
    digest = hashlib.sha256()
    for track, audio in sorted(zip(index["track_id"], index["audio_sha256"].astype(str), strict=True)):
        digest.update(f"{track}\x1f{audio}\x1e".encode())
    return digest.hexdigest()[:12]


def table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pd.DataFrame:
    """Rows as a table of the schema's columns, without other keys."""
    tables, some = [], []
    for row in rows:
        some.append({name: row.get(name) for name in schema.names})
        if len(some) == ROWS:
            tables.append(pa.Table.from_pylist(some, schema))
            some = []
    return pa.concat_tables([*tables, pa.Table.from_pylist(some, schema)]).to_pandas()


def shard_name(number: int) -> str:
    """File name of a shard.

    >>> shard_name(7)
    'shard-00007.bin'
    """
    return f"shard-{number:05d}.bin"
