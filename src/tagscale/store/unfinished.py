"""A store in the making, which outlives its process: shards that grow, and a journal of the finished tracks.

A track's samples are with the system before its line is. After a kill, or a power cut, lines are believed as far as
they are whole and their samples have the SHA-256 that they say; the rest is cut off and decoded again. So a run that
was interrupted any number of times ends with the same bytes as one that was not.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tagscale.decoding.batch import Source
from tagscale.runtime.files import read_json, write_json
from tagscale.store.read import BYTES_PER_SAMPLE
from tagscale.store.writer import ShardWriter, shard_name, write_whole


class Unfinished:
    """Unfinished work in `folder`, continued where it was begun for the same plan.

    plan: whatever decides the result; work that was begun for another plan is thrown away.
    first: number of the first shard to write.
    done: ids of the tracks that are finished.
    """

    def __init__(self, folder: Path, plan: dict[str, Any], shard_megabytes: int, first: int = 0) -> None:
        self.folder = Path(folder)
        self.done: set[str] = set()
        self.shards = ShardWriter(self.folder, shard_megabytes, first)
        self._path = self.folder / "journal.jsonl"
        if not self._is_of(plan) or not self._recover():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            self.done = set()
            self.shards = ShardWriter(self.folder, shard_megabytes, first)
            write_json(self.folder / "plan.json", plan)
        self._journal = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def add(self, track_id: str, path: str, samples: np.ndarray, facts: Mapping[str, Any], source: Source) -> None:
        """A decoded track."""
        if not self.shards.has_room(len(samples)):
            self.close_shard()
        shard, offset = self.shards.add(samples)
        place = {"shard": shard, "offset": offset, "samples": len(samples)}
        self._note(_named(track_id, path, source) | place | dict(facts))

    def keep(self, track_id: str, path: str, source: Source) -> None:
        """A track whose samples in the previous store are still right."""
        self._note(_named(track_id, path, source))

    def reject(self, track_id: str, path: str, reason: str, source: Source | None) -> None:
        """A track without usable audio."""
        self._note(_named(track_id, path, source) | {"reason": reason})

    def close_shard(self) -> None:
        """Bring the open shard safely to disk, and say so in the journal."""
        before = len(self.shards.closed)
        self.shards.close_shard()
        if len(self.shards.closed) > before:
            self._write({"closed": self.shards.closed[-1]})
            os.fsync(self._journal)

    def records(self) -> Iterator[dict[str, Any]]:
        """What was noted of each finished track."""
        with open(self._path, encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                if "track_id" in record:
                    yield record

    def close(self) -> None:
        """Give back the file handles; the work stays where it is."""
        self.shards.release()
        os.close(self._journal)

    def discard(self) -> None:
        """Throw the work away."""
        shutil.rmtree(self.folder)

    def _note(self, record: Mapping[str, Any]) -> None:
        self._write(record)
        self.done.add(record["track_id"])

    def _write(self, record: Mapping[str, Any]) -> None:
        write_whole(self._journal, (json.dumps(record) + "\n").encode())

    def _is_of(self, plan: dict[str, Any]) -> bool:
        try:
            return bool(read_json(self.folder / "plan.json") == plan) and self._path.is_file()
        except (OSError, ValueError):
            return False

    def _recover(self) -> bool:
        """Take up the journal as far as it is to be believed; False where not even its closed shards are."""
        good, tail = 0, []  # of the tail, which lies behind the last closed shard, nothing is believed yet
        with open(self._path, "rb") as lines:
            at = 0
            for line in lines:
                record = _parsed(line)
                if record is None:
                    break
                tail.append((at, record))
                at += len(line)
                if "closed" in record:
                    if not self._is_whole(record["closed"]):
                        return False
                    self.shards.closed.append(record["closed"])
                    self.shards.skip()
                    self.done.update(earlier["track_id"] for _, earlier in tail[:-1])
                    good, tail = at, []
            end = at
        samples = 0
        for at, record in [*tail, (end, {})]:
            good = at
            if not record or not self._has_samples(record, samples):
                break
            samples += record.get("samples", 0)
            self.done.add(record["track_id"])
        os.truncate(self._path, good)
        if samples:
            self.shards.resume(samples)
        return True

    def _is_whole(self, shard: dict[str, Any]) -> bool:
        path = self.folder / shard["file"]
        return path.is_file() and path.stat().st_size == shard["samples"] * BYTES_PER_SAMPLE

    def _has_samples(self, record: dict[str, Any], offset: int) -> bool:
        """Whether a decoded track's samples are in the open shard behind the `offset` samples of those before it."""
        if "samples" not in record:
            return True
        path = self.folder / shard_name(self.shards.number)
        if (record["shard"], record["offset"]) != (self.shards.number, offset) or not path.is_file():
            return False
        with open(path, "rb") as file:
            file.seek(offset * BYTES_PER_SAMPLE)
            content = file.read(record["samples"] * BYTES_PER_SAMPLE)
        return hashlib.sha256(content).hexdigest() == record["audio_sha256"]


def _named(track_id: str, path: str, source: Source | None) -> dict[str, Any]:
    named: dict[str, Any] = {"track_id": track_id, "path": path}
    if source is None:
        return named
    return named | {"source_bytes": source.bytes, "source_sha256": source.sha256, "mtime_ns": source.mtime_ns}


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line of the journal; None where it is not whole."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
