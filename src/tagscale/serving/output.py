"""The rows of one output while a catalogue is tagged: kept line by line, whatever ends the process, and then as a file.

Beside `scores.parquet` a folder `_scores.parquet.partial` holds the rows as JSON lines, in the order in which they
come. They become the output when all are there, in the order of the catalogue, and the folder goes away. Readers of
Parquet folders pass over names with such a beginning, and `read_rows` reads the folder at any time.
"""

import json
import shutil
from array import array
from bisect import bisect
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.journal import Journal, Record
from tagscale.runtime.lock import exclusive
from tagscale.serving.rows import (
    Known,
    Row,
    damage_named,
    in_batches,
    known_of,
    read_known,
    read_records,
    suffix_of,
    write_rows,
)
from tagscale.serving.tagger import Tagger


class Places:
    """The place of each name in a sequence, the last one of a name that comes twice: 16 bytes a name.

    Names are known by 64 bits of a digest, which two of a million share with a chance of 3 in 100 million.

    >>> places = Places(digests_of(["a.mp3", "b.mp3", "a.mp3"]))
    >>> places.of("a.mp3"), places.of("b.mp3"), places.of("c.mp3")
    (2, 1, None)
    >>> places.without(["b.mp3"]).tolist()
    [2]
    """

    def __init__(self, digests: np.ndarray) -> None:
        self._order = np.argsort(digests, kind="stable")
        self._sorted = digests[self._order]

    def of(self, name: str) -> int | None:
        """The place of a name; None where it has none."""
        digest = _digest(name)
        after = bisect(self._sorted.data, digest)  # of the view: faster than NumPy for one number
        return int(self._order[after - 1]) if after and self._sorted[after - 1] == digest else None

    def without(self, names: Collection[str]) -> np.ndarray:
        """The places of all names but these, ascending."""
        is_last = np.append(self._sorted[1:] != self._sorted[:-1], True)[: len(self._sorted)]
        return np.sort(self._order[is_last & ~np.isin(self._sorted, digests_of(names))])


def digests_of(names: Iterable[str]) -> np.ndarray:
    """64 bits of a digest of each name: uint64 (names,)."""
    return np.fromiter(map(_digest, names), np.uint64)


def _digest(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest())


class Kept:
    """State and error of the rows that are there, by the names of their files: some 60 bytes a row."""

    def __init__(self, rows: Iterable[Known] = ()) -> None:
        digests, states, errors = array("Q"), list[pa.Array](), list[pa.Array]()
        for batch in in_batches(rows):
            digests.extend(_digest(row.path) for row in batch)
            states.append(pa.array([row.state for row in batch], pa.string()))
            errors.append(pa.array([row.error for row in batch], pa.string()))
        self.places = Places(np.array(digests, np.uint64))
        self._states, self._errors = (pa.chunked_array(one, pa.string()).combine_chunks() for one in (states, errors))

    def state(self, name: str) -> str:
        """The state of a file by its row; "" where it has no row, or shall be tried again."""
        place = self.places.of(name)
        return "" if place is None else str(self._states[place])

    def error(self, name: str) -> str | None:
        """Why a file has no scores by its row; None where it has scores, or no row."""
        place = self.places.of(name)
        return None if place is None else self._errors[place].as_py()


