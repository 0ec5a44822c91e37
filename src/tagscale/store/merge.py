"""Joins the stores of a catalog's slices, each decoded by a machine of its own (`--shard I/N`)."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import link_or_copy, replacing
from tagscale.runtime.tables import write_table
from tagscale.store.grow import writing
from tagscale.store.read import INDEX, Shard, StoreFacts, read_rejected, read_sources
from tagscale.store.verify import load
from tagscale.store.writer import shard_name, write_index


@dataclass(frozen=True)
class Slice:
    """The store of one slice: its store.json and its index."""

    folder: Path
    facts: StoreFacts
    index: pd.DataFrame

    @property
    def number(self) -> int:
        return int(self.facts["slice"]["number"])


def merge(stores: Sequence[Path], target: Path) -> None:
    """Join the stores of all slices of a catalog, in any order, into one store in `target`.

    Shards are linked, or copied where links are impossible; the slices do not change. The result has the hash of a
    store that was decoded in one go, and grows like one.

    Raises:
        TagscaleError: a slice is missing or given twice; slices differ in catalog, format or decoder; a track is in
            two of them; there is no track at all; another process is writing `target`.
    """
    target = Path(target)
    slices = _checked([Path(store) for store in stores])
    with writing(target) as partial:
        with replacing(target) as fresh:
            fresh.mkdir()
            shards: list[Shard] = []
            tables = []
            for part in slices:
                tables.append(part.index.assign(shard=part.index["shard"] + len(shards)))
                for shard in part.facts["shards"]:
                    name = shard_name(len(shards))
                    link_or_copy(part.folder / shard["file"], fresh / name)
                    shards.append({**shard, "file": name})
            sources = pd.concat([read_sources(part.folder) for part in slices])
            write_table(sources.reset_index(drop=True), fresh / "sources.parquet")
            rejected = pd.concat([read_rejected(part.folder) for part in slices])
            index = pd.concat([table for table in tables if len(table)]).reset_index(drop=True)
            write_index(fresh, index, shards, rejected, {"decoder": slices[0].facts.get("decoder")})
        shutil.rmtree(partial)


def _checked(folders: list[Path]) -> list[Slice]:
    """The slices in order. Raises TagscaleError where they are not all slices of one catalog."""
    slices = []
    for folder in folders:
        facts, index = load(folder)
        if "slice" not in facts:
            raise TagscaleError(f"{folder}: not a slice: it was made by `preprocess` without --shard.")
        slices.append(Slice(folder, facts, index[INDEX.names]))
    if not slices:
        raise TagscaleError("no stores to merge: give the folders of all slices.")
    first = slices[0]
    for part in slices[1:]:
        for what, ours, its in (
            ("slices", part.facts["slice"]["of"], first.facts["slice"]["of"]),
            ("catalog", part.facts["slice"]["catalog"], first.facts["slice"]["catalog"]),
            ("decoder", part.facts.get("decoder"), first.facts.get("decoder")),
        ):
            if ours != its:
                raise TagscaleError(
                    f"{part.folder} and {first.folder} do not belong together: {what} {ours} and {its}. Decode all "
                    "slices of one catalog with one version of tagscale and the same N in --shard I/N."
                )
    of = first.facts["slice"]["of"]
    numbers = [part.number for part in slices]
    missing = sorted(set(range(1, of + 1)) - set(numbers))
    if missing or len(numbers) != of:
        twice = sorted({number for number in numbers if numbers.count(number) > 1})
        raise TagscaleError(
            f"of {of} slices {', '.join(map(str, missing)) or 'none'} missing, {', '.join(map(str, twice)) or 'none'} "
            f"given twice; run `tagscale preprocess --shard I/{of}` for each I that is missing."
        )
    _check_tracks(slices)
    return sorted(slices, key=lambda part: part.number)


def _check_tracks(slices: list[Slice]) -> None:
    tracks = pd.concat([part.index["track_id"] for part in slices])
    if tracks.empty:
        raise TagscaleError("no track of any slice could be decoded: see rejected.csv in the stores of the slices.")
    if tracks.duplicated().any():
        both = tracks[tracks.duplicated()].iloc[0]
        folders = " and ".join(str(part.folder) for part in slices if (part.index["track_id"] == both).any())
        raise TagscaleError(f"{folders} overlap: track {both!r} is in both.")
