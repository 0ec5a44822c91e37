"""A dataset of the user's own: a table (CSV), a folder of audio, and a small YAML that says which columns are tags.

The table has one row a track: track_id, path (relative to the folder) and artist, where known album, title, seconds
and split (train, valid, test), and the tag columns. The YAML, `columns:`, maps names or patterns of columns to
`{kind, group, exclusive}`; without one the kinds are inferred from the values. The composed corpus has this format too.
"""

import csv
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from tagscale.data.catalog import TRACK_COLUMNS, Catalog, Split, catalog_of
from tagscale.data.sources.columns import TagColumn, declared, inferred, one_hot
from tagscale.errors import TagscaleError
from tagscale.params import DatasetParams

REQUIRED = ["track_id", "path", "artist"]
STRATIFIED, COLUMN = "stratified", "column"
SPLITS: dict[str, Split] = {COLUMN: Split(COLUMN, artist_filtered=False)}
TAG_SETS: tuple[str, ...] = ()
VARIANTS: tuple[str, ...] = ()
PARTS = {"train": "train", "valid": "valid", "test": "test", "validation": "valid", "val": "valid"}
CHUNK_ROWS = 50_000
SHOWN = 5  # of many findings of one kind


def read(root: Path, dataset: DatasetParams) -> Catalog:
    """Read a table and its audio folder into a catalog. Opens no audio file and executes nothing.

    Args:
        root: folder that holds the table and the audio.
        dataset: `table`, the table's path relative to `root` (comma or tab separated, UTF-8); `tags`, path of the
            YAML, relative to `root` or, where no such file is there, to the current directory (None: infer, and print
            what was inferred); `split`, "column" (the default where the table has a column `split`) or "stratified".

    A track without an artist counts as the only track of an artist of its own; how many there are is printed.

    Raises:
        TagscaleError: the table or the YAML is missing, malformed or contradicts itself; the message names the file,
            the column or line, what was expected and what to do.
    """
    path, tags = Path(root) / dataset.table, dataset.tags
    cells = _read_table(path)
    _check_columns(path, list(cells.columns))
    tracks = _tracks(path, cells)
    candidates = [column for column in cells.columns if column not in TRACK_COLUMNS]
    tag_columns = (
        inferred(path, cells, candidates) if tags is None else declared(_tags_path(root, tags), path, candidates)
    )
    labels, descriptions = _labels(path, cells, tag_columns)
    return catalog_of(dataset.name, tracks, labels, descriptions, _split(path, tracks, dataset.split))


def _split(path: Path, tracks: pd.DataFrame, wanted: str | None) -> Split | None:
    """The table's own split; empties the column when tagscale is to divide the tracks instead."""
    if wanted == STRATIFIED:
        tracks["split"] = None
    without = tracks[tracks["split"].isna()]
    if len(without) == len(tracks):
        if wanted == COLUMN:
            raise TagscaleError(f"{path}: dataset.split is `{COLUMN}`, but the column `split` is missing or empty.")
        return None
    _refuse(path, without["track_id"], without["split"].isna(), "tracks without a split", "fill in all, or none")
    return SPLITS[COLUMN]


def _read_table(path: Path) -> pd.DataFrame:
    """The table's cells as stripped text, "" = empty; the index is the line number of each row in the file."""
    if not path.is_file():
        raise TagscaleError(
            f"{path}: no such table. dataset.root and dataset.table in params.yaml say where it lies; it is a CSV file "
            f"with the columns {', '.join(REQUIRED)} and one column a tag."
        )
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            delimiter = "\t" if "\t" in file.readline() else ","
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header)
            rows = _rows(path, reader, header)
            chunks = [pd.DataFrame(columns=["", *header], dtype=str)]
            while chunk := list(islice(rows, CHUNK_ROWS)):
                chunks.append(pd.DataFrame(chunk, columns=["", *header], dtype=str))
    except UnicodeDecodeError as error:
        raise TagscaleError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8."
        ) from None
    except csv.Error as error:
        raise TagscaleError(f"{path}, line {reader.line_num}: not a well-formed table: {error}.") from None
    if len(chunks) == 1:
        raise TagscaleError(f"{path}: a header without rows; expected one row a track.")
    cells = pd.concat(chunks[1:], ignore_index=True)
    return cells.set_index(cells[""].astype(np.int64)).drop(columns="").rename_axis("line")


