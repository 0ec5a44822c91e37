"""Corrections of labels: rows of corrections.csv in the dataset's root, which the catalog applies.

A row says who found when that a tag of a track has another value. The server's page appends rows; a person may, too.
"""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from tagscale import POSITIVE
from tagscale.catalog.sources.annotations import numbers, read_table, refuse
from tagscale.catalog.tables import Catalog, one_form
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import own
from tagscale.runtime.journal import write_whole
from tagscale.runtime.lock import in_turn
from tagscale.runtime.names import normalised

FILE = "corrections.csv"
COLUMNS = ["when", "who", "track_id", "file", "audio_sha256", "tag", "value"]
HEADER = (",".join(COLUMNS) + "\n").encode()
MOST_BYTES = 64 << 20  # of the file: half a million rows
LONGEST_NAME = 500  # characters that are kept of a person's or a file's name
FORMULA = ("=", "+", "-", "@", "'")  # a spreadsheet takes text that begins so for a formula, or hides the quote


@dataclass(frozen=True)
class Correction:
    """A listener's label of one tag of one recording.

    who: their name, as they give it.
    track_id: of the dataset's track; "" where the recording is none of its tracks.
    file: name or path of the file that they heard.
    audio_sha256: of its decoded samples, as `decoding.decode` gives it; "" = unknown.
    value: of the tag, from 0 to 1.
    """

    who: str
    track_id: str
    file: str
    audio_sha256: str
    tag: str
    value: float


class Unwritten(TagscaleError):
    """The file takes no corrections, whatever they are."""


def append(file: Path, corrections: Sequence[Correction]) -> None:
    """Append a row for each correction: all of them, or none. Any number of processes may do so at once.

    Raises:
        TagscaleError: nobody's name, or a value outside [0, 1].
        Unwritten: a file with other columns, a full file, or one that cannot be written.
    """
    when = datetime.now(UTC).isoformat(timespec="seconds")
    rows = b"".join(_row(when, one) for one in corrections)
    try:
        own(file)
        with in_turn(file) as handle:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, len(HEADER), 0) != HEADER:
                raise Unwritten(f"{file}: its first line is not `{HEADER.decode().strip()}`. Rename this file.")
            if size + len(rows) > MOST_BYTES:
                raise Unwritten(f"{file}: {size:,} bytes; no more than {MOST_BYTES:,} are kept. Rename this file.")
            torn = size and os.pread(handle, 1, size - 1) != b"\n"
            os.lseek(handle, 0, os.SEEK_END)
            try:
                write_whole(handle, (HEADER if not size else b"\n" if torn else b"") + rows)
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, size)
                raise
    except OSError as error:
        raise Unwritten(f"{file}: cannot be written ({error.strerror}). The correction is not recorded.") from None


def _row(when: str, correction: Correction) -> bytes:
    one = correction
    if not (who := normalised(one.who)[:LONGEST_NAME]):
        raise TagscaleError("who: found no name, expected that of the person who corrects the tag.")
    if not 0 <= one.value <= 1:
        raise TagscaleError(f"value: found {one.value}, expected a number from 0 to 1.")
    file = normalised(one.file)[-LONGEST_NAME:]
    cells = [when, who, one.track_id, file, one.audio_sha256, one.tag, f"{one.value:g}"]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(_inert(normalised(cell)) for cell in cells)
    return text.getvalue().encode("utf-8", "replace")


def _inert(cell: str) -> str:
    """The cell as text that a spreadsheet does not run. `_plain` takes it back.

    >>> _inert("=HYPERLINK()"), _plain("'=HYPERLINK()"), _plain("'80s")
    ("'=HYPERLINK()", '=HYPERLINK()', "'80s")
    """
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def corrected(catalog: Catalog, file: Path) -> tuple[Catalog, str]:
    """Apply the corrections of a file to the labels; the last row of a track and tag wins.

    A tag of an exclusive set that becomes positive makes the others of its set negative on that track. Rows without a
    track_id are of recordings that are no tracks of the dataset, and are left out.

    Returns:
        the catalog, and a sentence about what was applied; the same catalog and "" where there is no such file

    Raises:
        TagscaleError: a malformed file, a track or tag that the catalog lacks, a value that is no number from 0 to 1.
    """
    if not file.exists():
        return catalog, ""
    rows = read_table(file, ",", columns=COLUMNS)
    texts = {column: one_form(rows[column].map(_plain)) for column in ("who", "track_id", "tag")}
    values = numbers(file, rows["value"])
    refuse(file, rows["value"], values.isna(), "empty value", "expected a number from 0 to 1")
    inside = texts["track_id"] != ""
    unknown = inside & ~texts["track_id"].isin(catalog.labels.index)
    refuse(file, texts["track_id"], unknown, "tracks that the dataset does not have", "correct or remove these rows")
    unknown = inside & ~texts["tag"].isin(catalog.tags.index)
    refuse(file, texts["tag"], unknown, "tags that the dataset does not have", "correct or remove these rows")
    applied = pd.DataFrame(texts)[inside]
    labels = _applied(catalog, applied, values[inside])
    others = len(rows) - len(applied)
    note = f"{file}: {len(applied)} correction(s) of {applied['track_id'].nunique()} track(s) by "
    note += f"{applied['who'].nunique()} person(s) are applied"
    note += f"; {others} of other recordings are left out" if others else ""
    return replace(catalog, labels=labels), note


def _applied(catalog: Catalog, corrections: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    """The labels with the corrected values, row by row of the file."""
    labels, cells = catalog.labels, catalog.labels.to_numpy(copy=True)
    exclusive = catalog.tags["exclusive"].to_numpy()
    tracks = labels.index.get_indexer(pd.Index(corrections["track_id"]))
    tags = labels.columns.get_indexer(pd.Index(corrections["tag"]))
    for track, tag, value in zip(tracks, tags, values, strict=True):
        if value >= POSITIVE and exclusive[tag]:
            cells[track, exclusive == exclusive[tag]] = 0
        cells[track, tag] = value
    return pd.DataFrame(cells, labels.index, labels.columns)
