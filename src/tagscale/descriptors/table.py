"""Descriptors on disk: the table of a finished run, and the parts that an interrupted run leaves beside it.

A row belongs to samples, not to a name: their SHA-256 is its key, and it is valid for one `VERSION` of the descriptors.
So a track that is renamed, or that comes back, keeps its row.

Files of the folder: descriptors.parquet (track_id, then a float32 column per descriptor) and sources.parquet
(track_id, audio_sha256, version).
"""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from tagscale.descriptors.describe import VERSION, names
from tagscale.runtime.files import replacing, settle
from tagscale.runtime.reading import Damaged
from tagscale.runtime.tables import read_table, schema, write_table

TABLE, SOURCES = "descriptors.parquet", "sources.parquet"
COMMAND = "tagscale describe"
OWNERS = schema(track_id="text", audio_sha256="text", version="whole")
ROWS = schema(**{"track_id": "text"} | dict.fromkeys(names(), "number"))
PART = schema(**{"audio_sha256": "text", "version": "whole"} | dict.fromkeys(names(), "number"))
PART_SECONDS = 10.0  # the most work that is lost with a killed process


class DescriptorTable:
    """The rows of a list of tracks, some of them filled.

    Attributes:
        tracks: their ids
        digests: SHA-256 of their samples; "" where it is unknown, and such a row is never reused
        values: (tracks, descriptors) float32
        filled: (tracks,) bool
    """

    def __init__(self, tracks: Sequence[str], digests: Sequence[str]) -> None:
        self.tracks, self.digests = list(tracks), np.array(digests, dtype=object)
        self.values = np.zeros((len(self.tracks), len(names())), np.float32)
        self.filled = np.zeros(len(self.tracks), bool)
        self._row = {track: row for row, track in enumerate(self.tracks)}

    def put(self, track: str, values: np.ndarray) -> str:
        """Fill the row of a track; returns its digest."""
        row = self._row[track]
        self.values[row], self.filled[row] = values, True
        return str(self.digests[row])

    def reuse(self, digests: np.ndarray, values: np.ndarray) -> None:
        """Fill rows from others that belong to the same samples."""
        known = pd.Index(digests)
        first = np.flatnonzero(~known.duplicated() & (known != ""))
        source = known[first].get_indexer(pd.Index(self.digests))
        rows = np.flatnonzero((source >= 0) & ~self.filled)
        self.values[rows], self.filled[rows] = values[first[source[rows]]], True

    @property
    def missing(self) -> list[str]:
        """Tracks without a row yet."""
        return [self.tracks[row] for row in np.flatnonzero(~self.filled)]

    def reuse_table(self, folder: Path) -> None:
        """Fill rows from a finished table of the current version, if there is one."""
        settle(folder)
        if not os.path.lexists(folder / SOURCES):
            return
        try:
            sources, table = read_table(folder / SOURCES, OWNERS, COMMAND), read_table(folder / TABLE, ROWS, COMMAND)
        except Damaged as damage:
            print(f"{damage.path}: {damage.what}. Its rows are computed again.", flush=True)
            return
        same = sources["track_id"].tolist() == table["track_id"].tolist()
        if len(sources) and same and (sources["version"] == VERSION).all():
            self.reuse(sources["audio_sha256"].to_numpy(object), table[list(names())].to_numpy(np.float32))

    def save(self, folder: Path) -> None:
        """Write the two files of a finished table; they replace the old ones together."""
        table = pd.DataFrame(self.values, columns=list(names()))
        table.insert(0, "track_id", pd.Series(self.tracks, dtype=str))
        sources = {"track_id": table["track_id"], "audio_sha256": self.digests, "version": VERSION}
        with replacing(folder) as fresh:
            fresh.mkdir()
            write_table(table, fresh / TABLE)
            write_table(pd.DataFrame(sources).astype({"audio_sha256": str}), fresh / SOURCES)


class Parts:
    """Rows of an unfinished table, in files of some seconds' work each. A file is complete or missing."""

    def __init__(self, descriptors: Path) -> None:
        self.folder = descriptors.with_name(f".{descriptors.name}.partial")
        self._rows: list[tuple[str, np.ndarray]] = []
        self._written = time.monotonic()

    def fill(self, table: DescriptorTable) -> None:
        """Fill a table's rows from the parts."""
        for path in sorted(self.folder.glob("*.parquet")):
            try:
                part = read_table(path, PART, COMMAND)
            except Damaged as damage:
                print(f"{damage.path}: {damage.what}. Its rows are computed again.", flush=True)
                continue
            if (part["version"] == VERSION).all():
                table.reuse(part["audio_sha256"].to_numpy(object), part[list(names())].to_numpy(np.float32))

    def add(self, digest: str, values: np.ndarray) -> None:
        """Add a row; it is on disk some seconds later."""
        self._rows.append((digest, values))
        if time.monotonic() - self._written > PART_SECONDS:
            self.write()

    def write(self) -> None:
        """Write the rows that are only in memory."""
        if self._rows:
            digests, values = zip(*self._rows, strict=True)
            part = pd.DataFrame(np.stack(values), columns=list(names()))
            part.insert(0, "audio_sha256", pd.Series(digests, dtype=str))
            part.insert(0, "version", VERSION)
            name = f"{time.time_ns()}-{os.getpid()}.parquet"  # two processes on the same table write different files
            with replacing(self.folder / name) as fresh:
                write_table(part, fresh)
        self._rows, self._written = [], time.monotonic()

    def remove(self) -> None:
        """Remove the parts of a finished table."""
        shutil.rmtree(self.folder, ignore_errors=True)


def read_descriptors(folder: Path | str, tracks: list[str]) -> pd.DataFrame:
    """Descriptors of the tracks in the given order, one column each. Raises Damaged when some are missing."""
    file = Path(folder) / TABLE
    table = read_table(file, schema(track_id="text"), COMMAND, others=pa.float32()).set_index("track_id")
    missing = [track for track in tracks if track not in table.index]
    if missing:
        what = f"no descriptors of {len(missing)} of {len(tracks)} tracks, the first is {missing[0]!r}"
        raise Damaged(file, what, COMMAND)
    return table.loc[tracks]
