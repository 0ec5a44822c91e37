"""Leaks: which artists, albums and identical recordings have tracks in more than one part of a split."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tagscale.catalog.sources import read
from tagscale.catalog.sources.folder import STRATIFIED
from tagscale.catalog.tables import Catalog
from tagscale.params.load import DatasetParams
from tagscale.partition.divide import Partition
from tagscale.runtime.errors import TagscaleError
from tagscale.store.read import Store
from tagscale.validation.leaks import Crossing, artist_filtered, as_json, crossings

SHOWN = 5  # artists listed by name


def run(
    dataset: DatasetParams,
    *,
    root: Path,
    store: Path | None = None,
    partition: Path | None = None,
    json_output: bool = False,
) -> None:
    """Print what crosses a dataset's split: a table and a conclusion, or JSON. Only the annotations are needed.

    Args:
        root: folder of the annotations.
        store: decoded audio, from preprocess; None skips the search for identical audio.
        partition: folder of a partition to check; None checks the dataset's own split.
        json_output: print JSON instead of the table.

    Raises:
        TagscaleError: the dataset has no split and no partition is given, or the partition has other tracks.
    """
    if dataset.split == STRATIFIED and partition is None:
        raise TagscaleError(_nothing_to_check("dataset.split is `stratified`"))
    catalog = read(Path(root), dataset)
    name, claim = _take_parts(catalog, partition)
    leaks = crossings(catalog.tracks, _audio(store))
    facts = {"split": name, "split_hash": catalog.split_hash, "artist_filtered": claim}
    known = leaks[0].unknown < leaks[0].test_tracks
    facts |= {"artist_filter_holds": artist_filtered(leaks) if known else None}
    if json_output:
        print(json.dumps(facts | as_json(leaks), indent=2))
        return
    _show(f"{catalog.name}, {name} ({catalog.split_hash})", leaks, claim)


def _nothing_to_check(why: str) -> str:
    return (
        f"{why}, so there is no split to check yet. Run `tagscale partition` and give its folder with --partition, or "
        "name one of the dataset's own splits with --split."
    )


def _take_parts(catalog: Catalog, partition: Path | None) -> tuple[str, bool]:
    """Name of the split to check, and whether it claims to be artist-filtered. A partition replaces the split."""
    if partition is None:
        if catalog.split is None:
            raise TagscaleError(_nothing_to_check(f"{catalog.name} has no split of its own"))
        return catalog.split.name, catalog.split.artist_filtered
    made = Partition.load(partition)
    if made.folds:
        raise TagscaleError(
            f"{partition}: a partition in {made.folds} folds, each of which is tested once; leaks are counted "
            "between train, valid and test. Check a partition that was made with partition.folds null."
        )
    unknown = sorted(set(made.table["track_id"]) - set(catalog.tracks["track_id"]))
    if unknown:
        raise TagscaleError(
            f"{partition}: {len(unknown)} of its tracks, {unknown[0]} for one, are not in {catalog.name}. It belongs "
            "to another dataset. Check --partition, --source and --root."
        )
    parts = catalog.tracks["track_id"].map(made.table.set_index("track_id")["part"]).astype(object)
    catalog.tracks["split"] = parts.where(parts.notna(), None)
    own = catalog.split is not None and catalog.split.name == made.split and catalog.split.artist_filtered
    return made.split, made.split == STRATIFIED or own


def _audio(store: Path | None) -> pd.Series | None:
    """Hash of each track's decoded audio, index track_id; None without a store."""
    if store is None:
        return None
    return Store.open(store).facts["audio_sha256"]


def _show(title: str, leaks: list[Crossing], claim: bool) -> None:
    table = Table("", "in test", "of them in train", "test tracks", "share", "unknown", title=escape(title))
    for leak in leaks:
        share = leak.test_tracks_by_train / max(leak.test_tracks, 1)
        numbers = (leak.test_keys, leak.test_keys_in_train, leak.test_tracks_by_train)
        table.add_row(leak.kind, *(f"{number:,}" for number in numbers), f"{share:.1%}", f"{leak.unknown:,}")
    Console().print(table)
    artists = leaks[0]
    both = artists.crossing[(artists.crossing["train"] > 0) & (artists.crossing["test"] > 0)].head(SHOWN)
    for name, counts in zip(both.index, both.to_numpy(np.int64).tolist(), strict=True):
        parts = "{:,} tracks in train, {:,} in valid, {:,} in test".format(*counts)
        print(f"  {name}: {parts}")
    print(_conclusion(artists, claim))


def _conclusion(artists: Crossing, claim: bool) -> str:
    if artists.unknown == artists.test_tracks:
        return "The artists of the test tracks are unknown, so nobody can tell whether they are in train, too."
    if artists.crossing.empty:
        some = f" The artists of {artists.unknown:,} test tracks are unknown." if artists.unknown else ""
        return f"No artist is in more than one part.{some}"
    warning = " The split claims that no artist is in two parts, which is wrong." if claim else ""
    return (
        f"{artists.test_keys_in_train:,} of {artists.test_keys:,} test artists are in train, too: "
        f"{artists.test_tracks_by_train:,} of {artists.test_tracks:,} test tracks are by artists that the models have "
        f"heard; {len(artists.crossing):,} artists are in more than one part. Expect scores that are too good.{warning}"
    )
