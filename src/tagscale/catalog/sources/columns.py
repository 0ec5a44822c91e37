"""The tag columns of a user's table and their kinds, as tags.yaml declares them or inferred from the values."""

import re
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import AfterValidator, Field
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tagscale.catalog.tables import TRACK_COLUMNS
from tagscale.params.load import checked, read_yaml
from tagscale.runtime.block import Block
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.names import normalised

ARTIST_ID = "artist_id"  # of a table: distinguishes artists of one name
RECURRING = 5  # tracks a word of a category has on average; a column of fewer is text about each track
RESERVED = (*TRACK_COLUMNS, ARTIST_ID)  # columns of a table that are never tags
Name = Annotated[str, AfterValidator(normalised)]


class Entry(Block):
    """What tags.yaml says of the columns that match a pattern."""

    kind: Literal["classification", "regression", "category", "ignore"]
    group: Annotated[Name, Field(min_length=1)] = "tags"
    exclusive: Name = ""


class TagsFile(Block):
    """The content of tags.yaml: entries by pattern, in the file's order."""

    columns: dict[str, Entry]


@dataclass(frozen=True)
class TagColumn:
    """One tag column. A column of kind `category` holds one text a track, and each of its values becomes a tag."""

    name: str
    kind: str  # classification | regression | category
    group: str
    exclusive: str = ""  # name of its set of mutually exclusive tags


def declared(path: Path, table: Path, columns: list[str]) -> list[TagColumn]:
    """The tag columns among `columns` (of `table`) as the YAML file `path` declares them, in the table's order.

    An entry that is a column's name means that column alone, whatever stars and brackets it holds. For other columns
    the first pattern that matches decides. The group is "tags" unless the entry names another.

    Raises:
        TagscaleError: no such file or not YAML, unknown kind or key, a column that no entry matches, an entry that
            matches no column.
    """
    entries = _entries(path)
    matches = _matches(entries, columns)
    for pattern, entry in entries.items():
        useless = pattern not in columns and not any(fnmatchcase(column, pattern) for column in columns)
        if useless and pattern in RESERVED:
            raise TagscaleError(
                f"{path}: `{pattern}` is no tag: the table's column of that name is about the tracks themselves. Give "
                f"the tag's column another name in {table}."
            )
        if useless and entry.kind != "ignore":
            raise TagscaleError(f"{path}: `{pattern}` matches no column of {table}{_near(pattern, columns)}.")
    unmatched = [column for column, pattern in matches.items() if pattern is None]
    if unmatched:
        raise TagscaleError(
            f"{path}: no entry for column {', '.join(f'`{column}`' for column in unmatched)} of {table}. "
            "Add one, with `kind: ignore` for columns that are no tags."
        )
    tags = [
        TagColumn(column, **entries[pattern].model_dump()) for column, pattern in matches.items() if pattern is not None
    ]
    return [tag for tag in tags if tag.kind != "ignore"]


def kinds(path: Path, columns: list[str]) -> dict[str, str]:
    """The kind of each of `columns` that an entry of the YAML file matches, so that only needed columns are read.

    Empty where the file is missing: `declared` raises the error once the table has been read.

    Raises:
        TagscaleError: not YAML, unknown kind or key.
    """
    if not path.is_file():
        return {}
    entries = _entries(path)
    matches = _matches(entries, columns)
    return {column: entries[pattern].kind for column, pattern in matches.items() if pattern is not None}


def _matches(entries: dict[str, Entry], columns: list[str]) -> dict[str, str | None]:
    """The entry that decides each column, None where there is none."""
    patterns = [entry for entry in entries if entry not in columns]
    return {
        column: column if column in entries else next((p for p in patterns if fnmatchcase(column, p)), None)
        for column in columns
    }


