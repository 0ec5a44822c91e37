"""A dataset of the user's own: a table (CSV), a folder of audio, and a small YAML that says which columns are tags.

The table has one row a track: track_id, path (relative to the folder) and artist, where known artist_id (what tells
artists apart where names do not), album, recording (which tracks are cut from the same one), title, seconds, split
(train, valid, test) and fault (why a track is not to be used), and the tag columns. The YAML, `columns:`, maps names
or patterns of columns to `{kind, group, exclusive}`; without one the kinds are inferred from the values. The composed
corpus has this format too.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path, PureWindowsPath
from typing import Any, TextIO, cast

import numpy as np
import pandas as pd
from rich.console import Console

from tagscale.data.catalog import TRACK_COLUMNS, Catalog, Split, catalog_of
from tagscale.data.sources.columns import TagColumn, declared, inferred, kinds, one_hot
from tagscale.errors import TagscaleError
from tagscale.params import DatasetParams

REQUIRED = ["track_id", "path", "artist"]
STRATIFIED, COLUMN = "stratified", "column"
SPLITS: dict[str, Split] = {COLUMN: Split(COLUMN, artist_filtered=False)}
TAG_SETS: tuple[str, ...] = ()
VARIANTS: tuple[str, ...] = ()
PARTS = {"train": "train", "valid": "valid", "test": "test", "validation": "valid", "val": "valid"}
ARTIST_ID = "artist_id"
NUMBERS = ("classification", "regression")  # kinds whose cells become numbers while the table is read
CHUNK_ROWS = 10_000
WRONG = -1.0  # stands for a cell that is no number from 0 to 1
REMEMBERED = 100_000  # distinct cells of a chunk's labels whose numbers are kept
SHOWN = 5  # of many findings of one kind


def read(root: Path, dataset: DatasetParams) -> Catalog:
    """Read a table and its audio folder into a catalog. Opens no audio file and executes nothing.

    Args:
        root: folder that holds the table and the audio.
        dataset: `table`, the table's path relative to `root` (comma or tab separated, UTF-8, gzipped where it ends in
            .gz); `tags`, path of the YAML, relative to `root` or, where no such file is there, to the current directory
            (None: infer, and print what was inferred); `split`, "column" (the default where the table has a column
            `split`) or "stratified".

    A track without an artist counts as the only track of an artist of its own; how many there are is printed.

    Raises:
        TagscaleError: the table or the YAML is missing, malformed or contradicts itself; the message names the file,
            the column or line, what was expected and what to do.
    """
    path = Path(root) / dataset.table
    tags = None if dataset.tags is None else _tags_path(root, dataset.tags)
    table = _read_table(path, tags)
    _check_columns(path, table.columns)
    tracks = _tracks(path, table.cells)
    candidates = [column for column in table.columns if column not in (*TRACK_COLUMNS, ARTIST_ID)]
    found = inferred(path, table.cells, candidates) if tags is None else declared(tags, path, candidates)
    labels, descriptions = _labels(path, table, found)
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


@dataclass(frozen=True)
class _Table:
    """What the file holds; the index of `cells` is the line number of each row.

    columns: all names of the header.
    cells: stripped text, "" = empty, of the columns that are neither numbers nor ignored.
    numbers: (rows, tags) float32 of the columns `places` names, NaN where empty, WRONG where no number from 0 to 1.
    wrong: the first lines and texts of such cells, and how many there are, by column.
    """

    columns: list[str]
    cells: pd.DataFrame
    numbers: np.ndarray
    places: dict[str, int]
    wrong: dict[str, tuple[list[tuple[int, str]], int]]


class _Numbers(dict[str, float]):
    """Cells of label columns to numbers; few differ, so that a look-up replaces most conversions."""

    def __missing__(self, cell: str) -> float:
        text = cell.strip()
        try:
            number = float(text) if text else np.nan
        except ValueError:
            number = WRONG
        if text and (not 0 <= number <= 1 or "_" in text):
            number = WRONG
        if len(self) < REMEMBERED:
            self[cell] = number
        return number


def _read_table(path: Path, tags: Path | None) -> _Table:
    """Read the table in pieces; labels become numbers at once, since a million rows of them as text fill the memory."""
    if not path.is_file():
        raise TagscaleError(
            f"{path}: no such table. dataset.root and dataset.table in params.yaml say where it lies; it is a CSV file "
            f"with the columns {', '.join(REQUIRED)} and one column a tag."
        )
    try:
        with _open(path) as file:
            delimiter = "\t" if "\t" in file.readline() else ","
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header)
            known = {} if tags is None else kinds(tags, [name for name in header if name not in TRACK_COLUMNS])
            return _gathered(path, header, known, _rows(path, reader, header))
    except UnicodeDecodeError as error:
        raise TagscaleError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8."
        ) from None
    except csv.Error as error:
        raise TagscaleError(f"{path}, line {reader.line_num}: not a well-formed table: {error}.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TagscaleError(f"{path}: not a whole gzip file ({error}). Pack or copy it again.") from None


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig", newline=""))
    return open(path, encoding="utf-8-sig", newline="")


def _gathered(path: Path, header: list[str], known: dict[str, str], rows: Iterator[tuple[int, list[str]]]) -> _Table:
    """The rows, piece by piece, as text or numbers as the kind of the column wants it."""
    labels = [name for name in header if known.get(name) in NUMBERS]
    texts = [name for name in header if name not in labels and known.get(name) != "ignore"]
    wrong: dict[str, tuple[list[tuple[int, str]], int]] = {}
    pieces, arrays = [], []
    while chunk := list(islice(rows, CHUNK_ROWS)):
        lines = [line for line, _ in chunk]
        columns = dict(zip(header, zip(*(row for _, row in chunk), strict=True), strict=True))
        text = {name: [cell.strip() for cell in columns[name]] for name in texts}
        pieces.append(pd.DataFrame(text, index=lines, columns=texts, dtype=str))
        values, number_of = np.empty((len(chunk), len(labels)), np.float32), _Numbers()
        for i, name in enumerate(labels):
            values[:, i] = np.fromiter(map(number_of.__getitem__, columns[name]), np.float32, len(chunk))
            bad = np.flatnonzero(values[:, i] == WRONG)
            if len(bad):
                shown, count = wrong.get(name, ([], 0))
                first = [(lines[row], columns[name][row].strip()) for row in bad[: SHOWN - len(shown)]]
                wrong[name] = (shown + first, count + len(bad))
        arrays.append(values)
    if not pieces:
        raise TagscaleError(f"{path}: a header without rows; expected one row a track.")
    places = {name: i for i, name in enumerate(labels)}
    return _Table(header, pd.concat(pieces).rename_axis("line"), np.concatenate(arrays), places, wrong)


def _rows(path: Path, reader: Any, header: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that is not blank."""
    line = reader.line_num + 1
    for row in reader:
        if any(row):
            if len(row) != len(header):
                raise TagscaleError(
                    f"{path}, line {line}: {len(row)} cells, but the header has {len(header)}. "
                    "Put double quotes around text that holds the delimiter."
                )
            yield line, row
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
    identity = _column(cells, ARTIST_ID)
    tracks["artist"] = identity.where(identity != "", tracks["artist"])
    nameless = tracks["artist"] == ""
    if nameless.any():
        note = f"{path}: {nameless.sum()} tracks name no artist; each counts as an artist of its own."
        Console().print(note, markup=False, highlight=False, soft_wrap=True)
    return tracks.assign(seconds=seconds, split=splits.astype(object).where(splits.notna(), None))


