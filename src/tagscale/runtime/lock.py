"""One lock between processes: a file locked by the system, which releases it when its holder ends, however it ends.

Where the file system has no locks, or has them on each machine for itself, a lease takes their place (lease.py).
"""

import errno
import fcntl
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.lease import ABANDONED_SECONDS, lease

# How file systems say that they have no locks: NFS without its lock service, Lustre without `flock`, some of FUSE.
WITHOUT = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
# Options of a mount by which locks succeed, and other machines do not see them: of nfs(5), mount.cifs(8) and Lustre.
LOCAL = {"nolock", "local_lock=all", "local_lock=flock", "nobrl", "localflock"}
MOUNTS = Path("/proc/self/mounts")


class Busy(TagscaleError):
    """Another process holds the lock."""


@contextmanager
def exclusive(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock `path` while the block runs. The file stays there and names its last holder.

    Args:
        busy: the error's message where another process holds the lock; `{holder}` in it becomes "process 7 on host"

    Raises:
        Busy: another process holds the lock.
        OSError: the file cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _opened(path) as file, _held(path, file, wait=False) as held:
        if not held:
            raise Busy(busy.replace("{holder}", _holder(file)))
        with suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        yield


@contextmanager
def in_turn(path: Path) -> Iterator[int]:
    """Wait for the lock `path` and hold it while the block runs. Gives the open file; its content is the caller's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _opened(path) as file, _held(path, file, wait=True):
        yield file


def description(folder: Path) -> str:
    """Which locks a folder has, for people. Raises OSError where nothing can be written there."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        if option := _local_option(folder):
            reason = f"the mount option {option} keeps locks on one machine"
        elif _flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB) is None:
            reason = "the file system has no locks"
        else:
            return "of the file system"
    return f"leases, since {reason}; what a killed process held is free after {ABANDONED_SECONDS:.0f} s"


@contextmanager
def _held(path: Path, file: int, wait: bool) -> Iterator[bool]:
    """Hold the lock; gives False where another process has it and this one shall not wait."""
    held = None if _local_option(path) else _flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    if held is not None:
        yield held
        return
    with lease(path.with_name(f"{path.name}.lease"), wait) as held:
        yield held


def _flock(file: int, how: int) -> bool | None:
    """Whether the system gave the lock; None where the file system has none. Closing the file gives it back."""
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in WITHOUT:
            raise
        return None
    return True


def _local_option(path: Path) -> str | None:
    """The option of the mount of a path by which its locks hold on this machine only; None without one."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # systems other than Linux
        return None
    options = {folder: kept for _, folder, _, kept, *_ in map(str.split, lines)}  # of two on a folder, the last counts
    place = str(path.resolve())
    mounted = [folder for folder in options if folder == "/" or place == folder or place.startswith(f"{folder}/")]
    return next(iter(LOCAL & set(options[max(mounted, key=len)].split(","))), None) if mounted else None


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
