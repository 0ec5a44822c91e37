"""A training that was ended at any moment goes on: its states on disk, and when they are written.

A training that has not ended has a folder: about.json says which training it is, a folder for each of its steps holds
the two newest states. A state is everything that decides what comes next: weights, optimiser, position in the epoch,
best weights so far, the history. Dropout is drawn from seed and step, so no generator's state is among it. Files are
written beside and renamed, carry a digest, and are read without executing anything (torch.load, weights_only).
"""

import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import CheckpointIO
from rich.console import Console
from torch import Tensor

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import write_json
from tagscale.training.distributed import World, agreed, from_first

FORMAT = 2
KEPT = 2  # states: the newest, and the one before for when that is damaged
SAVE_SECONDS = 180.0  # between two states within an epoch
LOOK_EVERY = 25  # steps between two looks at the clock, where several processes must agree on it
ABOUT, LOCK = "about.json", "lock"


class Unfinished:
    """The folder of a training that has not ended.

    Args:
        folder: where it is, or will be
        about: which training it is, as JSON can hold it: identity and settings
    """

    def __init__(self, folder: Path, about: dict[str, Any], console: Console | None = None) -> None:
        self.folder, self.about = Path(folder), json.loads(json.dumps({"format": FORMAT} | about))
        self.console = console or Console()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes out while the block runs. What another training left here is removed, with a line.

        Only the first process of a training holds it.

        Raises:
            TagscaleError: another process trains this run now.
        """
        if not World.current().first:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / LOCK, "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
                raise TagscaleError(
                    f"{self.folder}: another process is training this run. Wait until it has ended."
                ) from None
            self._claim()
            yield

    def states(self, step: str) -> "States":
        """The states of one step of the training; most have a single one."""
        return States(self.folder / step, self.console)

    def remove(self) -> None:
        """The training has ended, and its result is where it belongs."""
        if World.current().first:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _claim(self) -> None:
        found = None
        with suppress(OSError, ValueError):
            found = json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
        if found == self.about:
            return
        (self.folder / ABOUT).unlink(missing_ok=True)  # killed from here on, what is left belongs to nobody
        states = [path for path in self.folder.iterdir() if path.is_dir()]
        for path in states:
            shutil.rmtree(path)
        if states:
            self.console.print(
                f"{self.folder}: an unfinished training with other data or settings was left there; it is discarded.",
                highlight=False,
                soft_wrap=True,
            )
        write_json(self.folder / ABOUT, self.about)


class States(CheckpointIO):
    """The newest states of one step of a training: how Lightning writes and reads them."""

    def __init__(self, folder: Path, console: Console | None = None) -> None:
        self.folder, self.console = folder, console or Console()

    def newest(self) -> dict[str, Any] | None:
        """The newest state that is whole, or None; every process gets the first one's. Warns of damaged ones."""
        content = from_first(self._newest_bytes() if World.current().first else b"")
        return _read(content) if content else None

    def describe(self) -> str:
        """Where the newest state is and how far it goes, for a message about a training that ended badly."""
        if not self._files():
            return "No state was saved yet."
        return f"The last good state is kept in {self.folder}; started again with the same settings, training goes on."

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a state and remove all but the newest two.

        Raises:
            TagscaleError: the disk is full; the states before are kept.
        """
        number = int(self._files()[-1].stem) + 1 if self._files() else 1
        target = self.folder / f"{number:08}.state"
        fresh = target.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(fresh, _bytes_of(checkpoint))
            os.replace(fresh, target)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink()
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise TagscaleError(
                f"The disk is full: the state of the training could not be written to {self.folder}. Free space and "
                f"start again. {self.describe()}"
            ) from None
        for old in self._files()[:-KEPT]:
            old.unlink()

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        state = self.newest()
        assert state is not None
        return state

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.state"))

    def _newest_bytes(self) -> bytes:
        for file in reversed(self._files()):
            content = file.read_bytes()
            if hashlib.sha256(content[32:]).digest() == content[:32]:
                with suppress(Exception):  # whatever a reader makes of bytes that are ours but of another version
                    _read(content)
                    return content
            warning = f"warning: {file} is damaged; training goes on from the state before it."
            self.console.print(warning, highlight=False, soft_wrap=True)
            file.unlink()
        return b""


class Saver(Callback):
    """Writes a state when an epoch ends, every few minutes within one, and when the process is asked to end."""

    def __init__(self, states: States) -> None:
        self.states, self.last = states, time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: list[Tensor], batch_idx: int
    ) -> None:
        if batch_idx + 1 == trainer.num_training_batches:
            return  # the epoch's end is near
        if trainer.world_size > 1 and batch_idx % LOOK_EVERY:
            return
        if agreed(time.monotonic() - self.last >= SAVE_SECONDS or trainer.received_sigterm):
            self.save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.states.folder)
        self.last = time.monotonic()


def _bytes_of(state: dict[str, Any]) -> bytes:
    room = io.BytesIO()
    torch.save(state, room)
    payload = room.getbuffer()
    return hashlib.sha256(payload).digest() + payload


def _read(content: bytes) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(io.BytesIO(content[32:]), map_location="cpu", weights_only=True)
    return state


def _write(path: Path, content: bytes) -> None:
    """Bytes to disk, and on it when this returns."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
