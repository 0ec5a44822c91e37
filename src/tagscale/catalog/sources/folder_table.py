"""The user's own table of tracks, read in chunks: text stays text, labels become numbers at once.

As text, a million rows of a hundred labels would fill the memory; so `annotations.read_table` does not suffice.
"""

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tagscale.catalog.sources.annotations import SHOWN
from tagscale.catalog.sources.columns import kinds
from tagscale.catalog.tables import TRACK_COLUMNS
from tagscale.runtime.bounded import check_columns, open_lines
from tagscale.runtime.errors import TagscaleError

REQUIRED = ["track_id", "path", "artist"]
NUMBERS = ("classification", "regression")  # kinds whose cells become numbers while the table is read
CHUNK_ROWS = 10_000
WRONG = -1.0  # marks a cell that is no number from 0 to 1
REMEMBERED = 100_000  # distinct cells of a chunk's labels whose numbers are cached


@dataclass(frozen=True)
class Table:
    """The content of the file; the index of `cells` is the line number of each row.

    columns: all names of the header.
    cells: stripped text, "" = empty, of the columns that are neither numbers nor ignored.
    numbers: (rows, tags) float32 of the columns `places` names, NaN where empty, WRONG where no number from 0 to 1.
    wrong: by column, line and text of the first such cells, and how many there are.
    """

    columns: list[str]
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
    try:
        with open_lines(path) as file:
            delimiter = "\t" if "\t" in file.readline() else ","
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header)
            known = {} if tags is None else kinds(tags, [name for name in header if name not in TRACK_COLUMNS])
            return _collect(path, header, known, _rows(path, reader, header))
    except UnicodeDecodeError as error:
        raise TagscaleError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8."
        ) from None
    except csv.Error as error:
        raise TagscaleError(f"{path}, line {reader.line_num}: not a well-formed table: {error}.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TagscaleError(f"{path}: not a whole gzip file ({error}). Pack or copy it again.") from None


def _collect(path: Path, header: list[str], known: dict[str, str], rows: Iterator[tuple[int, list[str]]]) -> Table:
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
    return Table(header, pd.concat(pieces).rename_axis("line"), np.concatenate(arrays), places, wrong)


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
    check_columns(path, header)
    twice = sorted(name for name, count in Counter(header).items() if count > 1)
    if twice:
        raise TagscaleError(f"{path}: more than one column is named {', '.join(twice)}; every name must be unique.")
