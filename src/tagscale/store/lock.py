"""One writer per store: where the work in progress lies, the lock on it, and the finished store's way into place."""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tagscale.runtime.errors import TagscaleError


def partial_of(store: Path) -> Path:
    """Folder beside a store that holds the unfinished next one."""
    return store.with_name(f".{store.name}.partial")


@contextmanager
def writing(store: Path) -> Iterator[Path]:
    """Hold the store's lock; gives the folder for unfinished work, which outlives a process that is killed.

    Raises:
        TagscaleError: another process is writing this store.
    """
    store.parent.mkdir(parents=True, exist_ok=True)
    owner = store.with_name(f".{store.name}.owner")
    lock = FileLock(store.with_name(f".{store.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise TagscaleError(
            f"{store}: {_named(owner)} is writing this store. Wait until it has ended, or give another --store."
        ) from None
    try:
        owner.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")
        partial = partial_of(store)
        _finish_replacing(store, partial)
        partial.mkdir(exist_ok=True)
        yield partial
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def replace_store(store: Path, partial: Path) -> None:
    """Put the complete store partial/new into the store's place; the old one and all of `partial` are removed.

    A process that is killed between two of these steps is made up for by the next `writing`.
    """
    if store.is_symlink() or store.is_file():
        store.unlink()
    elif store.is_dir():
        os.replace(store, partial / "old")  # rename cannot replace a directory that is not empty
    os.replace(partial / "new", store)
    shutil.rmtree(partial)


def _finish_replacing(store: Path, partial: Path) -> None:
    if not store.exists() and (partial / "new" / "store.json").is_file():
        os.replace(partial / "new", store)
    elif not store.exists() and (partial / "old").is_dir():
        os.replace(partial / "old", store)
    if (partial / "old").is_dir():  # all that was left to do is to remove
        shutil.rmtree(partial)


def _named(owner: Path) -> str:
    try:
        facts = json.loads(owner.read_text())
        return f"process {facts['pid']} on {facts['host']}"
    except (OSError, ValueError, KeyError):  # it has just begun, or ended
        return "another process"
