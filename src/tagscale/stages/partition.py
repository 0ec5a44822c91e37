"""Partition: train, valid and test without a common artist, and nested training subsets."""

from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from tagscale.catalog.tables import Catalog
from tagscale.params.load import Params
from tagscale.partition.divide import Partition, divide
from tagscale.partition.growth import PARTS, crossing_artists, earlier_assignments, moved, no_assignments
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json
from tagscale.validation.validate import check_partition

STRATIFIED = "stratified"
SHOWN = 5


def run(params: Params, *, catalog: Path, validation: Path, partition: Path, previous: Path | None = None) -> None:
    """Divide the tracks that validation left into parts; learn the tags that it kept.

    Args:
        previous: folder of the partition made last (may be `partition` itself): where it was made with the same
            settings, its tracks stay in their parts.

    Raises:
        TagscaleError: validation failed or is of another catalog, fewer artists than parts, an unusable split, a
            previous partition that lacks a file or leaves a part empty, or a result that fails its checks.
    """
    dataset = Catalog.load(catalog)
    findings = _passed(dataset, Path(validation))
    tags = list(findings["tags"])
    quarantine = pd.read_csv(Path(validation) / "quarantine.csv", dtype=str, keep_default_na=False)
    usable = ~dataset.tracks["track_id"].isin(quarantine["track_id"]).to_numpy()
    chosen = params.partition
    shares = {"train": chosen.train, "valid": chosen.valid, "test": chosen.test}
    split = dataset.split.name if dataset.split else STRATIFIED
    settings = {"dataset": dataset.name, "split": split, **shares, "seed": chosen.seed}
    before, note = Path(previous) if previous else None, ""
    assigned = no_assignments()
    if not dataset.split:
        assigned, note = earlier_assignments(before, settings)
    kinds = dataset.tags.loc[tags, "kind"].tolist()
    found, quality = divide(
        dataset.tracks[usable], dataset.labels.loc[usable, tags], kinds, shares, chosen.seed, assigned
    )
    found.split, found.settings, found.data_hash = split, settings, findings["data_hash"]
    crossing_allowed = not dataset.split.artist_filtered if dataset.split else _crossed_before(found, assigned)
    _check(found, crossing_allowed, Path(partition))
    notes = [note, _kept(found, assigned), _crossing(found), *_changed_split(found, before)]
    found.save(partition, quality)
    _show(found, quality, [line for line in notes if line])


def _passed(dataset: Catalog, validation: Path) -> dict[str, Any]:
    """What validation found, if it was about this catalog and let it pass."""
    if not (validation / "validation.json").is_file():
        raise TagscaleError(f"{validation / 'validation.json'}: no such file. Run `tagscale validate` first.")
    findings = read_json(validation / "validation.json")
    if findings["catalog"] != dataset.hash:
        raise TagscaleError(f"{validation}: made from another catalog. Run `tagscale validate` again.")
    if not findings["passed"]:
        raise TagscaleError(f"{validation}: the dataset did not pass; see validation.html there and mend it.")
    if findings["other_version"]:
        raise TagscaleError(f"{validation}: {findings['other_version']}")
    return dict(findings)


def _crossed_before(found: Partition, assigned: pd.DataFrame) -> bool:
    """Whether artists are in more than one part only because tracks that had their parts already are."""
    parts = assigned.drop_duplicates("track_id").set_index("track_id")["part"]
    kept = pd.DataFrame({"artist": found.table["artist"], "part": found.table["track_id"].map(parts)}).dropna()
    return len(crossing_artists(kept)) == len(crossing_artists(found.table)) > 0


def _check(found: Partition, crossing_allowed: bool, partition: Path) -> None:
    if stops := check_partition(found, crossing_allowed):
        reasons = "\n".join(f"  {stop}" for stop in stops)
        raise TagscaleError(
            f"the new partition is not sound, so {partition} stays as it was:\n{reasons}\n"
            "Mend the artists or the split of the dataset's tracks and run `tagscale catalog` again."
        )


def _kept(found: Partition, assigned: pd.DataFrame) -> str:
    """How much of the partition was decided earlier, in words."""
    if assigned.empty:
        return ""
    known = found.table["track_id"].isin(assigned["track_id"])
    new = found.table["artist"][~known]
    newcomers = new[~new.isin(found.table["artist"][known]) & ~new.isin(assigned["artist"])].nunique()
    gone = assigned["track_id"].nunique() - int(known.sum())
    return (
        f"{known.sum()} tracks stay where the previous partition put them, {len(new)} are new ({newcomers} new "
        f"artists), {gone} of earlier ones are not there at present"
    )


def _crossing(found: Partition) -> str:
    """Artists in more than one part, in words."""
    artists = crossing_artists(found.table)
    if not artists:
        return ""
    why = (
        "their tracks were listed under other artists when they got their parts, and tracks never move; change "
        "partition.seed to divide all tracks afresh"
        if found.split == STRATIFIED
        else f"the dataset's own split ({found.split}) has it so"
    )
    return (
        f"{len(artists)} artists have tracks in more than one part: {_some(artists)}: {why}. "
        "Expect scores that are too good."
    )


def _changed_split(found: Partition, before: Path | None) -> list[str]:
    """What is to be said when a dataset's own split puts tracks elsewhere than it did."""
    if found.split == STRATIFIED or before is None or not (before / "partition.json").is_file():
        return []
    earlier = Partition.load(before)
    if any(earlier.settings.get(name) != found.settings[name] for name in ("dataset", "split")):
        return []
    tracks = moved(earlier.table, found.table)
    if not tracks:
        return []
    return [
        f"the dataset's own split ({found.split}) has changed since {before} was made: {len(tracks)} tracks are in "
        f"another part now: {_some(tracks)}. Results on the earlier parts are not comparable."
    ]


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _show(found: Partition, quality: dict[str, Any], notes: list[str]) -> None:
    console = Console()
    table = Table("part", "tracks", "share", "artists", title=f"Partition ({quality['source']})")
    for part in PARTS:
        rows = found.table[found.table["part"] == part]
        table.add_row(part, str(len(rows)), f"{len(rows) / len(found.table):.1%}", str(rows["artist"].nunique()))
    console.print(table)
    console.print(_gaps(quality))
    worst = ", ".join(f"{row['tag']} {row['difference']:.4f}" for row in quality["worst_tags"])
    notes = [*notes, f"largest differences between two parts: {worst}; all tags: quality.csv"]
    for part, tags in quality["no_positive"].items():
        if tags:
            notes.append(f"no positive track in {part}, so not scored there: {', '.join(tags)}")
    for note in notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def _gaps(quality: dict[str, Any]) -> Table:
    """Differences of tag prevalence, each beside what chance does."""
    table = Table("difference of tag prevalence", "largest", "mean")

    def add(name: str, chance: str, numbers: dict[str, float]) -> None:
        table.add_row(name, f"{numbers['max']:.4f}", f"{numbers['mean']:.4f}")
        table.add_row(f"  {chance}", f"{numbers['random_max']:.4f}", f"{numbers['random_mean']:.4f}")

    add("between the parts", "random split by artists", quality["deviation"])
    for size, numbers in quality["subsets"].items():
        add(f"first {size} training tracks to all", f"{size} random ones", numbers)
    return table
