"""A dataset of the user's own: a table (CSV), a folder of audio, and a small YAML that says which columns are tags.

The table has one row a track: track_id, path (relative to the folder), artist and the tag columns; optional are
artist_id (distinguishes artists of one name), album, recording (shared by tracks that are cut from the same one),
title, seconds, split (train, valid, test) and fault (why not to use the track). The YAML, `columns:`, maps names or
patterns of columns to `{kind, group, exclusive}`; without it the kinds are inferred from the values. The composed
corpus has this format, too.
"""

from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from tagscale.catalog.sources.annotations import leaves_folder, named, refusal, refuse
from tagscale.catalog.sources.columns import ARTIST_ID, RESERVED, TagColumn, declared, inferred, one_hot
from tagscale.catalog.sources.folder_table import REQUIRED, Table, decimal_commas, read_table
from tagscale.catalog.tables import NAMES, TRACK_COLUMNS, Catalog, Split, catalog_of, one_form
from tagscale.params.load import DatasetParams
from tagscale.runtime.errors import TagscaleError

STRATIFIED, COLUMN = "stratified", "column"
SPLITS: dict[str, Split] = {COLUMN: Split(COLUMN, artist_filtered=False)}
TAG_SETS: tuple[str, ...] = ()
VARIANTS: tuple[str, ...] = ()
POINT = "write decimals with a point, as 0.5"
PARTS = {"train": "train", "valid": "valid", "test": "test", "validation": "valid", "val": "valid"}


def read(root: Path, dataset: DatasetParams) -> Catalog:
    """Read a table into a catalog. Opens no audio, executes nothing.

    Args:
        root: folder that holds the table and the audio.
        dataset: `table`, the table's path relative to `root`; `tags`, path of the YAML, relative to `root` or, where no
            such file is there, to the current directory (None: infer, and print what was inferred); `split`, "column"
            (the default where the table has a column `split`) or "stratified".

    A track without an artist counts as by an artist of its own, together with the clips of its recording; their number
    is printed.

    Raises:
        TagscaleError: the table or the YAML is missing, malformed or contradicts itself; the message names the file,
            the column or line, what was expected and what to do.
    """
    path = Path(root) / dataset.table
    tags = None if dataset.tags is None else Path(root) / dataset.tags
    if tags and not tags.is_file() and Path(dataset.tags or "").is_file():
        tags = Path(dataset.tags or "")
    table = read_table(path, tags)
    _check_columns(path, table.columns, table.delimiter)
    tracks = _tracks(path, table.cells)
    candidates = [column for column in table.columns if column not in RESERVED]
    if tags is None:
        for name, column in table.cells[candidates].items():  # inferred from such cells, a column would be no tag
            commas = column.str.fullmatch(r"\d*,\d+")
            if (commas | column.str.fullmatch(r"\d*")).all():
                refuse(path, column, commas, f"decimal commas in column `{name}`", POINT)
    tag_columns = inferred(path, table.cells, candidates) if tags is None else declared(tags, path, candidates)
    labels, descriptions = _labels(path, table, tag_columns)
    return catalog_of(dataset.name, tracks, labels, descriptions, _split(path, tracks, dataset.split))


def _split(path: Path, tracks: pd.DataFrame, wanted: str | None) -> Split | None:
    """The table's own split; empties the column where the partition stage divides the tracks instead."""
    if wanted == STRATIFIED:
        tracks["split"] = None
    without = tracks[tracks["split"].isna()]
    if len(without) == len(tracks):
        if wanted == COLUMN:
            raise TagscaleError(f"{path}: dataset.split is `{COLUMN}`, but the column `split` is missing or empty.")
        return None
    refuse(path, without["track_id"], without["split"].isna(), "tracks without a split", "fill in all, or none")
    return SPLITS[COLUMN]


def _check_columns(path: Path, columns: list[str], delimiter: str) -> None:
    missing = [column for column in REQUIRED if column not in columns]
    if not missing:
        return
    hints = []
    for column in missing:
        near = get_close_matches(column, [name.lower() for name in columns], n=1, cutoff=0.5)
        like = next((name for name in columns if near and name.lower() == near[0]), None)
        add = "add it, with empty cells where it is unknown" if column == "artist" else ""
        hint = f"rename `{like}`, if that is it" if like else add
        hints.append(f"`{column}`" + (f" ({hint})" if hint else ""))
    raise TagscaleError(
        f"{path}: missing column {', '.join(hints)}; expected {', '.join(REQUIRED)} and tag columns, found: "
        + ", ".join(columns[:20])
        + (", ..." if len(columns) > 20 else "")
        + f" (the delimiter is {named(delimiter)})"
    )


