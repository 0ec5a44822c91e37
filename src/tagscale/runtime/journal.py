"""A journal on disk: a line of JSON for each record, appended, so that a kill costs at most the last one."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagscale.runtime.files import own, replacing

Record = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """A whole line of a journal.

    end: position in bytes behind it. record: None where it is no JSON object.
    """

    number: int
    end: int
    record: Record | None


class Journal:
    """A file that one process at a time appends records to.

    >>> import tempfile
    >>> journal = Journal(Path(tempfile.mkdtemp()) / "journal.jsonl")
    >>> journal.append({"track": 1})
    >>> with open(journal.path, "a") as file:  # a process is killed while it writes
    ...     _ = file.write('{"track": 2')
    >>> [line.record for line in journal.lines()]
    [{'track': 1}]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def append(self, record: Mapping[str, Any], durable: bool = False) -> None:
        """Add a record. It survives the end of this process, and if `durable` a power cut as well. Raises OSError."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            own(self.path)
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        write_whole(self._file, _line(record).encode())
        if durable:
            os.fsync(self._file)

    def lines(self) -> Iterator[Line]:
        """All whole lines; none where there is no journal. Half a last line, which a kill leaves, is left out."""
        try:
            file = open(self.path, "rb")  # noqa: SIM115 (closed below)
        except FileNotFoundError:
            return
        end = 0
        with file:
            for number, line in enumerate(file, start=1):
                end += len(line)
                if line.endswith(b"\n"):
                    yield Line(number, end, _parsed(line))

    def truncate(self, end: int) -> None:
        """Remove all that is behind a line's end."""
        own(self.path)
        os.truncate(self.path, end)

    def rewrite(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Let the journal hold these records alone, at once."""
        self.close()
        with replacing(self.path) as fresh, open(fresh, "w", encoding="utf-8") as file:
            file.writelines(map(_line, records))

    def remove(self) -> None:
        """Delete the file, if there is one."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file, which the next `append` opens again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def write_whole(file: int, content: bytes) -> None:
    """Write all bytes to a file descriptor, unbuffered: the process may be killed once this returns."""
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"


def _parsed(line: bytes) -> Record | None:
    with suppress(ValueError, RecursionError):
        record = json.loads(line)
        if isinstance(record, dict):
            return record
    return None
