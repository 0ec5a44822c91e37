"""A store grows: decoded tracks are added to a partial store, which then joins or replaces the finished one.

Beside the store lie `.NAME.partial`, the partial store, and `.NAME.lock`. The partial store outlives its process. A
track's samples are with the system before its line in the journal is. After a kill, or a power cut, lines count as far
as they are whole and their samples have the SHA-256 that they say; the rest is cut off and decoded again. So a run
that was interrupted any number of times ends with the same bytes as one that was not.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tagscale.decoding.batch import Source
from tagscale.decoding.decode import DECODER
from tagscale.runtime.files import link_or_copy, read_json, replacing, settle, write_json
from tagscale.runtime.journal import Journal, Line, Record
from tagscale.runtime.lock import exclusive
from tagscale.runtime.tables import write_table
from tagscale.store.previous import Previous
from tagscale.store.read import BYTES_PER_SAMPLE, INDEX, REJECTED, SOURCES, Shard
from tagscale.store.writer import ShardWriter, shard_name, table, write_index

MOST_DEAD = 0.5  # of a store's samples; with more, the live ones are copied into new shards


@contextmanager
def writing(store: Path) -> Iterator[Path]:
    """Hold the store's lock; gives the folder of its partial store.

    Raises:
        TagscaleError: another process is writing this store.
    """
    busy = f"{store}: {{holder}} is writing this store. Wait until it has ended, or give another --store."
    with exclusive(store.with_name(f".{store.name}.lock"), busy):
        settle(store)
        partial = partial_of(store)
        if partial.is_symlink() or partial.is_file():
            partial.unlink()
        partial.mkdir(exist_ok=True)
        yield partial


def partial_of(store: Path) -> Path:
    """Folder of the partial store, beside the store."""
    return store.with_name(f".{store.name}.partial")


class PartialStore:
    """The tracks that are decoded so far, in `folder`. It resumes one of the same plan and discards any other.

    Args:
        plan: whatever decides the result
        first: number of the first shard to write

    Attributes:
        done: ids of the finished tracks
    """

    def __init__(self, folder: Path, plan: dict[str, Any], shard_megabytes: int, first: int = 0) -> None:
        self.folder = Path(folder)
        self.done: set[str] = set()
        self.shards = ShardWriter(self.folder, shard_megabytes, first)
        self._journal = Journal(self.folder / "journal.jsonl")
        if not self._has_plan(plan) or not self._recover():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            self.done = set()
            self.shards = ShardWriter(self.folder, shard_megabytes, first)
            write_json(self.folder / "plan.json", plan)

    def add(self, track_id: str, path: str, samples: np.ndarray, facts: Mapping[str, Any], source: Source) -> None:
        """Add a decoded track."""
        if not self.shards.has_room(len(samples)):
            self.close_shard()
        shard, offset = self.shards.add(samples)
        place = {"shard": shard, "offset": offset, "samples": len(samples)}
        self._record(track_id, path, source, place | dict(facts))

    def keep(self, track_id: str, path: str, source: Source) -> None:
        """Keep a track whose samples in the previous store are still valid."""
        self._record(track_id, path, source, {})

    def reject(self, track_id: str, path: str, reason: str, source: Source | None) -> None:
        """Reject a track without usable audio."""
        self._record(track_id, path, source, {"reason": reason})

    def close_shard(self) -> None:
        """Bring the open shard safely to disk, and record that in the journal."""
        before = len(self.shards.closed)
        self.shards.close_shard()
        if len(self.shards.closed) > before:
            self._journal.append({"closed": self.shards.closed[-1]}, durable=True)

    def records(self) -> Iterator[Record]:
        """The journal's record of each finished track."""
        return (line.record for line in self._journal.lines() if line.record and "track_id" in line.record)

    def close(self) -> None:
        """Close the files; the content stays."""
        self.shards.release()
        self._journal.close()

    def discard(self) -> None:
        """Delete the partial store."""
        shutil.rmtree(self.folder)

    def _record(self, track_id: str, path: str, source: Source | None, result: Record) -> None:
        record: Record = {"track_id": track_id, "path": path}
        if source is not None:
            record |= {"source_bytes": source.bytes, "source_sha256": source.sha256, "hashed_ns": source.hashed_ns}
            record |= {"mtime_ns": source.mtime_ns, "ctime_ns": source.ctime_ns}
        self._journal.append(record | result)
        self.done.add(track_id)

    def _has_plan(self, plan: dict[str, Any]) -> bool:
        try:
            return bool(read_json(self.folder / "plan.json") == plan) and self._journal.path.is_file()
        except (OSError, ValueError):  # missing or damaged
            return False

    def _recover(self) -> bool:
        """Resume from the journal as far as it is valid; False where not even its closed shards are."""
        valid, tail = 0, list[Line]()  # the tail is behind the last closed shard and not checked yet
        for line in self._journal.lines():
            if line.record is None or not _is_record(line.record):
                break
            tail.append(line)
            if "closed" in line.record:
                if not self._is_complete(line.record["closed"]):
                    return False
                self.shards.closed.append(line.record["closed"])
                self.shards.skip()
                self.done.update(earlier.record["track_id"] for earlier in tail[:-1] if earlier.record)
                valid, tail = line.end, []
        samples = 0
        for line in tail:
            if line.record is None or not self._has_samples(line.record, samples):
                break
            valid, samples = line.end, samples + line.record.get("samples", 0)
            self.done.add(line.record["track_id"])
        self._journal.truncate(valid)
        if samples:
            self.shards.resume(samples)
        return True

    def _is_complete(self, shard: Shard) -> bool:
        path = self.folder / shard["file"]
        return path.is_file() and path.stat().st_size == shard["samples"] * BYTES_PER_SAMPLE

    def _has_samples(self, record: Record, offset: int) -> bool:
        """Whether a decoded track's samples are in the open shard, behind the `offset` samples of those before it."""
        if "samples" not in record:
            return True
        path = self.folder / shard_name(self.shards.number)
        if (record["shard"], record["offset"]) != (self.shards.number, offset) or not path.is_file():
            return False
        with open(path, "rb") as file:
            file.seek(offset * BYTES_PER_SAMPLE)
            content = file.read(record["samples"] * BYTES_PER_SAMPLE)
        return hashlib.sha256(content).hexdigest() == record["audio_sha256"]


