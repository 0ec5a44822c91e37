"""Partition: train, valid and test without a common artist, and nested training subsets."""

from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from tagscale.data.catalog import Catalog
from tagscale.data.partition import PARTS, Partition, divide
from tagscale.errors import TagscaleError
from tagscale.files import read_json
from tagscale.params import Params


def run(params: Params, *, catalog: Path, validation: Path, partition: Path) -> None:
    """Divide the tracks that validation left into parts; learn the tags that it kept.

    Raises:
        TagscaleError: validation failed or is of another catalog, fewer artists than parts, or an unusable split.
    """
    dataset = Catalog.load(catalog)
    findings = _passed(dataset, Path(validation))
    tags = list(findings["tags"])
    quarantine = pd.read_csv(Path(validation) / "quarantine.csv", dtype=str, keep_default_na=False)
    usable = ~dataset.tracks["track_id"].isin(quarantine["track_id"]).to_numpy()
    settings = params.partition
    found, quality = divide(
        dataset.tracks[usable],
        dataset.labels.loc[usable, tags],
        dataset.tags.loc[tags, "kind"].tolist(),
        {"train": settings.train, "valid": settings.valid, "test": settings.test},
        settings.seed,
    )
    found.split = dataset.split.name if dataset.split else "stratified"
    found.data_hash = findings["data_hash"]
    found.save(partition, quality)
    _show(found, quality)


def _passed(dataset: Catalog, validation: Path) -> dict[str, Any]:
    """What validation found, if it was about this catalog and let it pass."""
    if not (validation / "validation.json").is_file():
        raise TagscaleError(f"{validation / 'validation.json'}: no such file. Run `tagscale validate` first.")
    findings = read_json(validation / "validation.json")
    if findings["catalog"] != dataset.hash:
        raise TagscaleError(f"{validation}: made from another catalog. Run `tagscale validate` again.")
    if not findings["passed"]:
        raise TagscaleError(f"{validation}: the dataset did not pass; see validation.html there and mend it.")
    return dict(findings)


def _show(found: Partition, quality: dict[str, Any]) -> None:
    console = Console()
    table = Table("part", "tracks", "share", "artists", title=f"Partition ({quality['source']})")
    for part in PARTS:
        rows = found.table[found.table["part"] == part]
        table.add_row(part, str(len(rows)), f"{len(rows) / len(found.table):.1%}", str(rows["artist"].nunique()))
    console.print(table)
    gaps = Table("|label mean of a part - of all|", "largest", "mean")
    deviation = quality["deviation"]
    gaps.add_row("this partition", f"{deviation['max']:.4f}", f"{deviation['mean']:.4f}")
    gaps.add_row("random split by artists", f"{deviation['random_max']:.4f}", f"{deviation['random_mean']:.4f}")
    console.print(gaps)
    if quality["artists_crossing"]:
        crossing = f"{quality['artists_crossing']} artists have tracks in more than one part of the dataset's own split"
        console.print(f"{crossing}: expect scores that are too good.", highlight=False, soft_wrap=True)
    for part, tags in quality["no_positive"].items():
        if tags:
            note = f"no positive track in {part}, so not scored there: {', '.join(tags)}"
            console.print(note, markup=False, highlight=False, soft_wrap=True)