def _column(cells: pd.DataFrame, name: str) -> pd.Series:
    return cells[name] if name in cells else pd.Series("", index=cells.index, dtype=str)


def _leaves_folder(path: str) -> bool:
    windows = PureWindowsPath(path)
    return bool(windows.drive or windows.root) or ".." in windows.parts


def _labels(path: Path, table: _Table, columns: list[TagColumn]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels, (tracks, tags) float32, and the description of each tag, both in the order of the columns."""
    if not columns:
        raise TagscaleError(f"{path}: no tag column. Add one column a tag (0 or 1, a fraction, or empty).")
    values: dict[str, np.ndarray] = {}
    described: dict[str, tuple[str, str, str]] = {}
    for column in columns:
        if column.kind == "category":
            found = one_hot(column.name, table.cells[column.name])
            kind, exclusive = "classification", column.exclusive or column.name
        else:
            found = {column.name: _label_column(path, table, column.name)}
            kind, exclusive = column.kind, column.exclusive
        for tag in found:
            if tag in values:
                raise TagscaleError(f"{path}: two columns or categories make the tag `{tag}`; rename one.")
            described[tag] = (column.group, kind, exclusive)
        values |= found
    tags = pd.DataFrame.from_dict(described, orient="index", columns=["group", "kind", "exclusive"], dtype=str)
    return pd.DataFrame(values, index=table.cells.index, copy=False), tags.rename_axis("tag")


def _label_column(path: Path, table: _Table, name: str) -> np.ndarray:
    """A tag column as float32, NaN where the cell is empty."""
    if name not in table.places:  # inferred from its text, which was checked then
        return pd.to_numeric(table.cells[name].replace("", None), errors="coerce").to_numpy(np.float32)
    if name in table.wrong:
        shown, count = table.wrong[name]
        what = f"label of tag column `{name}` that is no number from 0 to 1"
        remedy = "scale it, leave it empty where not annotated, or give the column `kind: ignore`"
        raise _refusal(path, shown, count, what, remedy)
    return table.numbers[:, table.places[name]]


def _refuse(path: Path, cells: pd.Series, wrong: pd.Series, what: str, remedy: str) -> None:
    """Raise when any cell is wrong, naming the first ones with their line numbers."""
    bad = cells[wrong.reindex(cells.index)]
    if bad.empty:
        return
    raise _refusal(path, list(bad.head(SHOWN).items()), len(bad), what, remedy)


def _refusal(path: Path, shown: list[tuple[Any, str]], count: int, what: str, remedy: str) -> TagscaleError:
    """The error that says of `count` wrong cells which the first ones are, by line."""
    places = ", ".join(f"line {line}" + (f" `{cell}`" if cell else "") for line, cell in shown)
    more = f" and {count - len(shown)} more" if count > len(shown) else ""
    return TagscaleError(f"{path}: {what}: {places}{more}; {remedy}.")


def _tags_path(root: Path, tags: str) -> Path:
    inside, here = Path(root) / tags, Path(tags)
    if inside.is_file() or not here.is_file():
        return inside
    return here
