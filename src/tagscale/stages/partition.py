"""Partition: train, valid and test that share no artist, and nested training subsets."""

from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from tagscale.catalog.tables import Catalog
from tagscale.params.load import Params
from tagscale.partition.divide import Partition, divide
from tagscale.partition.growth import (
    PARTS,
    crossing_artists,
    earlier_assignments,
    fold_names,
    moved_tracks,
    no_assignments,
)
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.names import near_equal
from tagscale.runtime.reading import Damaged
from tagscale.runtime.words import listed
from tagscale.validation.findings import Facts, read_findings
from tagscale.validation.soundness import check_partition

STRATIFIED = "stratified"
SHOWN = 5


def run(params: Params, *, catalog: Path, validation: Path, partition: Path, previous: Path | None = None) -> None:
    """Divide the tracks that validation accepted into parts or folds, and keep the tags that it accepted.

    Args:
        previous: folder of the earlier partition (may be `partition` itself). Its tracks stay in their parts if it was
            made with the same settings.

    Raises:
        TagscaleError: the validation is missing, failed or belongs to another catalog; there are fewer artists than
            parts; the split is unusable, or folds are to be made beside it; the earlier partition lacks a file or
            leaves a part empty; or the new partition fails its checks.
    """
    dataset = Catalog.load(catalog)
    findings, quarantine = read_findings(validation)
    _check_passed(dataset, findings, validation)
    tags = findings["tags"]
    usable = ~dataset.tracks["track_id"].isin(quarantine["track_id"]).to_numpy()
    folds, seed = params.partition.folds, params.partition.seed
    if folds and dataset.split:
        raise TagscaleError(
            f"partition.folds: found {folds}, but the dataset brings its own split ({dataset.split.name}), which says "
            "what the test part is. Set dataset.split to `stratified` (and run `tagscale catalog` again) to have folds "
            "made, or partition.folds to null to use that split."
        )
    shares = {part: getattr(params.partition, part) for part in PARTS}
    decisive: dict[str, Any] = {"folds": folds} if folds else shares
    if folds:
        shares = dict.fromkeys(fold_names(folds), 1 / folds)
    split = dataset.split.name if dataset.split else STRATIFIED
    settings = {"dataset": dataset.name, "split": split, **decisive, "seed": seed}
    earlier_folder, note = Path(previous) if previous else None, ""
    assigned = no_assignments()
    if not dataset.split:
        assigned, note = earlier_assignments(earlier_folder, settings)
    kinds = dataset.tags.loc[tags, "kind"].tolist()
    parts, quality = divide(dataset.tracks[usable], dataset.labels.loc[usable, tags], kinds, shares, seed, assigned)
    parts.split, parts.settings, parts.data_hash = split, settings, findings["data_hash"]
    crossing_allowed = not dataset.split.artist_filtered if dataset.split else _crossing_is_inherited(parts, assigned)
    _check_sound(parts, crossing_allowed, Path(partition))
    notes = [note, _growth_note(parts, assigned), _crossing_note(parts), _spelling_note(parts)]
    notes += _split_change_notes(parts, earlier_folder)
    parts.save(partition, quality)
    _show(parts, quality, [line for line in notes if line])


def _check_passed(dataset: Catalog, findings: Facts, validation: Path) -> None:
    """Raise TagscaleError unless this catalog passed."""
    if findings["catalog"] != dataset.hash:
        raise TagscaleError(f"{validation}: belongs to another catalog. Run `tagscale validate` again.")
    if not findings["passed"]:
        raise TagscaleError(
            f"{validation}: the dataset did not pass. Open validation.html there, mend the dataset and run "
            "`tagscale validate` again."
        )
    if findings["other_version"]:
        raise TagscaleError(f"{validation}: {findings['other_version']}")


def _crossing_is_inherited(parts: Partition, assigned: pd.DataFrame) -> bool:
    """Whether an earlier partition already divides every artist that is in more than one part."""
    part_of = assigned.drop_duplicates("track_id").set_index("track_id")["part"]
    inherited = pd.DataFrame({"artist": parts.table["artist"], "part": parts.table["track_id"].map(part_of)}).dropna()
    return len(crossing_artists(inherited)) == len(crossing_artists(parts.table)) > 0


def _check_sound(parts: Partition, crossing_allowed: bool, partition: Path) -> None:
    if stops := check_partition(parts, crossing_allowed):
        reasons = "\n".join(f"  {stop}" for stop in stops)
        raise TagscaleError(
            f"the new partition is not sound, so {partition} stays as it was:\n{reasons}\n"
            "Mend the artists or the split of the dataset's tracks and run `tagscale catalog` again."
        )


