"""A download on its way: NAME.part, and NAME.part.json, which says of which state of the file it is a part.

The note is written before the first byte, so that bytes without a readable note are never continued.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from tagscale.runtime.disk import full_disk_explained
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, write_json

KEPT = "What was downloaded is kept."


@dataclass(frozen=True)
class State:
    """A state of a file on a server, as the server describes it; size in bytes, None = it does not say."""

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
    """The part of the file `target` that is on the disk.

    Attributes:
        state: of which state of the file it is a part; None: there is no part.
        mixed: whether its bytes come from several answers, so that an older one may be to blame for a wrong digest.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")
        self.state: State | None = None
        with suppress(OSError, ValueError, TypeError):  # no note, or a damaged one
            self.state = State(**read_json(self.note))
        self.mixed = self.size > 0

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.path.stat().st_size if self.state and self.path.is_file() else 0

    def begin(self, state: State) -> None:
        """Discard the bytes; the next ones are the first of `state`."""
        with writing(self.path):
            self.path.write_bytes(b"")
            write_json(self.note, asdict(state))
        self.state, self.mixed = state, False

    def discard(self) -> None:
        """Delete the part and its note."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.state, self.mixed = None, False

    def finish(self, target: Path) -> None:
        """Rename the complete part to the file."""
        with writing(target):
            os.replace(self.path, target)
        self.note.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file that the disk refuses, and what to do. The network's errors, which are OSErrors too, pass."""
    try:
        with full_disk_explained(path, KEPT):
            yield
    except requests.RequestException:
        raise
    except OSError as error:
        raise TagscaleError(
            f"{error.filename or path}: {error.strerror or error}. {KEPT} Check the folder and "
            "its permissions, then run the same command again."
        ) from error


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise TagscaleError where the disk of `folder` has fewer free bytes than are needed; `what` says what for."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise TagscaleError(
            f"{folder}: {what} needs {needed:,} bytes, {free:,} are free on this disk. {KEPT} Free space, or give a "
            "--root on another disk, then run the same command again."
        )
