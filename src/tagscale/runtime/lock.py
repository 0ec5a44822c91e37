"""One lock between processes: a file locked by the system, which releases it when its holder ends, however it ends."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tagscale.runtime.errors import TagscaleError


@contextmanager
def exclusive(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock `path` while the block runs. The file stays there and names its last holder.

    Args:
        busy: the error's message where another process holds the lock; `{holder}` in it becomes "process 7 on host"

    Raises:
        TagscaleError: another process holds the lock.
        OSError: the file cannot be opened, or its file system knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TagscaleError(busy.replace("{holder}", _holder(file))) from None
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        yield


@contextmanager
def in_turn(path: Path) -> Iterator[int]:
    """Wait for the lock `path` and hold it while the block runs. Gives the open file; its content is the caller's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _opened(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield file
    finally:
        os.close(file)  # releases the lock


def _holder(file: int) -> str:
    try:
        facts = json.loads(os.pread(file, 1000, 0))
        return f"process {facts['pid']} on {facts['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has just locked the file and not written to it yet
        return "another process"
