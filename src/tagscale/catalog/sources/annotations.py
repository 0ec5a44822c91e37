"""Annotation files as their authors publish them: delimited text, gzipped or not, read strictly.

Cells stay text until a source converts them, and every error names the file and the line. The index of the rows is
their line number in the file, by which `refuse` names the place of a value.
"""

import csv
import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TextIO

import numpy as np
import pandas as pd

from tagscale.runtime.bounded import check_columns, not_text, open_lines
from tagscale.runtime.errors import TagscaleError

CHUNK_ROWS = 50_000
SHOWN = 5  # findings of one kind that a message lists


def locate(root: Path, name: str, purpose: str = "") -> Path:
    """The file `name`, or `name`.gz, in `root`; `purpose` ends the error's message where neither exists.

    Raises:
        TagscaleError: no such file.
    """
    for candidate in (Path(root) / name, Path(root) / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    ending = f" {purpose}" if purpose else ""
    raise TagscaleError(f"{Path(root) / name}: no such file, nor {PurePosixPath(name).name}.gz.{ending}")


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a file of `locate` as UTF-8 text, decompressed where its name ends in .gz; line ends stay as they are.

    Raises:
        TagscaleError: bytes that are not UTF-8, a damaged gzip file, or one of the bounds of `open_lines`; raised while
            the text is read.
    """
    try:
        with open_lines(path) as text:
            yield text
    except UnicodeError:
        raise not_text(path, "Save it as UTF-8, or get it again.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TagscaleError(f"{path}: not a whole gzip file ({error}). Pack it, or get it again.") from None


def read_table(
    path: Path,
    delimiter: str,
    *,
    columns: list[str],
    header: list[str] | None = None,
    rest: str | None = None,
    unique: str | None = None,
    quoted: bool = True,
) -> pd.DataFrame:
    """Read the cells of a delimited file as stripped text, "" = empty; index `line`, the line number of each row.

    Args:
        path: of `locate`.
        columns: names that the header must hold; it may hold more.
        header: the names of the columns where the file itself has no header line.
        rest: name of the last column where rows may have more cells: it takes all remaining cells, joined by the
            delimiter ("" where the row ends before it).
        unique: column whose cells must be filled and all different.
        quoted: whether double quotes may surround cells; False: they are ordinary characters.

    Raises:
        TagscaleError: an empty file, no rows, a header without some of `columns` or with a name twice, a row with too
            few or too many cells, an empty or repeated cell in `unique`, bad quotes, not UTF-8, a damaged gzip file.
    """
    with open_text(path) as file:
        reader = csv.reader(
            file, delimiter=delimiter, strict=True, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        )
        try:
            names = header or [name.strip() for name in next(reader, [])]
            _check_header(path, names, columns, delimiter)
            rows = _rows(path, reader, names, rest, delimiter)
            chunks = [pd.DataFrame(columns=["", *names], dtype=str)]
            while chunk := list(islice(rows, CHUNK_ROWS)):
                chunks.append(pd.DataFrame(chunk, columns=["", *names], dtype=str))
        except csv.Error as error:
            raise TagscaleError(f"{path}, line {reader.line_num}: not a well-formed table: {error}.") from None
    if len(chunks) == 1:
        raise TagscaleError(f"{path}: no rows; expected one a track. Fetch the file again.")
    cells = pd.concat(chunks[1:], ignore_index=True)
    cells = cells.set_index(cells[""].astype(np.int64)).drop(columns="").rename_axis("line")
    if unique:
        check_unique(path, cells[unique])
    return cells


def _check_header(path: Path, names: list[str], columns: list[str], delimiter: str) -> None:
    if not any(names):
        raise TagscaleError(f"{path}: empty; expected a table with {_listed(columns)}. Fetch the file again.")
    if missing := [column for column in columns if column not in names]:
        raise TagscaleError(
            f"{path}, line 1: missing column {_listed(missing)}; found: {_listed(names)}. Is it another "
            f"file's content, or is its delimiter another than {named(delimiter)}?"
        )
    check_names(path, names)


def check_names(path: Path, names: list[str]) -> None:
    """Raise TagscaleError where a header has too many columns, or two of one name."""
    check_columns(path, names)
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise TagscaleError(f"{path}, line 1: more than one column is named {_listed(twice)}; names must be unique.")


def _rows(path: Path, reader: Any, names: list[str], rest: str | None, delimiter: str) -> Iterator[list[str]]:
    """Line number and stripped cells of each row that is not blank."""
    line = reader.line_num + 1
    for row in reader:
        if any(row):
            if rest and len(row) >= len(names) - 1:
                row = [*row[: len(names) - 1], delimiter.join(row[len(names) - 1 :])]
            if len(row) != len(names):
                least = f"at least {len(names) - 1}" if rest else str(len(names))
                raise TagscaleError(f"{path}, line {line}: {len(row)} cells, expected {least} ({_listed(names)}).")
            yield [str(line), *(cell.strip() for cell in row)]
        line = reader.line_num + 1


def check_unique(path: Path, cells: pd.Series) -> None:
    """Raise TagscaleError where a cell is empty or repeated; the index holds the lines."""
    refuse(path, cells, cells == "", f"empty {cells.name}", "every row needs one")
    double = cells.duplicated(keep=False)
    refuse(path, cells.sort_values(), double, f"{cells.name} used more than once", "every row needs its own")


def check_paths(path: Path, cells: pd.Series) -> None:
    """Raise TagscaleError where a path of an audio file is empty, absolute or leads out of the dataset's folder."""
    refuse(path, cells, cells == "", f"empty {cells.name}", "every row needs one")
    outside = cells.map(leaves_folder)
    refuse(path, cells, outside, "path outside the dataset's folder", "expected a relative path without `..`")


def leaves_folder(path: str) -> bool:
    """Whether a path of a table is absolute or leads out of the dataset's folder, on Unix or Windows."""
    windows = PureWindowsPath(path)
    return PurePosixPath(path).is_absolute() or bool(windows.drive or windows.root) or ".." in windows.parts


def numbers(path: Path, cells: pd.Series, low: float = 0.0, high: float = 1.0) -> pd.Series:
    """A column as float64, NaN where the cell is empty.

    Raises:
        TagscaleError: a cell that is no number from `low` to `high`.
    """
    values = pd.to_numeric(cells.replace("", None), errors="coerce").astype(np.float64)
    wrong = (cells != "") & ~((values >= low) & (values <= high))
    refuse(
        path, cells, wrong, f"value of `{cells.name}` that is no number from {low:g} to {high:g}", "correct the file"
    )
    return values


def refuse(path: Path, cells: pd.Series, wrong: pd.Series, what: str, remedy: str) -> None:
    """Raise TagscaleError where any cell is wrong, naming the first ones with their line numbers.

    Args:
        cells: the values, with line numbers as index.
        wrong: whether each cell is wrong, with the same index in any order.
        what, remedy: the message: "PATH: WHAT: line 3 `x`, line 7 `y`; REMEDY."
    """
    if not wrong.any():
        return
    bad = cells[wrong.reindex(cells.index)]
    raise refusal(path, list(bad.head(SHOWN).items()), len(bad), what, remedy)


def refusal(path: Path, shown: list[tuple[Any, str]], count: int, what: str, remedy: str) -> TagscaleError:
    """The error of `refuse` for `count` wrong cells; `shown` holds the first ones: line and text."""
    places = ", ".join(f"line {line}" + (f" `{cell}`" if cell else "") for line, cell in shown)
    more = f" and {count - len(shown)} more" if count > len(shown) else ""
    return TagscaleError(f"{path}: {what}: {places}{more}; {remedy}.")


def named(delimiter: str) -> str:
    """A delimiter in a sentence."""
    return "a tab" if delimiter == "\t" else f"`{delimiter}`"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
