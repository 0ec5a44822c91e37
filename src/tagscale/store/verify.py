"""Checks every byte of a store against its checksums, and names damaged shards, byte ranges and tracks."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tagscale.runtime.machine import cores
from tagscale.runtime.reading import Damaged, Output
from tagscale.runtime.words import listed
from tagscale.store.read import BYTES_PER_SAMPLE, COMMAND, Shard, StoreFacts, facts_of, index_of
from tagscale.store.writer import content_hash

BLOCK = 1 << 20
SHOWN = 5


@dataclass(frozen=True)
class Damage:
    """A damaged shard.

    Attributes:
        ranges: damaged bytes, [begin, end), as narrow as the tracks' checksums can tell
        tracks: those with samples in the ranges
    """

    file: str
    what: str
    ranges: list[tuple[int, int]]
    tracks: list[str]

    def __str__(self) -> str:
        where = ", ".join(f"bytes {begin} to {end - 1}" for begin, end in self.ranges[:SHOWN])
        tracks = f"tracks {listed(self.tracks, SHOWN)}" if self.tracks else "no track of the store is in it"
        return f"{self.file}: {self.what}" + (f": {where}" if where else "") + f"; {tracks}"


def load(folder: Path) -> tuple[StoreFacts, pd.DataFrame]:
    """store.json and index.parquet of a store. Raises Damaged where one is missing or not as it was written."""
    output = Output(folder, "store.json", COMMAND)
    facts = facts_of(output)
    return facts, index_of(output, facts)


def verify(folder: Path) -> Iterator[tuple[int, Damage | None]]:
    """Check a store's shards in parallel. Gives (bytes checked, damage) for each, in the order of their completion.

    Raises:
        Damaged: as `load`; or the index does not belong to store.json.
    """
    folder = Path(folder)
    facts, index = load(folder)
    if content_hash(index) != facts["hash"]:
        what = f"has the hash {content_hash(index)}, but store.json says {facts['hash']}: one of them is damaged"
        raise Damaged(folder / "index.parquet", what, COMMAND)
    of_shard = dict(list(index.sort_values("offset").groupby("shard")))
    none = index.iloc[:0]
    with ThreadPoolExecutor(cores()) as threads:  # hashing releases the interpreter's lock
        waiting = [
            threads.submit(_examine, folder, shard, of_shard.get(number, none))
            for number, shard in enumerate(facts["shards"])
        ]
        for future in as_completed(waiting):
            yield future.result()


def _examine(folder: Path, shard: Shard, tracks: pd.DataFrame) -> tuple[int, Damage | None]:
    path, expected = folder / shard["file"], shard["samples"] * BYTES_PER_SAMPLE
    if not path.is_file():
        return 0, Damage(shard["file"], "missing", [(0, expected)], tracks["track_id"].tolist())
    size = path.stat().st_size
    with open(path, "rb") as file:
        if size == expected and _digest(file, 0, expected) == shard["sha256"]:
            return size, None
        ranges, damaged = [], []
        columns = (tracks[name].tolist() for name in ("track_id", "offset", "samples", "audio_sha256"))
        for track, offset, samples, digest in zip(*columns, strict=True):
            begin, length = offset * BYTES_PER_SAMPLE, samples * BYTES_PER_SAMPLE
            if _digest(file, begin, length) != digest:
                ranges.append((begin, begin + length))
                damaged.append(track)
    what = "not the bytes that were written" if size == expected else f"{size} bytes long, expected {expected}"
    return size, Damage(shard["file"], what, ranges, damaged)


def _digest(file: Any, begin: int, length: int) -> str:
    digest = hashlib.sha256()
    file.seek(begin)
    while length > 0 and (block := file.read(min(BLOCK, length))):
        digest.update(block)
        length -= len(block)
    return digest.hexdigest()