def _is_record(record: Record) -> bool:
    """Whether a line of the journal is one that this class writes."""
    match record:
        case {"closed": closed, **rest}:
            return not rest and isinstance(closed, dict) and closed.keys() == Shard.__annotations__.keys()
        case {"track_id": str(), "path": str(), "samples": int(), "shard": int(), "offset": int()}:
            return isinstance(record.get("audio_sha256"), str)
        case {"track_id": str(), "path": str(), **result}:
            return "samples" not in result and (isinstance(result.get("reason"), str) or "source_sha256" in result)
    return False


def finish(
    store: Path, partial: PartialStore, previous: Previous, shard_megabytes: int, more: dict[str, Any] | None = None
) -> None:
    """Assemble the finished store and replace the previous one: its shards that still hold a track, then the new ones.

    Shards are never written to again. Samples of tracks that are gone or changed stay in them, unused, up to half of
    the store.

    Args:
        more: further entries of store.json
    """
    partial.close_shard()
    index, files = _placed(partial, previous)
    shards = [shard for _, shard in files]
    live, stored = int(index["samples"].sum()), sum(shard["samples"] for shard in shards)
    with replacing(store) as fresh:
        fresh.mkdir()
        if stored - live > MOST_DEAD * stored:
            index, shards = _copied(index, files, fresh, shard_megabytes)
        else:
            for folder, shard in files:
                link_or_copy(folder / shard["file"], fresh / shard["file"])
        sources = table(partial.records(), SOURCES).fillna({"source_bytes": 0, "source_sha256": ""})
        sources = sources.sort_values("track_id").astype({"source_bytes": "int64"})
        write_table(sources, fresh / "sources.parquet")
        rejected = table((record for record in partial.records() if "reason" in record), REJECTED)
        write_index(fresh, index, shards, rejected.sort_values("track_id"), {"decoder": DECODER} | (more or {}))
    shutil.rmtree(partial.folder)


def _placed(partial: PartialStore, previous: Previous) -> tuple[pd.DataFrame, list[tuple[Path, Shard]]]:
    """INDEX in the order of the samples, and its shards, each with the folder it lies in now."""
    added = table((record for record in partial.records() if "samples" in record), INDEX)
    kept = [r["track_id"] for r in partial.records() if "samples" not in r and "reason" not in r]
    old = previous.index.loc[kept].reset_index()
    used = sorted(old["shard"].unique())
    files = [(previous.folder, previous.shards[position]) for position in used]
    old["shard"] = old["shard"].map({position: place for place, position in enumerate(used)}).astype("int64")
    added["shard"] += len(used) - previous.next_shard  # numbers continue the previous ones, positions have no gaps
    files += [(partial.folder, shard) for shard in partial.shards.closed]
    index = pd.concat([old, added]) if len(old) else added
    return index.sort_values(["shard", "offset"]).reset_index(drop=True)[INDEX.names], files


def _copied(
    index: pd.DataFrame, files: list[tuple[Path, Shard]], new: Path, shard_megabytes: int
) -> tuple[pd.DataFrame, list[Shard]]:
    """The live samples in new shards, in the order of a store that is written in one go."""
    index = index.sort_values("track_id").reset_index(drop=True)
    writer = ShardWriter(new, shard_megabytes)
    places = []
    for position, offset, samples in index[["shard", "offset", "samples"]].to_numpy().tolist():
        if not writer.has_room(samples):
            writer.close_shard()
        places.append((writer.number, writer.samples))
        folder, shard = files[position]
        with open(folder / shard["file"], "rb") as file:
            file.seek(offset * BYTES_PER_SAMPLE)
            writer.append(file.read(samples * BYTES_PER_SAMPLE))
    writer.close_shard()
    placed = pd.DataFrame(places, columns=["shard", "offset"], dtype="int64")
    return index.assign(shard=placed["shard"], offset=placed["offset"]), writer.closed
