"""Tables on disk: Parquet and CSV, each with one writer and one reader, which checks what it reads.

Parquet is written with a checksum of every page, so that no wrong byte passes as another value.
"""

import csv
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tagscale.runtime.reading import Damaged, Output, content_of

FEW_BYTES = 1 << 30  # of memory, that any table may take
EXPANSION = 2000  # how many times as large as its file a larger one may be: long runs of one value compress well


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, without its index."""
    table.to_parquet(path, index=False, write_page_checksum=True)


def read_table(
    path: Path | str,
    columns: pa.Schema,
    command: str,
    others: pa.DataType | None = None,
    content: bytes | None = None,
) -> pd.DataFrame:
    """Read a Parquet file that `write_table` wrote.

    Args:
        columns: what it must have. Text, whole numbers and numbers are told apart, their widths are not. A field that
            is not nullable has no empty cell, and its numbers are finite
        command: what makes the file again
        others: type of all other columns, which are read as well; None: they are left out
        content: the bytes of the file, where they are in memory already

    Raises:
        Damaged: the file is missing, no such table, or lacks a column.
    """
    content = content_of(Path(path), command) if content is None else content
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        problem = _misfit(file.schema_arrow, columns, others) or _excess(file, len(content))
        if not problem:
            names = None if others else columns.names
            table = pd.read_parquet(io.BytesIO(content), columns=names, page_checksum_verification=True)
            problem = _gap(table, columns)
    except Exception as error:  # of pyarrow and of pandas, which raise all kinds of them over wrong bytes
        problem = str(error).partition("\n")[0][:200] or type(error).__name__
    if problem:
        raise Damaged(path, f"damaged ({problem})", command)
    return table


def read_csv(
    path: Path | str,
    text: Sequence[str],
    command: str,
    numbers: Sequence[str] | None = None,
    content: bytes | None = None,
) -> pd.DataFrame:
    """Read a CSV file of ours: UTF-8, a head, and a newline behind every row.

    Args:
        text: columns that hold text; an empty cell is ""
        command: what makes the file again
        numbers: columns that hold numbers, as do all others then; an empty cell is NaN. None: there are no others
        content: the bytes of the file, where they are in memory already

    Raises:
        Damaged: the file is missing, cut short, no such table, or lacks a column.
    """
    content = content_of(Path(path), command) if content is None else content
    try:
        table, problem = _parse_csv(content, text, numbers)
    except (ValueError, csv.Error, OverflowError) as error:
        problem = str(error).partition("\n")[0][:200]
    if problem:
        raise Damaged(path, f"damaged ({problem})", command)
    return table


def table_in(output: Output, name: str, columns: pa.Schema) -> pd.DataFrame:
    """`read_table` of a file in a stage's output."""
    return read_table(output.path(name), columns, output.command, content=output.content(name))


def csv_in(output: Output, name: str, text: Sequence[str], numbers: Sequence[str] | None = None) -> pd.DataFrame:
    """`read_csv` of a file in a stage's output."""
    return read_csv(output.path(name), text, output.command, numbers, output.content(name))


def write_wide(keys: pd.DataFrame, values: pd.DataFrame, path: Path) -> None:
    """Write a table whose columns are names that people gave, as Parquet: first the columns of `keys`, then `values`.

    A key that is also a name is written with underscores behind it, and `wide_in` finds the keys by their place.

    Args:
        keys, values: rows in the same order
    """
    names: list[str] = []
    for key in keys:
        name = str(key)
        while name in values or name in names:
            name += "_"
        names.append(name)
    keys = keys.set_axis(names, axis=1).reset_index(drop=True)
    write_table(pd.concat([keys, values.reset_index(drop=True)], axis=1), path)


