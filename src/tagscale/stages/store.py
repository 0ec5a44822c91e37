"""The commands of `tagscale store`: describe a store (info), check it (verify), join slices (merge)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tagscale import SAMPLE_RATE
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.progress import progress_bar
from tagscale.store.merge import merge as merge_stores
from tagscale.store.read import BYTES_PER_SAMPLE, read_rejected
from tagscale.store.verify import load
from tagscale.store.verify import verify as verify_store


def facts_of(store: Path) -> dict[str, Any]:
    """What a store holds, by the names that `store info --json` prints.

    dead_bytes belong to tracks that are gone or have changed since their shard was written.
    """
    facts, index = load(Path(store))
    samples, seconds = int(index["samples"].sum()), index["samples"] / SAMPLE_RATE
    stored = sum(shard["samples"] for shard in facts["shards"])
    points = {"shortest": 0.0, "median": 0.5, "longest": 1.0}
    return {
        "store": str(store),
        "format": facts["format"],
        "hash": facts["hash"],
        "slice": facts.get("slice"),
        "tracks": len(index),
        "rejected": len(read_rejected(Path(store))),
        "hours": round(samples / SAMPLE_RATE / 3600, 3),
        "bytes": stored * BYTES_PER_SAMPLE,
        "dead_bytes": (stored - samples) * BYTES_PER_SAMPLE,
        "shards": len(facts["shards"]),
        "seconds": {name: round(float(seconds.quantile(q)), 2) if len(index) else None for name, q in points.items()},
        "source_rates": {str(rate): int(n) for rate, n in index["source_rate"].value_counts().sort_index().items()},
        "channels": {str(number): int(n) for number, n in index["channels"].value_counts().sort_index().items()},
    }


def info(store: Path, as_json: bool = False) -> None:
    """Print what a store holds. Raises TagscaleError if it is missing."""
    facts = facts_of(store)
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    length, part = facts["seconds"], facts["slice"]
    dead = facts["dead_bytes"] / max(facts["bytes"], 1)
    lines = {
        "store": facts["store"] + (f" (slice {part['number']} of {part['of']})" if part else ""),
        "hash": facts["hash"],
        "tracks": f"{facts['tracks']:,}, and {facts['rejected']:,} rejected",
        "hours": f"{facts['hours']:,.2f}",
        "seconds": f"{length['shortest']} to {length['longest']}, median {length['median']}",
        "size": f"{facts['bytes'] / 1e6:,.1f} MB in {facts['shards']:,} shards; {dead:.0%} of it dead",
        "files had": ", ".join(f"{rate} Hz: {count:,}" for rate, count in facts["source_rates"].items()),
        "channels": ", ".join(f"{channels}: {count:,}" for channels, count in facts["channels"].items()),
    }
    for name, text in lines.items():
        print(f"{name:>10}  {text}")


def verify(store: Path) -> None:
    """Check every byte of a store against its checksums.

    Raises:
        TagscaleError: the store is damaged; names shards, byte ranges and tracks.
    """
    store = Path(store)
    shards = load(store)[0]["shards"]
    size = sum(shard["samples"] for shard in shards) * BYTES_PER_SAMPLE
    damages = []
    with progress_bar("bytes") as progress:
        task = progress.add_task("verifying", total=size)
        for checked, damage in verify_store(store):
            progress.advance(task, checked)
            damages += [damage] if damage else []
    if damages:
        lines = "\n".join(f"  {damage}" for damage in sorted(damages, key=lambda damage: damage.file))
        raise TagscaleError(
            f"{store}: {len(damages)} of {len(shards)} shards are damaged:\n{lines}\nRemove the store and run "
            "`tagscale preprocess` again, or `dvc checkout` a kept version."
        )
    print(f"{store}: {len(shards)} shards, {size / 1e6:,.1f} MB, all as they were written")


def merge(stores: Sequence[Path], target: Path) -> None:
    """Join the stores of all slices (`preprocess --shard I/N`). Raises TagscaleError as `store.merge.merge` does."""
    merge_stores(stores, target)
    facts = facts_of(target)
    print(f"{target}: {facts['tracks']:,} tracks, {facts['rejected']:,} rejected, from {len(stores)} slices")
