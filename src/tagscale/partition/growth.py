"""What earlier partitions of a growing dataset decided, so that no track ever moves from one part to another.

A partition's folder keeps every assignment ever made with its settings (assigned.parquet), with those of tracks and
artists that are quarantined or missing now: when they come back, they come back to their part.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from typing_extensions import TypedDict

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import settle
from tagscale.runtime.reading import Damaged, Output
from tagscale.runtime.tables import read_table, schema, table_in

PARTS = ("train", "valid", "test")
FOLD = "fold-"  # and a number from 1: the parts of a partition in folds
NOWHERE = -1  # part of a track without one, and place of a track outside the order
COMMAND = "tagscale partition"
ASSIGNED = schema(track_id="text", artist="text", part="text", place="whole")


class Settings(TypedDict):
    """What partition.json says of the settings."""

    settings: dict[str, Any]


def fold_names(folds: int) -> tuple[str, ...]:
    """The parts of a partition in folds.

    >>> fold_names(3)
    ('fold-1', 'fold-2', 'fold-3')
    """
    return tuple(f"{FOLD}{number}" for number in range(1, folds + 1))


def part_names(parts: pd.Series) -> tuple[str, ...]:
    """The names of all parts, in order, where `parts` are those of all tracks: folds, or train, valid and test."""
    return fold_names(parts.nunique()) if parts.astype(str).str.startswith(FOLD).any() else PARTS


def no_assignments() -> pd.DataFrame:
    """An empty table of assignments: track_id, artist, part, place.

    It has one row for each track and each artist that the track was ever listed under. place: the position of a
    track among all that there ever were for training; -1 for valid and test.
    """
    return pd.DataFrame(columns=["track_id", "artist", "part", "place"], dtype=object).astype({"place": np.int64})


def earlier_assignments(folder: Path | None, settings: dict[str, Any]) -> tuple[pd.DataFrame, str]:
    """The assignments of an earlier partition that a new one keeps, and in words why there are none.

    Args:
        folder: of the earlier partition; None, or a folder without its files, where there is none.
        settings: those of the new partition; it continues only an earlier one with the same settings.

    Raises:
        TagscaleError: the folder's assignments are missing or unreadable.
    """
    if folder is None:
        return no_assignments(), ""
    settle(folder)
    if not any(os.path.lexists(folder / name) for name in ("partition.json", "assigned.parquet")):
        return no_assignments(), (
            f"no earlier partition in {folder}: every track gets its part for the first time. If there is one "
            "elsewhere, bring its folder here (`dvc pull`) and run this again, so that no track moves."
        )
    output, note = Output(folder, "partition.json", COMMAND), ""
    try:
        before = output.facts(Settings)["settings"]
    except Damaged as damage:
        before, note = settings, f"{damage.path}: {damage.what}. Its settings count as unchanged, so no track moves."
    changed = [name for name in settings if before.get(name) != settings[name]]
    if changed:
        named = ", ".join(f"{name} {before.get(name, 'not stated')} -> {settings[name]}" for name in changed)
        return no_assignments(), (
            f"{folder} was made with other settings ({named}): all tracks are divided afresh and may change their part."
        )
    file = folder / "assigned.parquet"
    try:
        table = read_table(file, ASSIGNED, COMMAND) if note else table_in(output, file.name, ASSIGNED)
    except Damaged as damage:
        raise TagscaleError(
            f"{file}: {damage.what}, and it alone says which tracks must not move. Restore it (`dvc checkout`, `dvc "
            "pull`), or delete the folder to divide all tracks afresh."
        ) from None
    return table[ASSIGNED.names], note


def inherit(
    assigned: pd.DataFrame, tracks: pd.DataFrame, parts: Sequence[str] = PARTS
) -> tuple[np.ndarray, np.ndarray]:
    """The part (its index) and the place of each track by earlier assignments; -1 = not decided yet.

    A track keeps its part, whatever its artist is called now. A new track follows the present tracks of its
    artist, or else those that the artist ever had; if they are in several parts (two names proved to be one artist),
    it follows most of them.

    Args:
        tracks: track_id and artist.
        parts: their names, in order.
    """
    part_of, place = np.full(len(tracks), NOWHERE), np.full(len(tracks), NOWHERE)
    if assigned.empty:
        return part_of, place
    known = assigned.drop_duplicates("track_id")
    row = pd.Index(known["track_id"]).get_indexer(tracks["track_id"])
    inherited = row >= 0
    part_of[inherited] = known["part"].map(list(parts).index).to_numpy(np.int64)[row[inherited]]
    place[inherited] = known["place"].to_numpy()[row[inherited]]
    present = pd.DataFrame({"artist": tracks["artist"][inherited], "part": np.array(parts, object)[part_of[inherited]]})
    for voters in (present, assigned):  # earlier tracks of an artist count only where there are none now
        votes = _by_artist(voters, parts)
        row = votes.index.get_indexer(pd.Index(tracks["artist"]))
        follows = (part_of == NOWHERE) & (row >= 0)
        part_of[follows] = votes.to_numpy().argmax(axis=1)[row[follows]]
    return part_of, place


def add_assignments(assigned: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The assignments with those of a new partition, sorted by track and artist.

    Args:
        table: track_id, artist, part and place of the new partition's tracks.
    """
    rows = pd.concat([assigned, table[["track_id", "artist", "part", "place"]]]) if len(assigned) else table
    rows = rows.drop_duplicates(["track_id", "artist"]).astype({"track_id": object, "artist": object, "part": object})
    return rows.sort_values(["track_id", "artist"], ignore_index=True)[["track_id", "artist", "part", "place"]]


def crossing_artists(table: pd.DataFrame) -> list[str]:
    """Artists with tracks in more than one part, in words: "Abba (3 in train, 1 in test)", most tracks first.

    Args:
        table: artist and part of every track.
    """
    counts = _by_artist(table, part_names(table["part"]))
    counts = counts[(counts > 0).sum(axis=1) > 1]
    order = np.lexsort((counts.index.to_numpy(object), -counts.sum(axis=1).to_numpy()))
    return [
        f"{artist} ({', '.join(f'{count} in {part}' for part, count in row.items() if count)})"
        for artist, row in counts.iloc[order].iterrows()
    ]


def _by_artist(table: pd.DataFrame, parts: Sequence[str]) -> pd.DataFrame:
    """Number of rows of each artist in each part: (artists, parts), index artist."""
    return table.groupby(["artist", "part"]).size().unstack(fill_value=0).reindex(columns=list(parts), fill_value=0)


def moved_tracks(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """Tracks that two partitions put into different parts, in words: "song1 (train -> test)".

    Args:
        before: track_id and part.
        after: track_id and part.
    """
    both = before[["track_id", "part"]].merge(after[["track_id", "part"]], on="track_id")
    rows = both[both["part_x"] != both["part_y"]]
    return [f"{row.track_id} ({row.part_x} -> {row.part_y})" for row in rows.itertuples()]
