"""Stores for tests and benchmarks, from samples in memory."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tagscale.store.read import INDEX, REJECTED
from tagscale.store.writer import ShardWriter, table, write_index


def write_store(
    folder: Path,
    tracks: Iterable[tuple[str, np.ndarray, Mapping[str, Any]]],
    shard_megabytes: int = 1,
    rejected: Sequence[Mapping[str, str]] = (),
) -> Path:
    """Write a store into a new or empty folder; returns the folder.

    Args:
        tracks: track_id, int16 samples, and facts by the names of store.read.FACTS
        rejected: rows of rejected.csv
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards, rows = ShardWriter(folder, shard_megabytes), []
    for track_id, samples, facts in tracks:
        if not shards.has_room(len(samples)):
            shards.close_shard()
        shard, offset = shards.add(samples)
        place = {"track_id": track_id, "shard": shard, "offset": offset, "samples": len(samples)}
        rows.append(place | dict(facts))
    shards.close_shard()
    write_index(folder, table(rows, INDEX), shards.closed, table(rejected, REJECTED), {})
    return folder
