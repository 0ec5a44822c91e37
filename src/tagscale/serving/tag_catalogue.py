"""A catalogue tagged to an output: decoded in worker processes, heard in batches, kept row by row.

A thread reads outcomes of the workers ahead, so that they decode while the model hears. What waits is bounded by its
length, so the audio in memory does not grow with the catalogue; the names of its files and the states of rows do.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from tagscale.registry.tagger import BATCH_SECONDS
from tagscale.registry.tags import Tags
from tagscale.runtime.ahead import Ahead
from tagscale.runtime.machine import cores
from tagscale.runtime.words import counted
from tagscale.serving.catalogue import Entry
from tagscale.serving.output import Output, writing
from tagscale.serving.reading import Job, Outcome, read_all
from tagscale.serving.rows import row_of
from tagscale.serving.tagger import Tagger

WAITING_SECONDS = 600.0  # of decoded audio that waits for the model, or one file: 19 MB
PATIENCE = 0.5  # seconds that a batch waits for more files
FILE_SECONDS = 1.0  # that a file without audio counts
SHOWN = 5  # reasons of files without scores in the summary
LINE_SECONDS = 30.0  # between two lines of progress where there is no terminal


@dataclass
class Progressed:
    """How far a catalogue is tagged.

    total: files of the catalogue
    kept: of them, those whose rows were there, and whose files have not changed
    tagged: of the others, those that have scores now
    errors: reasons of files without scores; those of `kept` included
    failed: of the others, those that have none
    others: files that have a row and are not in the catalogue
    seconds: of audio that was tagged
    """

    total: int
    kept: int = 0
    tagged: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    others: int = 0
    seconds: float = 0.0
    begin: float = field(default_factory=time.monotonic)

    @property
    def new(self) -> int:
        """Files that have a row by this run."""
        return self.tagged + self.failed

    @property
    def done(self) -> int:
        return self.kept + self.new

    def pace(self) -> str:
        """Files a second, how many times faster than the music plays, and what remains."""
        elapsed = max(time.monotonic() - self.begin, 1e-9)
        rate = self.new / elapsed
        left = f", {duration((self.total - self.done) / rate)} left" if rate and self.total > self.done else ""
        return f"{rate:.1f} files/s, {self.seconds / elapsed:,.0f} x real time{left}"

    def summary(self, out: Path) -> list[str]:
        """What there is now, and how fast it came, in lines for people."""
        elapsed = time.monotonic() - self.begin
        states = {"tagged": self.tagged, "without scores": self.failed, "unchanged and kept": self.kept}
        counts = ", ".join(f"{count:,} {state}" for state, count in states.items() if count)
        pace = f", {self.pace()}" if self.new else ""
        lines = [f"{out}: {counted(self.total, 'file')} ({counts or 'none'}) in {duration(elapsed)}{pace}."]
        if self.others:
            lines.append(f"Rows of {counted(self.others, 'file')} that this catalogue does not name stay in it.")
        for reason, count in self.errors.most_common(SHOWN):
            lines.append(f"  {count:,} without scores: {reason}")
        if more := self.errors.total() - sum(count for _, count in self.errors.most_common(SHOWN)):
            lines.append(f"  {more:,} more without scores: {out} has their reasons in the column `error`")
        return lines


def duration(seconds: float) -> str:
    """A duration for people.

    >>> duration(45), duration(600), duration(200_000)
    ('45 s', '10 min', '55.6 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def tag_catalogue(
    tagger: Tagger,
    catalogue: Mapping[str, Entry],
    out: Path,
    *,
    embeddings: bool = False,
    anew: bool = False,
    workers: int | None = None,
    console: Console | None = None,
) -> Progressed:
    """Give every file of a catalogue a row in `out`: its scores, or the reason why it has none.

    A file whose row is there and that has not changed is skipped, and an interrupted run resumes. Rows of files that
    the catalogue does not name stay.

    Args:
        catalogue: of `catalogue.entries`
        out: .parquet, .csv or .jsonl
        embeddings: whether rows have one
        anew: whether to tag files again whose rows are there
        workers: processes that decode, by default one a core
        console: for the progress
    Raises:
        TagscaleError: see `output.writing`; or the model gives no embeddings.
    """
    if embeddings:
        tagger.audio.scorer.require_embeddings()
    progressed = Progressed(len(catalogue))
    with writing(out, tagger, embeddings, anew) as output, _shown(progressed, console) as show:
        source = read_all(_jobs(catalogue, output), tagger.audio.longest, workers or cores())
        with Ahead(source, _seconds, WAITING_SECONDS) as ahead:
            while batch := ahead.take(BATCH_SECONDS, PATIENCE):
                _take(tagger, output, batch, embeddings, progressed)
                show()
        progressed.others = output.finish(catalogue)
    return progressed


def _jobs(catalogue: Mapping[str, Entry], output: Output) -> Iterator[Job]:
    for name, entry in catalogue.items():
        yield Job(entry, output.kept.state(name))


def _seconds(item: tuple[Job, Outcome]) -> float:
    decoded = item[1].decoded
    return decoded.source_seconds if decoded else FILE_SECONDS


def _take(
    tagger: Tagger, output: Output, batch: list[tuple[Job, Outcome]], embeddings: bool, progressed: Progressed
) -> None:
    """Hear a batch, and keep its rows."""
    heard = iter(tagger.hear([outcome.decoded for _, outcome in batch if outcome.decoded], embeddings))
    for job, outcome in batch:
        name = job.entry.name
        if not outcome.decoded and not outcome.reason:
            progressed.kept += 1
            if reason := output.kept.error(name):
                progressed.errors[reason] += 1
            continue
        tags = next(heard) if outcome.decoded else Tags(name, error=outcome.reason)
        output.add(row_of(tags, tagger, name, outcome.state))
        if tags.error is None:
            progressed.tagged += 1
            progressed.seconds += outcome.decoded.source_seconds if outcome.decoded else 0
        else:
            progressed.failed += 1
            progressed.errors[tags.error] += 1


@contextmanager
def _shown(progressed: Progressed, console: Console | None) -> Iterator[Callable[[], None]]:
    """Give a function that shows the progress: as a bar or, where there is no terminal, as a line now and then."""
    console = console or Console(stderr=True)
    columns = (
        TextColumn("tagging"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}", markup=False),
    )
    said = time.monotonic()

    def show() -> None:
        nonlocal said
        pace = f"{progressed.errors.total()} errors, {progressed.pace()}"
        bar.update(task, completed=progressed.done, pace=pace)
        if not console.is_terminal and time.monotonic() - said >= LINE_SECONDS:
            said = time.monotonic()
            print(f"tagging: {progressed.done:,} of {progressed.total:,} files, {pace}", file=sys.stderr, flush=True)

    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=progressed.total, pace="")
        yield show
