"""The rows of one output while a catalogue is tagged: kept line by line, whatever ends the process, and then as a file.

Beside `scores.parquet` a folder `_scores.parquet.partial` holds the rows as JSON lines, in the order in which they
come. They become the output when all are there, in the order of the catalogue, and the folder goes away. Readers of
Parquet folders pass over names with such a beginning, and `read_rows` reads the folder at any time.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.journal import Journal, Record
from tagscale.runtime.lock import exclusive
from tagscale.serving.rows import Known, Row, read_known, read_records, suffix_of, write_rows
from tagscale.serving.tagger import Tagger


class Output:
    """The rows of an output.

    Attributes:
        path: of the output
        folder: where rows are kept until all are there
        known: name of a file -> its row, of those that were there at the start
    """

    def __init__(self, path: Path, tagger: Tagger, embeddings: bool, anew: bool) -> None:
        self.path, self.tagger, self.embeddings = path, tagger, embeddings
        self.earlier = None if anew else path  # what holds rows already
        self.folder = partial_of(path)
        self.journal = Journal(self.folder / ("anew.jsonl" if anew else "rows.jsonl"))
        self.known: dict[str, Known] = {}
        if self.journal.path.exists():
            self._mend()
        source = self.journal.path if self.journal.path.exists() else self.earlier
        if source and source.exists():
            self._read(source)

    def add(self, row: Row) -> None:
        """Keep a row, in place of an earlier one of its file."""
        if not self.journal.path.exists() and self.earlier and self.earlier.exists():
            self.journal.rewrite(read_records(self.earlier))
        self.journal.append(row.record())

    def finish(self, names: Iterable[str]) -> int:
        """Write the output: rows of the files of these names in their order, then all others that are there.

        Returns:
            how many others there are
        """
        wanted = dict.fromkeys(names)
        if not self.journal.path.exists() and self.earlier and self.earlier.exists():  # no new row
            return len(self.known.keys() - wanted.keys())
        self.journal.close()
        places, end = dict[str, int](), 0
        for line in self.journal.lines():
            assert line.record is not None
            places[line.record["path"]], end = end, line.end
        others = [name for name in places if name not in wanted]
        rows = self._records(places[name] for name in [*wanted, *others] if name in places)
        write_rows(self.path, rows, self.tagger.tags, self.embeddings)
        for journal in self.folder.glob("*.jsonl"):  # one of an interrupted run with or without `anew`, too
            journal.unlink()
        return len(others)

    def _records(self, places: Iterable[int]) -> Iterator[Record]:
        """The rows at these places of the journal."""
        if not self.journal.path.exists():
            return
        with open(self.journal.path, "rb") as file:
            for place in places:
                file.seek(place)
                yield json.loads(file.readline())

    def _mend(self) -> None:
        """Remove from the journal what a kill or a power cut left half-written."""
        end = 0
        for line in self.journal.lines():
            if line.record is None:
                break
            end = line.end
        self.journal.truncate(end)

    def _read(self, source: Path) -> None:
        """Know the rows that are there. Rows that cannot stand beside those to come are an error, or left out anew."""
        for row in read_known(source):
            if misfit := self._misfit(row):
                if self.earlier:
                    raise TagscaleError(f"{self.path}: {misfit}. Give another --out, or --anew to tag all files again.")
                self.journal.remove()
                self.known.clear()
                return
            self.known[row.path] = row

    def _misfit(self, row: Known) -> str:
        """Why a row that is there cannot stand beside those to come; "" where it can."""
        if row.sha256 != self.tagger.sha256:
            rows = f"{row.model} ({row.version}, sha256 {row.sha256[:12]})"
            now = f"{self.tagger.model} ({self.tagger.version}, sha256 {self.tagger.sha256[:12]})"
            return f"its rows are of {rows}, and this model is {now}"
        if row.error is None and row.is_embedded != self.embeddings:
            there, asked = ("without", "with") if self.embeddings else ("with", "without")
            return f"its rows are {there} embeddings, and this command is {asked} --embeddings"
        return ""


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
