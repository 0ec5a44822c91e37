"""The finished store that a new one grows from: its tracks need not be decoded again."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from tagscale.decoding.batch import Source
from tagscale.decoding.decode import DECODER
from tagscale.runtime.files import read_json, replacing
from tagscale.store.read import BYTES_PER_SAMPLE, FORMAT
from tagscale.store.writer import INDEX, REJECTED, table

Seen = dict[str, tuple[int, int, str]]  # file -> size, mtime_ns, SHA-256


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
    shards: list[dict[str, Any]] = field(default_factory=list)
    index: pd.DataFrame = field(default_factory=lambda: table([], INDEX).set_index("track_id"))
    reasons: dict[str, str] = field(default_factory=dict)
    sources: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "Previous":
        """Read the store in `folder`; an empty one where it is missing, damaged or of another format or decoder."""
        path = folder / "store.json"
        try:
            facts = read_json(path)
            if (facts["format"], facts.get("decoder")) != (FORMAT, DECODER) or not _has_shards(folder, facts["shards"]):
                return cls(folder)
            rejected = read_rejected(folder)
            sources = pd.read_parquet(folder / "sources.parquet")
            index = pd.read_parquet(folder / "index.parquet")[INDEX.names].set_index("track_id")
        except (OSError, ValueError, KeyError):
            return cls(folder)
        return cls(
            folder,
            hashlib.sha256(path.read_bytes()).hexdigest(),
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


def _has_shards(folder: Path, shards: list[dict[str, Any]]) -> bool:
    paths = [(folder / shard["file"], shard["samples"] * BYTES_PER_SAMPLE) for shard in shards]
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def read_rejected(folder: Path) -> pd.DataFrame:
    """rejected.csv of a store: track_id, path, reason."""
    return pd.read_csv(folder / "rejected.csv", dtype=str, keep_default_na=False)[REJECTED.names]


def seen_of(store: Path) -> Path:
    """File beside a store with the size and time of the source files at their last hashing, valid on this machine."""
    return store.with_name(f".{store.name}-seen.parquet")


def load_seen(store: Path) -> Seen:
    """States of the files at their last hashing; empty where none are recorded."""
    if not seen_of(store).is_file():
        return {}
    seen = pd.read_parquet(seen_of(store))
    states = zip(seen["bytes"].tolist(), seen["mtime_ns"].tolist(), seen["sha256"], strict=True)
    return dict(zip(seen["file"], states, strict=True))


def save_seen(store: Path, seen: Seen) -> None:
    """Record the states of files for the next run."""
    rows = [(file, *state) for file, state in seen.items()]
    with replacing(seen_of(store)) as fresh:
        pd.DataFrame(rows, columns=["file", "bytes", "mtime_ns", "sha256"]).to_parquet(fresh, index=False)


def unchanged(seen: Seen, path: Path, digest: str) -> Source | None:
    """The file's recorded state, where its size and time of modification are still the same; otherwise None."""
    size, mtime, hashed = seen.get(str(path), (-1, -1, ""))
    if not digest or hashed != digest:
        return None
    try:
        state = path.stat()
    except OSError:
        return None
    return Source(size, mtime, digest) if (state.st_size, state.st_mtime_ns) == (size, mtime) else None
