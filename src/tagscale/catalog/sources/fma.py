"""FMA: 106,574 tracks by 16,341 artists under a hierarchy of 161 genres (Defferrard et al. 2017).

`tracks.csv` and `genres.csv`, plain or gzipped, are in the dataset's folder or in `fma_metadata` there. Audio:
`fma_small/000/000002.mp3`; medium, large and full likewise. Each variant contains the smaller ones; all but full are
clips of 30 s.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd

from tagscale.catalog.sources.annotations import check_unique, locate, numbers, open_text, read_table, refuse
from tagscale.catalog.tables import Catalog, Split, catalog_of
from tagscale.params.load import DatasetParams
from tagscale.runtime.errors import TagscaleError

SPLITS = {"fma": Split("fma", artist_filtered=True)}
TAG_SETS = ("top", "all")
VARIANTS = ("small", "medium", "large", "full")
PUBLISHED = "Set dataset.root to the folder that holds fma_metadata, of github.com/mdeff/fma."
PARTS = {"training": "train", "validation": "valid", "test": "test"}
COLUMNS = ["set.split", "set.subset", "track.genre_top", "track.genres_all", "track.title", "track.duration"]
COLUMNS += ["artist.id", "album.id"]
HEADER_LINES = 3
EXCLUSIVE = "genre"  # where each track has exactly one top-level genre
CLIP_SECONDS = 30.0
DAY = 86_400.0  # seconds; no track is longer
# Seconds of the clips of fma_medium that the dataset's wiki lists as shorter than 30 s; fma_large has more of them.
SHORT = {
    **{"001486": 0.0, "005574": 0.0, "065753": 0.0, "080391": 0.0, "098558": 0.0, "098559": 0.0, "098560": 0.0},
    **{"098565": 1.6, "098566": 6.2, "098567": 0.5, "098568": 6.6, "098569": 1.5, "098571": 0.0, "099134": 0.0},
    **{"105247": 0.0, "108924": 27.4, "108925": 0.0, "126981": 0.0, "127336": 0.0, "133297": 0.0, "143992": 0.0},
}


def read(root: Path, dataset: DatasetParams) -> Catalog:
    """Read FMA's catalog: the tracks of one variant. Opens no audio, executes nothing.

    Track ids have six digits, as in the names of the files; artists and albums are the dataset's ids, and every track
    is a recording of its own. A genre that a track does not have counts as 0; a track without any is not annotated.

    Raises:
        TagscaleError: a file is missing or malformed; the message names file, line and what was expected.
    """
    variant = dataset.variant or VARIANTS[0]
    folder = Path(root) / "fma_metadata"
    if not folder.is_dir():
        folder = Path(root)
    path = locate(folder, "tracks.csv", PUBLISHED)
    cells = _rows(path, variant)
    genres = _genres(locate(folder, "genres.csv", PUBLISHED))
    labels, tags = _labels(path, cells, genres, dataset.tags or TAG_SETS[0], variant)
    tracks = _tracks(path, cells, variant)
    split = SPLITS["fma"] if dataset.split in (None, "fma") else None
    if split:
        tracks["split"] = cells["set.split"].map(PARTS).astype(object)
    return catalog_of(dataset.name, tracks, labels, tags, split)


def _rows(path: Path, variant: str) -> pd.DataFrame:
    """The needed cells of a variant's rows: track_id, six digits, and COLUMNS, named `<level 0>.<level 1>`."""
    with open_text(path) as file:
        try:
            levels = [row for row, _ in zip(csv.reader(file), range(HEADER_LINES), strict=False)]
        except csv.Error as error:
            raise TagscaleError(f"{path}: not a well-formed table: {error}. Fetch it again.") from None
    if len(levels) < HEADER_LINES or levels[2][:1] != ["track_id"] or len(levels[0]) != len(levels[1]):
        raise TagscaleError(
            f"{path}: expected three header lines, two levels of column names and a line that begins with track_id. "
            "Is it the file of fma_metadata.zip? Fetch it again."
        )
    names = ["track_id", *(f"{top}.{name}" for top, name in zip(levels[0][1:], levels[1][1:], strict=True))]
    cells = read_table(path, ",", columns=COLUMNS, header=names)[["track_id", *COLUMNS]].iloc[HEADER_LINES:]
    if cells.empty:
        raise TagscaleError(f"{path}: a header without rows; expected one a track. Fetch the file again.")
    ids = cells["track_id"]
    refuse(path, ids, ~ids.str.fullmatch(r"\d{1,6}"), "track_id that is no number of up to 6 digits", "correct it")
    cells = cells.assign(track_id=ids.str.zfill(6))
    check_unique(path, cells["track_id"])
    for column, known in (("set.split", list(PARTS)), ("set.subset", list(VARIANTS))):
        wrong = ~cells[column].isin(known)
        refuse(path, cells[column], wrong, f"unknown {column}", f"expected one of {', '.join(known)}")
    within = cells[cells["set.subset"].isin(VARIANTS[: VARIANTS.index(variant) + 1])]
    if within.empty:
        raise TagscaleError(f"{path}: no track is in the subset {variant}; choose another dataset.variant.")
    return within


