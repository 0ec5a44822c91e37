"""Is every byte of a store what it was when it was written? If not: which shard, which bytes, which tracks."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json
from tagscale.runtime.machine import cores
from tagscale.store.read import BYTES_PER_SAMPLE, FORMAT
from tagscale.store.writer import content_hash

BLOCK = 1 << 20
SHOWN = 5


@dataclass(frozen=True)
class Damage:
    """A shard that is not what it was.

    ranges: of bytes that are damaged, [begin, end), as narrow as the tracks' checksums can tell.
    tracks: whose samples are in them.
    """

    file: str
    what: str
    ranges: list[tuple[int, int]]
    tracks: list[str]

    def __str__(self) -> str:
        where = ", ".join(f"bytes {begin} to {end - 1}" for begin, end in self.ranges[:SHOWN])
        more = f" and {len(self.tracks) - SHOWN} more" if len(self.tracks) > SHOWN else ""
        hit = f"; tracks {', '.join(self.tracks[:SHOWN])}{more}" if self.tracks else "; no track of the store is in it"
        return f"{self.file}: {self.what}" + (f": {where}" if where else "") + hit


def load(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """store.json and index.parquet of a store. Raises TagscaleError where one is missing or damaged."""
    path = Path(folder) / "store.json"
    if not path.is_file():
        raise TagscaleError(f"{folder}: no store.json in it. Run `tagscale preprocess` first.")
    try:
        facts, index = read_json(path), pd.read_parquet(path.with_name("index.parquet"))
    except (OSError, ValueError) as error:
        raise TagscaleError(f"{folder}: store.json or index.parquet is missing or damaged ({error}).") from None
    if facts["format"] != FORMAT:
        raise TagscaleError(f"{path}: format {facts['format']}, expected {FORMAT}. Run `tagscale preprocess` again.")
    return facts, index


def verify(folder: Path) -> Iterator[tuple[int, Damage | None]]:
    """Check a store's shards in parallel, as (bytes checked, damage found), in the order in which they are done.

    Raises:
        TagscaleError: as `load`; or the index does not belong to store.json.
    """
    folder = Path(folder)
    facts, index = load(folder)
    if content_hash(index) != facts["hash"]:
        raise TagscaleError(
            f"{folder / 'index.parquet'}: has the hash {content_hash(index)}, but store.json says {facts['hash']}: "
            "one of them is damaged. Run `tagscale preprocess` into a new folder, or `dvc checkout`."
        )
    of_shard = dict(list(index.sort_values("offset").groupby("shard")))
    none = index.iloc[:0]
    with ThreadPoolExecutor(cores()) as threads:  # hashing lets go of the interpreter's lock
        waiting = [
            threads.submit(_examine, folder, shard, of_shard.get(number, none))
            for number, shard in enumerate(facts["shards"])
        ]
        for future in as_completed(waiting):
            yield future.result()


def _examine(folder: Path, shard: dict[str, Any], tracks: pd.DataFrame) -> tuple[int, Damage | None]:
    path, expected = folder / shard["file"], shard["samples"] * BYTES_PER_SAMPLE
    if not path.is_file():
        return 0, Damage(shard["file"], "missing", [(0, expected)], tracks["track_id"].tolist())
    found = path.stat().st_size
    with open(path, "rb") as file:
        if found == expected and _digest(file, 0, expected) == shard["sha256"]:
            return found, None
        ranges, hit = [], []
        columns = (tracks[name].tolist() for name in ("track_id", "offset", "samples", "audio_sha256"))
        for track, offset, samples, digest in zip(*columns, strict=True):
            begin, length = offset * BYTES_PER_SAMPLE, samples * BYTES_PER_SAMPLE
            if _digest(file, begin, length) != digest:
                ranges.append((begin, begin + length))
                hit.append(track)
    what = "not the bytes that were written" if found == expected else f"{found} bytes long, expected {expected}"
    return found, Damage(shard["file"], what, ranges, hit)


def _digest(file: Any, begin: int, length: int) -> str:
    digest = hashlib.sha256()
    file.seek(begin)
    while length > 0 and (block := file.read(min(BLOCK, length))):
        digest.update(block)
        length -= len(block)
    return digest.hexdigest()
