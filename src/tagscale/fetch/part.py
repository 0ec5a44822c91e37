"""The unfinished half of a download: NAME.part, and NAME.part.json that says of which state of which file it is a half.

The note is written before the first byte, so that bytes without a note, or with an unreadable one, are never continued.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import write_json


def shown(address: str) -> str:
    """An address without user name, password and query, for messages and notes.

    >>> shown("https://me:secret@example.org/a.zip?key=1")
    'https://example.org/a.zip'
    """
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


@dataclass(frozen=True)
class Note:
    """A state of a file on a server, by what the server says about it; size in bytes, None = it does not say."""

    address: str
    etag: str | None
    last_modified: str | None
    size: int | None

    @property
    def validator(self) -> str | None:
        """What If-Range may hold: an ETag that is not weak, or else the date (RFC 9110, section 13.1.5)."""
        strong = self.etag and not self.etag.startswith("W/")
        return self.etag if strong else self.last_modified


class Part:
    """The unfinished half of the file `target`.

    Attributes:
        note: of which state it is a half; None: there is no half.
        glued: whether its bytes are of more than one answer, so that a wrong digest may be the fault of an old half.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._note_path = target.with_name(f"{target.name}.part.json")
        self.note = self._read_note()
        self.glued = self.size > 0

    @property
    def size(self) -> int:
        """How many bytes there are of it."""
        return self.path.stat().st_size if self.note and self.path.is_file() else 0

    def headers(self, address: str) -> dict[str, str]:
        """What to ask the server at `address` for: the rest of the same state, or everything."""
        if not self.note or not self.size:
            return {}
        asked = {"Range": f"bytes={self.size}-"}
        if self.note.address == shown(address) and self.note.validator:
            asked["If-Range"] = self.note.validator
        return asked  # another server names its states otherwise: the size must be the same, and the digest decides

    def begin(self, note: Note) -> None:
        """Forget what there is; the next bytes are the first ones of the state `note`."""
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            open(self.path, "wb").close()
            write_json(self._note_path, asdict(note))
        self.note, self.glued = note, False

    def append(self, blocks: Iterator[bytes]) -> Iterator[int]:
        """Write the blocks behind what there is; gives the size after each."""
        with writing(self.path):
            file = open(self.path, "ab", buffering=0)  # noqa: SIM115 (unbuffered: the file holds what was counted)
        with file:
            size = self.size
            for block in blocks:
                view = memoryview(block)
                with writing(self.path):
                    while view:
                        view = view[file.write(view) :]
                size += len(block)
                yield size
            with writing(self.path):
                os.fsync(file.fileno())

    def discard(self) -> None:
        """Delete the half and its note."""
        self.path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)
        self.note, self.glued = None, False

    def finish(self, target: Path) -> None:
        """Give the complete half its name."""
        with writing(target):
            os.replace(self.path, target)
        self._note_path.unlink(missing_ok=True)

    def _read_note(self) -> Note | None:
        try:
            found = Note(**json.loads(self._note_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        texts = (found.address, found.etag or "", found.last_modified or "")
        sound = all(isinstance(text, str) and not re.search(r"[\r\n]", text) for text in texts)
        return found if sound and isinstance(found.size, int | None) else None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file and what to do where the disk refuses: requests' errors are OSErrors too, so it is asked here."""
    try:
        yield
    except OSError as error:
        raise TagscaleError(
            f"{error.filename or path}: {error.strerror or error}. What was downloaded is kept: make room or mend the "
            "disk, and run the same command again to go on from there."
        ) from error


def content_range(header: Any) -> tuple[int | None, int | None]:
    """First byte and size of the whole in a Content-Range header; None where it does not say.

    >>> content_range("bytes 100-199/1000"), content_range("bytes */1000"), content_range("bytes 5-9/*")
    ((100, 1000), (None, 1000), (5, None))
    """
    found = re.fullmatch(r"\s*bytes\s+(?:(\d+)-\d+|\*)/(\d+|\*)\s*", str(header), re.IGNORECASE)
    if not found:
        return None, None
    first, size = found.groups()
    return (int(first) if first else None), (int(size) if size != "*" else None)