def wide_in(output: Output, name: str, keys: pa.Schema, values: pa.DataType) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read what `write_wide` wrote, in a stage's output: the keys under their own names, and the values.

    Raises:
        Damaged: as `read_table`.
    """
    content, written = output.content(name), list(keys.names)
    with suppress(OSError, ValueError):  # of a damaged file; `read_table` says what is wrong with it
        first = pq.read_schema(pa.BufferReader(content)).names[: len(keys)]
        if [one.rstrip("_") for one in first] == [one.rstrip("_") for one in keys.names]:
            written = first
    fields = [pa.field(one, field.type, field.nullable) for one, field in zip(written, keys, strict=True)]
    table = read_table(output.path(name), pa.schema(fields), output.command, values, content=content)
    return table[written].set_axis(keys.names, axis=1), table.drop(columns=written)


def write_csv(table: pd.DataFrame, path: Path, float_format: str | None = None) -> None:
    """Write a CSV without its index, which `read_csv` reads back unchanged."""
    texts = table.select_dtypes(["object", "str"])
    returns = any(texts[column].astype(str).str.contains("\r", regex=False).any() for column in texts)
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL  # which forgets these
    table.to_csv(path, index=False, lineterminator="\n", float_format=float_format, quoting=quoting)


def schema(**kinds: str) -> pa.Schema:
    """Columns by name: "text", "whole" or "number", with a ? behind where cells may be empty."""
    types = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64()}
    return pa.schema(
        [pa.field(name, types[kind.rstrip("?")], nullable=kind.endswith("?")) for name, kind in kinds.items()]
    )


def _misfit(present: pa.Schema, columns: pa.Schema, others: pa.DataType | None) -> str:
    """What is wrong with a file's columns; "" where nothing is."""
    missing = [name for name in columns.names if name not in present.names]
    if missing:
        return f"column(s) {', '.join(missing)} missing; found {', '.join(present.names[:20])}"
    if len(set(present.names)) < len(present.names):
        return "a column is in it twice"
    for field in present:
        asked = columns.field(field.name) if field.name in columns.names else others and pa.field(field.name, others)
        if asked and _kind(field.type) not in _kinds(asked):
            return f"column {field.name} holds {field.type}, expected {asked.type}"
    return ""


def _excess(file: pq.ParquetFile, size: int) -> str:
    """Whether a table would take far more memory than its file explains."""
    rows, columns = file.metadata.num_rows, file.metadata.num_columns
    if 8 * rows * columns > max(FEW_BYTES, EXPANSION * size):
        return f"{rows:,} rows of {columns:,} columns in {size:,} bytes"
    return ""


def _gap(table: pd.DataFrame, columns: pa.Schema) -> str:
    """The first column with an empty cell, or an infinite number, where none may be; "" where there is none."""
    for field in columns:
        cells = table[field.name]
        if not field.nullable and (cells.isna().any() or (cells.dtype.kind == "f" and np.isinf(cells).any())):
            return f"column {field.name} has empty or infinite cells"
    return ""


def _kinds(asked: pa.Field) -> set[str]:
    """The kinds that a column may have: pandas stores whole numbers with gaps as numbers, gaps alone as null."""
    gaps = {"null", "number"} if _kind(asked.type) == "whole" else {"null"}
    return {_kind(asked.type)} | (gaps if asked.nullable else set())


def _kind(of: pa.DataType) -> str:
    if pa.types.is_dictionary(of):
        return _kind(of.value_type)
    if pa.types.is_string(of) or pa.types.is_large_string(of) or pa.types.is_string_view(of):
        return "text"
    return "whole" if pa.types.is_integer(of) else "number" if pa.types.is_floating(of) else str(of)


def _parse_csv(content: bytes, text: Sequence[str], numbers: Sequence[str] | None) -> tuple[pd.DataFrame, str]:
    """The table, and what is wrong with it ("": nothing)."""
    if not content.endswith(b"\n") or b"\0" in content:
        return pd.DataFrame(), "it does not end with a whole row" if content else "it is empty"
    rows = csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
    head = next(rows, [])
    missing = [name for name in (*text, *(numbers or ())) if name not in head]
    if missing:
        return pd.DataFrame(), f"column(s) {', '.join(missing)} missing; found {', '.join(head[:20])}"
    if len(set(head)) < len(head):
        return pd.DataFrame(), "a column is in it twice"
    for number, row in enumerate(rows, start=2):
        if row and len(row) != len(head):
            return pd.DataFrame(), f"row {number} has {len(row)} cell(s), expected {len(head)}"
    counted = [name for name in head if name not in text]
    if numbers is None:
        text, counted = head, []
    table = pd.read_csv(
        io.BytesIO(content),
        dtype=dict.fromkeys(text, str),
        keep_default_na=False,
        na_values={name: [""] for name in counted},
    )
    for name in counted:
        if table[name].dtype.kind not in "iuf" and len(table):
            return table, f"column {name} holds something other than numbers"
    return table, ""
