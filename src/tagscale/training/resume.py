"""An interrupted training resumes: the folder that holds its states until it is complete.

about.json says which training the folder belongs to; a folder for each step of the training holds its two newest
states. Each file is written beside and renamed, carries a digest, and is read without executing code (torch.load,
weights_only).
"""

import hashlib
import io
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from tagscale.runtime.disk import full_disk_explained
from tagscale.runtime.files import replacing, write_json
from tagscale.runtime.lock import exclusive
from tagscale.training.distributed import World, from_first

FORMAT = 5
KEPT = 2  # states: the newest, and the one before for when that is damaged
ABOUT, LOCK = "about.json", "lock"


class Unfinished:
    """The folder of a training that is not complete.

    Args:
        folder: where it is, or will be
        about: which training it is, as JSON can hold it: identity and settings
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self.about = Path(folder), json.loads(json.dumps({"format": FORMAT} | about))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder while the block runs; states of another training are discarded, with a line.

        Of several processes of the training the first one holds the lock.

        Raises:
            TagscaleError: another process trains this run now.
        """
        if not World.current().first:
            yield
            return
        with exclusive(self.folder / LOCK, f"{self.folder}: {{holder}} is training this run. Wait until it has ended."):
            self._claim()
            yield

    def states(self, step: str) -> "States":
        """The states of one step of the training; most trainings have a single one."""
        return States(self.folder / step)

    def remove(self) -> None:
        """Remove the folder: the training is complete, and its result is written."""
        if World.current().first:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _claim(self) -> None:
        owner = None
        with suppress(OSError, ValueError):
            owner = json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
        if owner == self.about:
            return
        (self.folder / ABOUT).unlink(missing_ok=True)  # if the process is killed now, the states belong to nobody
        states = [path for path in self.folder.iterdir() if path.is_dir()]
        for path in states:
            shutil.rmtree(path)
        if states:
            print(
                f"{self.folder}: discarded the states of an unfinished training with other data or settings.",
                flush=True,
            )
        write_json(self.folder / ABOUT, self.about)


class States:
    """The files of the newest states of one step of a training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saved = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since this process saved a state, or began."""
        return time.monotonic() - self.saved

    def newest(self) -> dict[str, Any] | None:
        """The newest state that is whole, or None; every process gets the first one's. Warns of damaged ones."""
        content = from_first(self._newest_bytes() if World.current().first else b"")
        return _decode(content) if content else None

    def describe(self) -> str:
        """Where the newest state is, for the message about a training that ended early."""
        if not self._files():
            return "No state was saved yet."
        return f"The last good state is kept in {self.folder}; started again with the same settings, training resumes."

    def save(self, state: dict[str, Any]) -> None:
        """Write a state, and remove all but the newest two.

        Raises:
            TagscaleError: the disk is full; the earlier states are kept.
        """
        number = int(self._files()[-1].stem) + 1 if self._files() else 1
        target = self.folder / f"{number:08}.state"
        with full_disk_explained(target, self.describe), replacing(target) as fresh:
            fresh.write_bytes(_encode(state))
        for old in self._files()[:-KEPT]:
            old.unlink()
        self.saved = time.monotonic()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.state"))

    def _newest_bytes(self) -> bytes:
        for file in reversed(self._files()):
            content = file.read_bytes()
            if hashlib.sha256(content[32:]).digest() == content[:32]:
                with suppress(Exception):  # a whole file that another version wrote may fail in any way
                    _decode(content)
                    return content
            print(f"warning: {file} is damaged; training resumes from the state before it.", flush=True)
            file.unlink()
        return b""


def _encode(state: dict[str, Any]) -> bytes:
    """A SHA-256 digest, then what torch.save writes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    return hashlib.sha256(payload).digest() + payload


def _decode(content: bytes) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(io.BytesIO(content[32:]), map_location="cpu", weights_only=True)
    return state
