"""The finished store that a new one grows from: its tracks need not be decoded again."""

import hashlib
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from tagscale.decoding.batch import Source
from tagscale.decoding.decode import DECODER
from tagscale.runtime.files import replacing
from tagscale.runtime.reading import Damaged, Output
from tagscale.runtime.tables import read_table, schema, write_table
from tagscale.runtime.words import as_text
from tagscale.store.read import BYTES_PER_SAMPLE, COMMAND, INDEX, Shard, facts_of, index_of, read_rejected, read_sources
from tagscale.store.writer import table

State = tuple[int, int, int, str]  # size, mtime_ns, ctime_ns and SHA-256 of a file
Seen = dict[str, State]
SEEN = schema(file="text", bytes="whole", mtime_ns="whole", ctime_ns="whole", sha256="text")


@dataclass
class Previous:
    """A finished store.

    Attributes:
        identity: SHA-256 of its store.json; "" where there is no store to grow from
        index: INDEX by track_id
        reasons: rejected track_id -> why
        sources: track_id -> path and SHA-256 of its file
    """

    folder: Path
    identity: str = ""
    shards: list[Shard] = field(default_factory=list)
    index: pd.DataFrame = field(default_factory=lambda: table([], INDEX).set_index("track_id"))
    reasons: dict[str, str] = field(default_factory=dict)
    sources: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "Previous":
        """Read the store in `folder`; an empty one where it is missing, damaged or of another format or decoder.

        Says which file of a store is damaged.
        """
        output = Output(folder, "store.json", COMMAND)
        if not folder.exists():
            return cls(folder)
        try:
            facts = facts_of(output)
            if facts.get("decoder") != DECODER:
                return cls(folder)
            _check_shards(output, facts["shards"])
            rejected, sources = read_rejected(folder), read_sources(folder)
            index = index_of(output, facts)[INDEX.names].set_index("track_id")
        except Damaged as damage:
            print(
                f"{damage.path}: {damage.what}. Nothing of this store is used, and every track is decoded again.",
                flush=True,
            )
            return cls(folder)
        return cls(
            folder,
            hashlib.sha256(output.content("store.json")).hexdigest(),
            facts["shards"],
            index,
            dict(zip(rejected["track_id"], rejected["reason"], strict=True)),
            dict(zip(sources["track_id"], zip(sources["path"], sources["source_sha256"], strict=True), strict=True)),
        )

    @property
    def next_shard(self) -> int:
        """Number that follows the last shard's."""
        return max((int(Path(shard["file"]).stem.rpartition("-")[2]) + 1 for shard in self.shards), default=0)

    def known(self, track_id: str, path: str) -> str:
        """SHA-256 of the track's file when it was decoded; "" for a track that is new or has another path now."""
        old_path, digest = self.sources.get(track_id, ("", ""))
        return digest if old_path == path else ""


def _check_shards(output: Output, shards: list[Shard]) -> None:
    """Raise Damaged where a shard is missing or not of its recorded length."""
    for shard in shards:
        path, size = Path(output.folder) / shard["file"], shard["samples"] * BYTES_PER_SAMPLE
        if not path.is_file() or path.stat().st_size != size:
            raise output.damaged(shard["file"], f"missing, or not {size} bytes long")


def seen_of(store: Path) -> Path:
    """File beside a store with the size and time of the source files at their last hashing, valid on this machine."""
    return store.with_name(f".{store.name}-seen.parquet")


def load_seen(store: Path) -> Seen:
    """States of the files at their last hashing; empty where none are recorded, or the record is damaged."""
    if not os.path.lexists(seen_of(store)):
        return {}
    try:
        seen = read_table(seen_of(store), SEEN, COMMAND)
    except Damaged as damage:
        print(f"{damage.path}: {damage.what}. It is dropped, and every file is hashed again.", flush=True)
        if seen_of(store).is_dir():
            shutil.rmtree(seen_of(store))  # no file takes the place of a folder
        return {}
    states = zip(*(seen[name].tolist() for name in SEEN.names[1:]), strict=True)
    return dict(zip(seen["file"], states, strict=True))


def save_seen(store: Path, seen: Seen) -> None:
    """Record the states of files for the next run."""
    rows = [(file, *state) for file, state in seen.items()]
    with replacing(seen_of(store)) as fresh:
        numbers = dict.fromkeys(("bytes", "mtime_ns", "ctime_ns"), "int64")
        write_table(pd.DataFrame(rows, columns=SEEN.names).astype(numbers), fresh)


def unchanged(seen: Seen, path: Path, digest: str) -> Source | None:
    """The file's recorded state, where its size and its times of change are still the same; otherwise None."""
    size, mtime, ctime, hashed = seen.get(as_text(path), (-1, -1, -1, ""))
    if not digest or hashed != digest:
        return None
    try:
        state = path.stat()
    except OSError:
        return None
    same = (state.st_size, state.st_mtime_ns, state.st_ctime_ns) == (size, mtime, ctime)
    return Source(size, mtime, ctime, digest, time.time_ns()) if same else None
