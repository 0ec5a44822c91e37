"""From unfinished work, and what is kept of the previous store, to a finished store in its place."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from tagscale.decoding.decode import DECODER
from tagscale.runtime.files import link_or_copy
from tagscale.store.lock import replace_store
from tagscale.store.previous import Previous
from tagscale.store.read import BYTES_PER_SAMPLE
from tagscale.store.unfinished import Unfinished
from tagscale.store.writer import INDEX, REJECTED, SOURCES, ShardWriter, table, write_index

MOST_DEAD = 0.5  # of a store's samples; with more, the live ones are copied into new shards


def assemble(
    store: Path, work: Unfinished, previous: Previous, shard_megabytes: int, more: dict[str, Any] | None = None
) -> None:
    """Finish a store: old shards that still hold a track of it, then the new ones; it replaces what is in its place.

    Shards are never written to again. Samples of tracks that have gone or changed stay in them, unused, up to half
    of the store.

    Args:
        more: further entries of store.json.
    """
    work.close_shard()
    new = work.folder / "new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    index, files = _placed(work, previous)
    shards = [shard for _, shard in files]
    live, stored = int(index["samples"].sum()), sum(shard["samples"] for shard in shards)
    if stored - live > MOST_DEAD * stored:
        index, shards = _copied(index, files, new, shard_megabytes)
    else:
        for folder, shard in files:
            link_or_copy(folder / shard["file"], new / shard["file"])
    sources = table(work.records(), SOURCES).fillna({"source_bytes": 0, "source_sha256": ""}).sort_values("track_id")
    sources.astype({"source_bytes": "int64"}).to_parquet(new / "sources.parquet", index=False)
    rejected = table((record for record in work.records() if "reason" in record), REJECTED).sort_values("track_id")
    write_index(new, index, shards, rejected, {"decoder": DECODER} | (more or {}))
    replace_store(store, work.folder)


def _placed(work: Unfinished, previous: Previous) -> tuple[pd.DataFrame, list[tuple[Path, dict[str, Any]]]]:
    """INDEX in the order of the samples, and the shards that it speaks of, each with the folder it lies in now."""
    added = table((record for record in work.records() if "samples" in record), INDEX)
    kept = [r["track_id"] for r in work.records() if "samples" not in r and "reason" not in r]
    old = previous.index.loc[kept].reset_index()
    used = sorted(old["shard"].unique())
    files = [(previous.folder, previous.shards[position]) for position in used]
    old["shard"] = old["shard"].map({position: place for place, position in enumerate(used)}).astype("int64")
    added["shard"] += len(used) - previous.next_shard  # numbers count on from the old ones, positions have no gaps
    files += [(work.folder, shard) for shard in work.shards.closed]
    index = pd.concat([old, added]) if len(old) else added
    return index.sort_values(["shard", "offset"]).reset_index(drop=True)[INDEX.names], files


def _copied(
    index: pd.DataFrame, files: list[tuple[Path, dict[str, Any]]], new: Path, shard_megabytes: int
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
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