def _growth_note(parts: Partition, assigned: pd.DataFrame) -> str:
    """How many tracks keep their part, are new, or are missing, in words."""
    if assigned.empty:
        return ""
    known = parts.table["track_id"].isin(assigned["track_id"])
    new = parts.table["artist"][~known]
    newcomers = new[~new.isin(parts.table["artist"][known]) & ~new.isin(assigned["artist"])].nunique()
    missing = assigned["track_id"].nunique() - int(known.sum())
    return (
        f"{known.sum()} tracks stay where the previous partition put them, {len(new)} are new ({newcomers} new "
        f"artists), {missing} of the earlier ones are missing now"
    )


def _crossing_note(parts: Partition) -> str:
    """Artists in more than one part, in words."""
    artists = crossing_artists(parts.table)
    if not artists:
        return ""
    why = (
        "their tracks were listed under other artists when they got their parts, and tracks never move. Change "
        "partition.seed to divide all tracks afresh"
        if parts.split == STRATIFIED
        else f"the dataset's own split ({parts.split}) puts them there"
    )
    return (
        f"{len(artists)} artists have tracks in more than one part: {listed(artists, SHOWN)}; {why}. "
        "Expect scores that are too good."
    )


def _spelling_note(parts: Partition) -> str:
    """Artists in different parts that may be one artist in several spellings, in words."""
    parts_of = parts.table.groupby("artist")["part"].agg(frozenset)
    groups = [
        group for group in near_equal(parts_of.index) if len(frozenset().union(*(parts_of[name] for name in group))) > 1
    ]
    if not groups:
        return ""
    named = listed([" / ".join(group) for group in groups], SHOWN)
    return (
        f"artists in different parts that may be one artist in several spellings: {named}. If they are, scores are too "
        "good: give them one name in the dataset and run `tagscale catalog` again."
    )


def _split_change_notes(parts: Partition, earlier_folder: Path | None) -> list[str]:
    """A warning where the dataset's own split has moved tracks since the earlier partition; empty where it has not."""
    if parts.split == STRATIFIED or earlier_folder is None or not (earlier_folder / "partition.json").is_file():
        return []
    try:
        earlier = Partition.load(earlier_folder)
    except Damaged as damage:
        return [f"{damage.path}: {damage.what}. So nobody knows which tracks were in another part before."]
    if any(earlier.settings.get(name) != parts.settings[name] for name in ("dataset", "split")):
        return []
    tracks = moved_tracks(earlier.table, parts.table)
    if not tracks:
        return []
    return [
        f"the dataset's own split ({parts.split}) has changed since {earlier_folder} was made: {len(tracks)} tracks "
        f"are in another part now: {listed(tracks, SHOWN)}. Results on the earlier parts are not comparable."
    ]


def _show(parts: Partition, quality: dict[str, Any], notes: list[str]) -> None:
    console = Console()
    table = Table("part", "tracks", "share", "artists", title=f"Partition ({quality['source']})")
    for part in parts.parts:
        rows = parts.table[parts.table["part"] == part]
        table.add_row(part, str(len(rows)), f"{len(rows) / len(parts.table):.1%}", str(rows["artist"].nunique()))
    console.print(table)
    console.print(_gap_table(quality))
    worst = ", ".join(f"{row['tag']} {row['difference']:.4f}" for row in quality["worst_tags"])
    notes = [*notes, f"largest differences between two parts: {worst}; all tags: quality.csv"]
    for part, tags in quality["no_positive"].items():
        if tags:
            notes.append(f"no positive track in {part}, so not scored there: {', '.join(tags)}")
    for fold, tags in quality.get("unlearned", {}).items():
        if tags:
            notes.append(f"no positive track to train on for {fold}, so its model cannot learn: {', '.join(tags)}")
    print(*notes, sep="\n", flush=True)


def _gap_table(quality: dict[str, Any]) -> Table:
    """Differences of tag prevalence, each beside that of a random division."""
    table = Table("difference of tag prevalence", "largest", "mean")

    def add(name: str, chance: str, numbers: dict[str, float]) -> None:
        table.add_row(name, f"{numbers['max']:.4f}", f"{numbers['mean']:.4f}")
        table.add_row(f"  {chance}", f"{numbers['random_max']:.4f}", f"{numbers['random_mean']:.4f}")

    add("between the parts", "random split by artists", quality["deviation"])
    for size, numbers in quality["subsets"].items():
        add(f"first {size} training tracks to all", f"{size} random ones", numbers)
    return table
