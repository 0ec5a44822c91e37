"""The user's own table of tracks, read in chunks: text stays text, labels become numbers at once.

UTF-8 or UTF-16, gzipped where the name ends in .gz; commas, tabs, semicolons or bars divide the cells.
As text, a million rows of a hundred labels would fill the memory; so `annotations.read_table` does not suffice.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd

from tagscale.catalog.sources.annotations import SHOWN, check_names, named, open_text
from tagscale.catalog.sources.columns import RESERVED, kinds
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.names import normalised

REQUIRED = ["track_id", "path", "artist"]
NUMBERS = ("classification", "regression")  # kinds whose cells become numbers while the table is read
DELIMITERS = (",", "\t", ";", "|")
OTHER_FORMATS = {
    b"PK\x03\x04": "an Excel or OpenDocument workbook, or another zip archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"PAR1": "a Parquet file",
    b"SQLite format 3": "a SQLite database",
    b"{": "JSON",
    b"[": "JSON",
}
MOST_BLANK_LINES = 100  # before the header
CHUNK_ROWS = 10_000
WRONG = -1.0  # marks a cell that is no number from 0 to 1
REMEMBERED = 100_000  # distinct cells of a chunk's labels whose numbers are cached


@dataclass(frozen=True)
class Table:
    """The content of the file; the index of `cells` is the line number of each row.

    columns: all names of the header.
    delimiter: between its cells.
    cells: stripped text, "" = empty, of the columns that are neither numbers nor ignored.
    numbers: (rows, tags) float32 of the columns `places` names, NaN where empty, WRONG where no number from 0 to 1.
    wrong: by column, line and text of the first such cells, and how many there are.
    """

    columns: list[str]
    delimiter: str
    cells: pd.DataFrame
    numbers: np.ndarray
    places: dict[str, int]
    wrong: dict[str, tuple[list[tuple[int, str]], int]]


class _Numbers(dict[str, float]):
    """Maps cells of label columns to numbers; few cells differ, so a look-up replaces most conversions."""

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


def read_table(path: Path, tags: Path | None) -> Table:
    """Read the table in chunks; columns that `tags` declares as labels become numbers at once."""
    if not path.is_file():
        raise TagscaleError(
            f"{path}: no such table. Set dataset.root and dataset.table in params.yaml to a CSV file "
            f"with the columns {', '.join(REQUIRED)} and one column a tag."
        )
    if format_ := other_format(path):
        raise TagscaleError(f"{path}: {format_}, but a table is CSV. Export it as CSV in UTF-8.")
    with open_text(path) as file:
        delimiter, before = _delimiter(path, file)
        rows = _rows(path, file, delimiter, before)
        header = [normalised(name) for name in next(rows, (0, []))[1]]
        _check_header(path, header, delimiter)
        known = {} if tags is None else kinds(tags, [name for name in header if name not in RESERVED])
        return _collect(path, header, delimiter, known, rows)


def other_format(path: Path) -> str:
    """What a file is that is no CSV, by its first bytes; empty where they may be those of one.

    An Excel workbook is a zip archive, or OLE of before 2007.
    """
    with path.open("rb") as file:
        first = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((name for magic, name in OTHER_FORMATS.items() if first.startswith(magic)), "")


def _collect(
    path: Path, header: list[str], delimiter: str, known: dict[str, str], rows: Iterator[tuple[int, list[str]]]
) -> Table:
    """Collect the rows, chunk by chunk, as text or numbers according to the kinds of the columns."""
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
    cells = pd.concat(pieces).rename_axis("line")
    return Table(header, delimiter, cells, np.concatenate(arrays), places, wrong)


def _delimiter(path: Path, file: TextIO) -> tuple[str, int]:
    """The delimiter by which the header has the required columns, and the lines before the header, which are read.

    A spreadsheet may write a line `sep=;` before the header.
    """
    first, before = file.readline(), 0
    if stated := re.fullmatch(r"\"?sep=(.)\"?\s*", first, re.IGNORECASE):
        return stated[1], 1
    while not first.strip() and before < MOST_BLANK_LINES and (following := file.readline()):
        first, before = following, before + 1
    file.seek(0)
    for _ in range(before):
        file.readline()

    def columns(delimiter: str) -> tuple[int, int]:
        try:
            names = [normalised(name) for name in next(csv.reader([first], delimiter=delimiter), [])]
        except csv.Error:  # a cell beyond the reader's bound; the reading itself says so
            names = []
        return len(set(REQUIRED) & set(names)), len(names)

    delimiter = max(DELIMITERS, key=columns)
    if first.startswith("#") and not columns(delimiter)[0]:
        raise TagscaleError(
            f"{path}, line {before + 1}: a comment, `{first.strip()[:40]}`; a table has none. Remove the lines "
            f"before the header, which names {', '.join(REQUIRED)} and the tags."
        )
    return delimiter, before


def _rows(path: Path, file: TextIO, delimiter: str, before: int) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that is not blank, the header first; `before`: lines that are read already."""
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    line, width = before + 1, 0
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            end = before + reader.line_num
            through = f"lines {line} to {end}" if end > line else f"line {line}"
            hint = " A double quote that opens a cell must also close it." if "end of data" in str(error) else ""
            raise TagscaleError(f"{path}, {through}: not a well-formed table: {error}.{hint}") from None
        if row is None:
            return
        if any(row):
            width = width or len(row)
            if len(row) != width:
                raise TagscaleError(_ragged(path, line, row, width, delimiter))
            yield line, row
        line = before + reader.line_num + 1


def _ragged(path: Path, line: int, row: list[str], width: int, delimiter: str) -> str:
    """The message for a row with too many or too few cells."""
    if row[0].startswith("#"):
        remedy = "A table has no comment lines: remove it."
    elif len(row) > width and delimiter == "," and any(re.fullmatch(r"\d+", cell.strip()) for cell in row):
        remedy = "Put double quotes around text that holds the delimiter, and write decimals with a point, as 0.5."
    else:
        remedy = "Put double quotes around text that holds the delimiter."
    counted = f"{len(row)} cells, but the header has {width}; the delimiter is {named(delimiter)}"
    return f"{path}, line {line}: {counted}. {remedy}"


def decimal_commas(cells: Iterable[str]) -> bool:
    """Whether all of these cells are numbers with a decimal comma, at least one."""
    cells = list(cells)
    return bool(cells) and all(re.fullmatch(r"-?\d*,\d+", cell.strip()) for cell in cells)


def _check_header(path: Path, header: list[str], delimiter: str) -> None:
    if not any(header):
        raise TagscaleError(f"{path}: empty; expected a header with {', '.join(REQUIRED)} and tag columns.")
    if "" in header:
        raise TagscaleError(
            f"{path}: column {header.index('') + 1} of the header has no name; name or remove it (the delimiter is "
            f"{named(delimiter)})."
        )
    check_names(path, header)