def _rows(path: Path, reader: Any, header: list[str]) -> Iterator[list[str]]:
    """Line number and stripped cells of each row that is not blank."""
    line = reader.line_num + 1
    for row in reader:
        if any(row):
            if len(row) != len(header):
                raise TagscaleError(
                    f"{path}, line {line}: {len(row)} cells, but the header has {len(header)}. "
                    "Put double quotes around text that holds the delimiter."
                )
            yield [str(line), *(cell.strip() for cell in row)]
        line = reader.line_num + 1


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise TagscaleError(f"{path}: empty; expected a header with {', '.join(REQUIRED)} and tag columns.")
    if "" in header:
        raise TagscaleError(f"{path}: column {header.index('') + 1} of the header has no name; name or remove it.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise TagscaleError(f"{path}: more than one column is named {', '.join(twice)}; every name must be unique.")


def _check_columns(path: Path, columns: list[str]) -> None:
    missing = [column for column in REQUIRED if column not in columns]
    if not missing:
        return
    hints = []
    for column in missing:
        near = get_close_matches(column, [name.lower() for name in columns], n=1, cutoff=0.5)
        found = next((name for name in columns if near and name.lower() == near[0]), None)
        hints.append(f"`{column}`" + (f" (rename `{found}`, if that is it)" if found else ""))
    raise TagscaleError(
        f"{path}: missing column {', '.join(hints)}; expected {', '.join(REQUIRED)} and tag columns, found: "
        + ", ".join(columns[:20])
        + (", ..." if len(columns) > 20 else "")
    )


def _tracks(path: Path, cells: pd.DataFrame) -> pd.DataFrame:
    tracks = pd.DataFrame({column: _column(cells, column) for column in TRACK_COLUMNS})
    for column in ("track_id", "path"):
        _refuse(path, tracks[column], tracks[column] == "", f"empty {column}", "fill it in or remove the row")
    double = tracks["track_id"].duplicated(keep=False)
    _refuse(path, tracks["track_id"].sort_values(), double, "track_id used more than once", "give every row its own")
    outside = tracks["path"].map(_leaves_folder)
    _refuse(path, tracks["path"], outside, "path outside the folder", "write it relative to dataset.root, without `..`")
    seconds = pd.to_numeric(tracks["seconds"].replace("", None), errors="coerce").astype(np.float64)
    wrong = (tracks["seconds"] != "") & ~(np.isfinite(seconds) & (seconds > 0))
    _refuse(path, tracks["seconds"], wrong, "seconds that are no positive number", "correct it or leave it empty")
    splits = tracks["split"].str.lower().map(PARTS)
    unknown = (tracks["split"] != "") & splits.isna()
    _refuse(path, tracks["split"], unknown, "unknown split", "expected train, valid (or validation, val) or test")
    nameless = tracks["artist"] == ""
    if nameless.any():
        note = f"{path}: {nameless.sum()} tracks name no artist; each counts as an artist of its own."
        Console().print(note, markup=False, highlight=False, soft_wrap=True)
    return tracks.assign(seconds=seconds, split=splits.astype(object).where(splits.notna(), None))


def _column(cells: pd.DataFrame, name: str) -> pd.Series:
    return cells[name] if name in cells else pd.Series("", index=cells.index, dtype=str)


def _leaves_folder(path: str) -> bool:
    windows = PureWindowsPath(path)
    return PurePosixPath(path).is_absolute() or bool(windows.drive or windows.root) or ".." in windows.parts


def _labels(path: Path, cells: pd.DataFrame, columns: list[TagColumn]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels, (tracks, tags) float32, and the description of each tag, both in the order of the columns."""
    if not columns:
        raise TagscaleError(f"{path}: no tag column. Add one column a tag (0 or 1, a fraction, or empty).")
    values: dict[str, np.ndarray] = {}
    described: dict[str, tuple[str, str, str]] = {}
    for column in columns:
        if column.kind == "category":
            found = one_hot(column.name, cells[column.name])
            kind, exclusive = "classification", column.exclusive or column.name
        else:
            found = {column.name: _numbers(path, cells[column.name])}
            kind, exclusive = column.kind, column.exclusive
        for tag in found:
            if tag in values:
                raise TagscaleError(f"{path}: two columns or categories make the tag `{tag}`; rename one.")
            described[tag] = (column.group, kind, exclusive)
        values |= found
    tags = pd.DataFrame.from_dict(described, orient="index", columns=["group", "kind", "exclusive"], dtype=str)
    return pd.DataFrame(values, index=cells.index), tags.rename_axis("tag")


def _numbers(path: Path, cells: pd.Series) -> np.ndarray:
    """A tag column as float32, NaN where the cell is empty."""
    numbers = pd.to_numeric(cells.replace("", None), errors="coerce").astype(np.float64)
    wrong = (cells != "") & ~((numbers >= 0) & (numbers <= 1))
    what = f"label of tag column `{cells.name}` that is no number from 0 to 1"
    _refuse(path, cells, wrong, what, "scale it, leave it empty where not annotated, or give the column `kind: ignore`")
    return numbers.to_numpy(np.float32)


def _refuse(path: Path, cells: pd.Series, wrong: pd.Series, what: str, remedy: str) -> None:
    """Raise when any cell is wrong, naming the first ones with their line numbers."""
    bad = cells[wrong.reindex(cells.index)]
    if bad.empty:
        return
    shown = ", ".join(f"line {line}" + (f" `{cell}`" if cell else "") for line, cell in bad.head(SHOWN).items())
    more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    raise TagscaleError(f"{path}: {what}: {shown}{more}; {remedy}.")


def _tags_path(root: Path, tags: str) -> Path:
    inside, here = Path(root) / tags, Path(tags)
    if inside.is_file() or not here.is_file():
        return inside
    return here