def _entries(path: Path) -> dict[str, Entry]:
    """The checked entries of the YAML file by pattern, in the file's order."""
    if not path.is_file():
        raise TagscaleError(
            f"{path}: no such file. It maps columns to kinds; write `tags: null` in the dataset block of params.yaml "
            "to have them inferred."
        )
    entries: dict[str, Entry] = {}
    for written, entry in checked(TagsFile, read_yaml(path), str(path)).columns.items():
        pattern = normalised(written)
        if pattern in entries:
            raise TagscaleError(f"{path}: two entries are named `{pattern}`, if spaces and Unicode forms do not count.")
        entries[pattern] = entry
    return entries


def _near(word: str, known: list[str]) -> str:
    near = get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean `{near[0]}`?)" if near else ""


def inferred(table: Path, cells: pd.DataFrame, columns: list[str]) -> list[TagColumn]:
    """Infer the tag columns among `columns` from their values, and print them as a table for the user to check.

    Only 0 and 1: classification. Other numbers from 0 to 1: regression. Words that come back, each on `RECURRING`
    tracks on average: category. Anything else, lists of words too: no tag.
    """
    shown = Table("column", "kind", "because", title=f"No tags.yaml: kinds inferred from {escape(str(table))}")
    tags: list[TagColumn] = []
    for column in columns:
        kind, because = _kind_of(cells[column])
        shown.add_row(escape(column), kind, escape(because))
        if kind != "ignore":
            tags.append(TagColumn(column, kind, group=column if kind == "category" else kind))
    for column in cells.columns.intersection(list(RESERVED)):
        if (filled := set(cells[column]) - {""}) and filled <= {"0", "1"} and column != "track_id":
            shown.add_row(column, "ignore", "0 and 1, but columns of this name are about the tracks; rename a tag")
    Console().print(shown)
    return tags


def _kind_of(cells: pd.Series) -> tuple[str, str]:
    filled = cells[cells != ""]
    if filled.empty:
        return "ignore", "empty"
    numbers = pd.to_numeric(filled, errors="coerce").to_numpy(np.float64)
    words = sorted(set(filled.map(normalised)))
    recurring = 1 < len(words) <= len(filled) / RECURRING
    if np.isnan(numbers).all() and (example := list_in(words)):
        return "ignore", f"lists, as `{example[:40]}`: give each of their words a column of 0 and 1"
    if np.isnan(numbers).all() and recurring:
        return "category", f"{len(words)} different words on {len(filled)} tracks"
    outside = ~((numbers >= 0) & (numbers <= 1))
    if outside.any():
        because = f"holds `{str(filled.iloc[int(outside.argmax())])[:40]}`, no number from 0 to 1"
        if np.isfinite(numbers).all():
            because = f"numbers from {numbers.min():g} to {numbers.max():g}: a tag needs them scaled to 0 to 1"
        classes = f"; if its {len(words)} different values are classes, tags.yaml can say `kind: category`"
        return "ignore", because + (classes if recurring else "")
    if np.isin(numbers, (0, 1)).all():
        return "classification", "only 0 and 1"
    return "regression", f"numbers from {numbers.min():g} to {numbers.max():g}"


def list_in(words: list[str]) -> str:
    """The first cell that holds several words of which another cell holds one, too; empty where there is none.

    >>> list_in(["calm", "jazz, calm", "rock"]), list_in(["folk, world, and country", "rock"])
    ('jazz, calm', '')
    """
    parts = {word: [part.strip() for part in re.split("[,;|]", word)] for word in words}
    counts = Counter(part for each in parts.values() for part in set(each))
    return next((word for word, each in parts.items() if len(each) > 1 and any(counts[part] > 1 for part in each)), "")


def one_hot(column: str, cells: pd.Series) -> dict[str, np.ndarray]:
    """Turn a text column into one tag per value, `<column>_<value>`: float32, (tracks,), NaN where the cell is empty.

    >>> one_hot("genre", pd.Series(["rock", "hip hop", "", "rock"]))["genre_rock"]
    array([ 1.,  0., nan,  1.], dtype=float32)
    """
    values = cells.map({cell: normalised(cell).replace(" ", "_") for cell in cells.unique()})
    known = sorted(set(values) - {""})
    empty = (values == "").to_numpy()
    return {f"{column}_{value}": np.where(empty, np.nan, values == value).astype(np.float32) for value in known}