class Output:
    """The rows of an output.

    Attributes:
        path: of the output
        folder: where rows are kept until all are there
        kept: the rows that were there at the start
    """

    def __init__(self, path: Path, tagger: Tagger, embeddings: bool, anew: bool) -> None:
        self.path, self.tagger, self.embeddings = path, tagger, embeddings
        self.earlier = None if anew else path  # what holds rows already
        self.folder = partial_of(path)
        self.journal = Journal(self.folder / ("anew.jsonl" if anew else "rows.jsonl"))
        self.kept = Kept()
        if self.journal.path.exists():
            self._keep(self._of_journal())
        elif self.earlier and self.earlier.exists():
            self._keep(read_known(self.earlier))

    def add(self, row: Row) -> None:
        """Keep a row, in place of an earlier one of its file."""
        if not self.journal.path.exists() and self.earlier and self.earlier.exists():
            self.journal.rewrite(read_records(self.earlier))
        self.journal.append(row.record())

    def finish(self, names: Collection[str]) -> int:
        """Write the output: rows of the files of these names in their order, then all others that are there.

        Args:
            names: each once
        Returns:
            how many others there are
        """
        if not self.journal.path.exists() and self.earlier and self.earlier.exists():  # no new row
            return len(self.kept.places.without(names))
        self.journal.close()
        digests, ends = array("Q"), array("Q", [0])
        for line in self.journal.lines():
            assert line.record is not None
            digests.append(_digest(line.record["path"]))
            ends.append(line.end)
        places = Places(np.array(digests, np.uint64))
        others = places.without(names)
        known = (place for name in names if (place := places.of(name)) is not None)
        rows = self._records(ends[place] for place in chain(known, others))
        write_rows(self.path, rows, self.tagger.tags, self.embeddings)
        for journal in self.folder.glob("*.jsonl"):  # one of an interrupted run with or without `anew`, too
            journal.unlink()
        return len(others)

    def _records(self, begins: Iterable[int]) -> Iterator[Record]:
        """The rows that begin at these bytes of the journal."""
        if not self.journal.path.exists():
            return
        with open(self.journal.path, "rb") as file:
            for begin in begins:
                file.seek(begin)
                yield json.loads(file.readline())

    def _of_journal(self) -> Iterator[Known]:
        """The rows of the journal; what a kill or a power cut left half-written is removed at the end."""
        end = 0
        with damage_named(self.journal.path, self.path):
            for line in self.journal.lines():
                if line.record is None:
                    break
                yield known_of(line.record)
                end = line.end
            self.journal.truncate(end)

    def _keep(self, rows: Iterable[Known]) -> None:
        """Know the rows that are there. Rows that cannot stand beside those to come are an error, or left out anew."""
        misfit = ""

        def fitting() -> Iterator[Known]:
            nonlocal misfit
            for row in rows:
                if misfit := misfit_of(row, self.tagger, self.embeddings):
                    return
                yield row

        kept = Kept(fitting())
        if not misfit:
            self.kept = kept
        elif self.earlier:
            raise TagscaleError(f"{self.path}: {misfit}. Give another --out, or --anew to tag all files again.")
        else:
            self.journal.remove()


def misfit_of(row: Known, tagger: Tagger, embeddings: bool) -> str:
    """Why a row that is there cannot stand beside those to come; "" where it can."""
    if row.sha256 != tagger.sha256:
        rows = f"{row.model} ({row.version}, sha256 {row.sha256[:12]})"
        now = f"{tagger.model} ({tagger.version}, sha256 {tagger.sha256[:12]})"
        return f"its rows are of {rows}, and this model is {now}"
    if row.error is None and row.is_embedded != embeddings:
        there, asked = ("without", "with") if embeddings else ("with", "without")
        return f"its rows are {there} embeddings, and this command is {asked} --embeddings"
    return ""


def check_shards(folder: Path, shards: int) -> None:
    """Refuse a folder that is divided in another way: a file would have rows in two shards."""
    others = sorted(file.name for file in folder.glob("part-*-of-*") if not file.stem.endswith(f"-of-{shards}"))
    if others:
        raise TagscaleError(
            f"{folder}: {others[0]} is of another number of shards than {shards}. Take that number again (--shard; in "
            "a pipeline kubernetes.shards), give another folder (--out; scores), or delete the old files."
        )


def partial_of(path: Path) -> Path:
    """The folder that holds the rows of an output until all are there."""
    return path.with_name(f"_{path.name}.partial")


@contextmanager
def writing(path: Path, tagger: Tagger, embeddings: bool = False, anew: bool = False) -> Iterator[Output]:
    """The output, which no other process writes while the block runs.

    Args:
        embeddings: whether rows have one
        anew: whether to leave out rows that are there, but for those of an interrupted run with `anew`
    Raises:
        TagscaleError: another suffix, another process writes it, or rows that are there are of another model, damaged,
            or with embeddings where these are without.
    """
    suffix_of(path)
    busy = f"{path}: {{holder}} writes it. Wait for its end, or give another --out."
    with exclusive(partial_of(path) / "lock", busy):
        try:
            output = Output(path, tagger, embeddings, anew)
            try:
                yield output
            finally:
                output.journal.close()
        finally:
            if not list(partial_of(path).glob("*.jsonl")):  # no rows to keep
                shutil.rmtree(partial_of(path), ignore_errors=True)
