"""A journal of MLflow entries of a training, unsent or all of them: a file with a line of JSON per entry, in order.

The first line names the MLflow run, and in a record when it began. An entry is written with its timestamp before it is
sent. If the process is killed in between, the entry is sent again later: MLflow stores a metric of the same timestamp
and step once.

    {"format": 1, "run": "3f0c...", "start": 1767225590000}
    {"metrics": [["train_loss", 0.51, 1767225600000, 1]]}
    {"params": {"parameters": "1234"}}
    {"tags": {"tagscale.split": "artist"}}
    {"dataset": {"name": "mtt", "digest": "6d584f5010e8", "source_type": "local", "source": "{}"}}
    {"model": "waveform-300-0", "path": "."}
    {"artifacts": "page.html", "folder": null}
    {"status": "FINISHED", "time": 1767225600000}
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from tagscale.runtime.journal import Journal

FORMAT = 1
UNSENT = "unsent.jsonl"  # beside the state of a training, and in the folder of a run that ended during an outage
LOGGED = "logged.jsonl"  # all entries: beside the state of a training, and in the folder of a complete run
STATUS = ("FINISHED", "FAILED", "KILLED")
DATASET, MORE = {"name", "digest", "source_type", "source"}, {"schema", "profile"}  # what a dataset has, and may have

Entry = dict[str, Any]


class Unsent:
    """A journal of entries of an MLflow run.

    Args:
        file: the journal, which may be missing
        run_id: MLflow's id of the run
        start: when the run began, in milliseconds since 1970, where the journal says it
    """

    def __init__(self, file: Path, run_id: str, start: int | None = None) -> None:
        self.file, self.run_id, self.start = file, run_id, start
        self._journal = Journal(file)

    def append(self, entry: Entry) -> None:
        """Add an entry. It is on the disk when this returns."""
        if not self.file.exists():
            self._journal.append(self._head)
        self._journal.append(entry, durable=True)
        self._journal.close()

    def keep(self, entries: Sequence[Entry]) -> None:
        """Replace the content. Without entries the file is removed, and its folder if that is empty."""
        if entries:
            self._journal.rewrite([self._head, *entries])
        else:
            self._journal.remove()
            with suppress(OSError):
                self.file.parent.rmdir()

    @property
    def _head(self) -> Entry:
        return {"format": FORMAT, "run": self.run_id} | ({} if self.start is None else {"start": self.start})


def journal_of(file: Path) -> Unsent | None:
    """The journal in a file, or None where it names no run."""
    head = next((line.record or {} for line in Journal(file).lines()), {})
    run_id, start = head.get("run"), head.get("start")
    if head.get("format") != FORMAT or not isinstance(run_id, str) or not run_id.isalnum():
        return None
    return Unsent(file, run_id, start if isinstance(start, int) else None)


def read(file: Path) -> tuple[Unsent, list[Entry]] | None:
    """The journal in a file and its entries, or None where it names no run. Prints a warning of unreadable lines.

    A last line that a kill cut short counts as missing; the resumed training logs it again.
    """
    if not file.is_file():
        return None
    journal, lines = journal_of(file), list(Journal(file).lines())
    entries = [line.record for line in lines[1:] if line.record and is_entry(line.record)] if journal else []
    unreadable = [line.number for line in lines[1:] if not is_entry(line.record)] if journal else [1]
    if unreadable:
        print(
            f"warning: {file}: {len(unreadable)} of {len(lines) or 1} lines are unreadable, the first is line "
            f"{unreadable[0]}. They are skipped and missing in MLflow."
        )
    return (journal, entries) if journal else None


def digest_of(file: Path) -> str:
    """Digest of a journal, which a tag of MLflow's run records once the entries are sent."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def is_entry(record: Any) -> bool:
    """Whether a record is one of the kinds above, complete, with values of the right types."""
    match record:
        case {"metrics": list(metrics), **rest}:
            return not rest and all(_is_metric(metric) for metric in metrics)
        case {"params": dict(values), **rest} | {"tags": dict(values), **rest}:
            return not rest and all(isinstance(value, str) for value in values.values())
        case {"dataset": dict(values), **rest}:
            complete = values.keys() >= DATASET and values.keys() <= DATASET | MORE
            return not rest and complete and all(isinstance(value, str) for value in values.values())
        case {"model": str(), "path": str(path), **rest}:
            return not rest and _is_inside(path)
        case {"artifacts": str(path), "folder": str() | None, **rest}:
            return not rest and _is_inside(path)
        case {"status": status, "time": int(), **rest}:
            return not rest and status in STATUS
    return False


def steps_in(entries: Sequence[Entry]) -> Iterator[tuple[str, int]]:
    """Every metric in the entries, with its step."""
    for entry in entries:
        for key, _, _, step in entry.get("metrics", ()):
            yield key, step


def _is_metric(content: Any) -> bool:
    match content:
        case [str(), float() | int() as value, int() as time, int() as step]:
            return not any(isinstance(number, bool) for number in (value, time, step))
    return False


def _is_inside(path: str) -> bool:
    """Whether a path stays in the run's folder: a journal may come from elsewhere, and its files are uploaded."""
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts
