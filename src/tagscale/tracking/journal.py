"""What a training still has to tell MLflow, on disk: a line of JSON for each thing, in order.

The first line names the MLflow run. A line is written before it is sent, with the time of what it tells, so that a
process that is killed in between leaves a line that can be sent again: MLflow keeps a number of one time and step once.

    {"format": 1, "run": "3f0c..."}
    {"metrics": [["train_loss", 0.51, 1767225600000, 1]]}
    {"params": {"parameters": "1234"}}
    {"tags": {"tagscale.split": "artist"}}
    {"artifacts": ".", "folder": "checkpoint"}
    {"status": "FINISHED", "time": 1767225600000}
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tagscale.runtime.files import replacing

FORMAT = 1
JOURNAL = "unsent.jsonl"  # beside the state of a training, and in the folder of a run that ended while MLflow was away
STATUS = ("FINISHED", "FAILED", "KILLED")

Entry = dict[str, Any]


@dataclass(frozen=True)
class Journal:
    """A journal's file and the MLflow run that it is about."""

    file: Path
    run_id: str

    def append(self, entry: Entry) -> None:
        """Add an entry, and have it on the disk when this returns."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        begun = self.file.exists()
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(_line(entry) if begun else self._head() + _line(entry))
            file.flush()
            os.fsync(file.fileno())

    def keep(self, entries: Sequence[Entry]) -> None:
        """Let the journal hold these entries alone; without any its file goes, and its folder if that is empty."""
        if entries:
            with replacing(self.file) as fresh:
                fresh.write_text(self._head() + "".join(map(_line, entries)), encoding="utf-8")
        else:
            self.file.unlink(missing_ok=True)
            with suppress(OSError):
                self.file.parent.rmdir()

    def _head(self) -> str:
        return _line({"format": FORMAT, "run": self.run_id})


def read(file: Path) -> tuple[Journal, list[Entry]] | None:
    """A journal with its entries, or None where there is none. What cannot be read is left out, with a line.

    The last line is cut where the process was killed while it wrote; a training that goes on logs it again.
    """
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError:
        return None
    cut, entries, unread = lines.pop(), [], []
    head = _parsed(lines[0]) if lines else None
    run_id = head.get("run") if isinstance(head, dict) and head.get("format") == FORMAT else None
    if not isinstance(run_id, str) or not run_id.isalnum():
        unread.append(1)
    else:
        for number, line in enumerate(lines[1:], start=2):
            entry = _parsed(line)
            if is_entry(entry):
                entries.append(entry)
            else:
                unread.append(number)
    if unread:
        print(
            f"warning: {file}: {len(unread)} of {len(lines) + bool(cut)} lines cannot be read, the first is line "
            f"{unread[0]}; what they told MLflow is left out."
        )
    return (Journal(file, run_id), entries) if isinstance(run_id, str) and run_id.isalnum() else None


def digest_of(file: Path) -> str:
    """By which MLflow's run says that a journal has been sent."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def is_entry(found: Any) -> bool:
    """Whether it is one of the kinds above, complete, with values of the right types."""
    match found:
        case {"metrics": list(metrics), **rest}:
            return not rest and all(_is_metric(metric) for metric in metrics)
        case {"params": dict(values), **rest} | {"tags": dict(values), **rest}:
            return not rest and all(isinstance(value, str) for value in values.values())
        case {"artifacts": str(path), "folder": str() | None, **rest}:
            return not rest and _is_inside(path)
        case {"status": status, "time": int(), **rest}:
            return not rest and status in STATUS
    return False


def steps_in(entries: Sequence[Entry]) -> Iterator[tuple[str, int]]:
    """Every metric that entries hold, with its step."""
    for entry in entries:
        for key, _, _, step in entry.get("metrics", ()):
            yield key, step


def _is_metric(found: Any) -> bool:
    match found:
        case [str(), float() | int() as value, int() as time, int() as step]:
            return not any(isinstance(number, bool) for number in (value, time, step))
    return False


def _is_inside(path: str) -> bool:
    """Whether a path stays in the run's folder: a journal may come from elsewhere, and what it names is uploaded."""
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry) + "\n"


def _parsed(line: bytes) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(line)
    return None