def _tracks(path: Path, cells: pd.DataFrame) -> pd.DataFrame:
    tracks = pd.DataFrame({column: _column(cells, column) for column in TRACK_COLUMNS})
    tracks = tracks.assign(**{column: one_form(tracks[column]) for column in NAMES})
    for column in ("track_id", "path"):
        refuse(path, tracks[column], tracks[column] == "", f"empty {column}", "fill it in or remove the row")
    double = tracks["track_id"].duplicated(keep=False)
    refuse(path, tracks["track_id"].sort_values(), double, "track_id used more than once", "give every row its own")
    outside = tracks["path"].map(leaves_folder)
    refuse(path, tracks["path"], outside, "path outside the folder", "write it relative to dataset.root, without `..`")
    seconds = pd.to_numeric(tracks["seconds"].replace("", None), errors="coerce").astype(np.float64)
    wrong = (tracks["seconds"] != "") & ~(np.isfinite(seconds) & (seconds > 0))
    remedy = POINT if decimal_commas(tracks["seconds"][wrong]) else "correct it or leave it empty"
    refuse(path, tracks["seconds"], wrong, "seconds that are no positive number", remedy)
    splits = tracks["split"].str.lower().map(PARTS)
    unknown = (tracks["split"] != "") & splits.isna()
    remedy = "expected train, valid (or validation, val) or test; rename the column if it is a tag"
    refuse(path, tracks["split"], unknown, "unknown split", remedy)
    identity = one_form(_column(cells, ARTIST_ID))
    tracks["artist"] = identity.where(identity != "", tracks["artist"])
    nameless = tracks["artist"] == ""
    if nameless.any():
        alone = "each counts as an artist of its own, with the clips of its recording"
        print(f"{path}: {nameless.sum()} tracks name no artist; {alone}.", flush=True)
    return tracks.assign(seconds=seconds, split=splits.astype(object).where(splits.notna(), None))


def _column(cells: pd.DataFrame, name: str) -> pd.Series:
    return cells[name] if name in cells else pd.Series("", index=cells.index, dtype=str)


def _labels(path: Path, table: Table, columns: list[TagColumn]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels, (tracks, tags) float32, and the description of each tag, both in the order of the columns."""
    if not columns:
        raise TagscaleError(
            f"{path}: no tag column. Add one column a tag (0 or 1, a fraction, or empty), or one with a word a track; "
            "a file tags.yaml beside the table can say what kind a column is (README, Your own data)."
        )
    values: dict[str, np.ndarray] = {}
    described: dict[str, tuple[str, str, str]] = {}
    for column in columns:
        if column.kind == "category":
            columns_of_tag = one_hot(column.name, table.cells[column.name])
            kind, exclusive = "classification", column.exclusive or column.name
        else:
            columns_of_tag = {column.name: _label_column(path, table, column.name)}
            kind, exclusive = column.kind, column.exclusive
        for tag in columns_of_tag:
            if tag in values:
                raise TagscaleError(f"{path}: two columns or categories make the tag `{tag}`; rename one.")
            described[tag] = (column.group, kind, exclusive)
        values |= columns_of_tag
    tags = pd.DataFrame.from_dict(described, orient="index", columns=["group", "kind", "exclusive"], dtype=str)
    return pd.DataFrame(values, index=table.cells.index, copy=False), tags.rename_axis("tag")


def _label_column(path: Path, table: Table, name: str) -> np.ndarray:
    """A tag column as float32, NaN where the cell is empty."""
    if name not in table.places:  # inferred from its text, which was checked then
        return pd.to_numeric(table.cells[name].replace("", None), errors="coerce").to_numpy(np.float32)
    if name in table.wrong:
        shown, count = table.wrong[name]
        what = f"label of tag column `{name}` that is no number from 0 to 1"
        remedy = "scale it, leave it empty where not annotated, or give the column `kind: ignore`"
        remedy = POINT if decimal_commas(cell for _, cell in shown) else remedy
        raise refusal(path, shown, count, what, remedy)
    return table.numbers[:, table.places[name]]