def _tracks(path: Path, cells: pd.DataFrame, variant: str) -> pd.DataFrame:
    ids = cells["track_id"]
    annotated = numbers(path, cells["track.duration"], 0, DAY)
    short = ids.map(SHORT) if variant != "full" else pd.Series(np.nan, index=ids.index)
    return pd.DataFrame(
        {
            "track_id": ids,
            "path": f"fma_{variant}/" + ids.str[:3] + "/" + ids + ".mp3",
            "artist": cells["artist.id"],
            "album": cells["album.id"],
            "recording": ids,
            "title": cells["track.title"],
            "seconds": annotated.where(annotated > 0) if variant == "full" else CLIP_SECONDS,
            "fault": [f"listed by its authors as {s:g} s instead of 30 s" if s == s else "" for s in short],
        }
    )


def _genres(path: Path) -> pd.DataFrame:
    """All genres: index genre_id (int); parent (0 = none), name (unique), root (genre_id of its top-level genre)."""
    cells = read_table(path, ",", columns=["genre_id", "parent", "title", "top_level"], unique="genre_id")
    for column in ("genre_id", "parent", "top_level"):
        wrong = ~cells[column].str.fullmatch(r"\d{1,9}")
        refuse(path, cells[column], wrong, f"{column} that is no id", "expected a whole number")
    ids = cells["genre_id"].astype(np.int64)
    parent, root = cells["parent"].astype(np.int64), cells["top_level"].astype(np.int64)
    refuse(path, cells["parent"], ~parent.isin([0, *ids]), "parent that is no genre", "fetch the file again")
    refuse(path, cells["top_level"], ~root.isin(ids), "top_level that is no genre", "fetch the file again")
    refuse(path, cells["title"], cells["title"] == "", "empty title", "every row needs one")
    double = cells["title"].duplicated(keep=False)
    name = cells["title"].where(~double, cells["title"] + " (" + cells["genre_id"] + ")")
    genres = pd.DataFrame({"parent": parent, "name": name, "root": root}).set_index(pd.Index(ids, name="genre_id"))
    for genre in genres.index.tolist():
        if len(_lineage(genre, genres["parent"])) > len(genres):
            raise TagscaleError(f"{path}: genre {genre} is its own ancestor; fetch the file again.")
    return genres


def _lineage(genre: int, parent: "pd.Series[int]") -> list[int]:
    """A genre and its ancestors; longer than the number of genres where they form a circle."""
    line = [genre]
    while parent[line[-1]] and len(line) <= len(parent):
        line.append(int(parent[line[-1]]))
    return line


def _labels(
    path: Path, cells: pd.DataFrame, genres: pd.DataFrame, tag_set: str, variant: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels, (tracks, genres that occur) float32, and the description of each tag, by group and name."""
    listed = cells["track.genres_all"].map(_ids)
    refuse(path, cells["track.genres_all"], listed.isna(), "genres_all that is no list", "expected ids: [21, 10]")
    unknown = listed.map(lambda ids: not set(ids) <= set(genres.index))
    refuse(path, cells["track.genres_all"], unknown, "genre that genres.csv does not have", "fetch both files again")
    tops = genres[genres["parent"] == 0]
    single = tag_set == "top" and variant in ("small", "medium")
    if single:
        by_name = dict(zip(tops["name"], tops.index.tolist(), strict=True))
        wrong = ~cells["track.genre_top"].isin(by_name)
        refuse(path, cells["track.genre_top"], wrong, "genre_top that is no top-level genre", "fetch both files again")
        sets = [{by_name[name]} for name in cells["track.genre_top"]]
    elif tag_set == "top":
        sets = [{int(genres["root"][genre]) for genre in ids} for ids in listed]
    else:
        lineage = {genre: _lineage(genre, genres["parent"]) for genre in genres.index.tolist()}
        sets = [{ancestor for genre in ids for ancestor in lineage[genre]} for ids in listed]
    group = genres["name"][genres["root"]].set_axis(genres.index)
    if tag_set == "top":
        group[:] = "genre"
    present: list[int] = sorted(
        {genre for ids in sets for genre in ids}, key=lambda genre: (group[genre], genres["name"][genre])
    )
    column = {genre: i for i, genre in enumerate(present)}
    values = np.zeros((len(sets), len(present)), np.float32)
    for row, ids in enumerate(sets):
        values[row, [column[genre] for genre in ids]] = 1
        if not ids:
            values[row] = np.nan
    names = genres["name"][present]
    tags = pd.DataFrame({"group": group[present].to_numpy(), "exclusive": EXCLUSIVE if single else ""}, index=names)
    return pd.DataFrame(values, columns=names.to_numpy(), index=cells.index), tags.rename_axis("tag")


def _ids(text: str) -> list[int] | None:
    """A list of genre ids as text, "[21, 10]"; None for anything else."""
    try:
        ids = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return ids if isinstance(ids, list) and all(type(genre) is int for genre in ids) else None
