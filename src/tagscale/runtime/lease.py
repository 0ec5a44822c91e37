"""A lock for file systems that have none between machines: a file that its holder renews while it lives.

The file is made by one call, which fails where it exists. A process that wants it watches it for a while: where it is
not renewed, its holder is gone, and the lease is free. No two clocks are compared. A holder that stands still for more
than ABANDONED_SECONDS (a suspended machine) loses its lease and does not notice; a lock of the system has no such gap.
"""

import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

RENEWED_SECONDS = 15.0  # between two renewals
ABANDONED_SECONDS = 120.0  # without a renewal: the holder is gone
LOOK_SECONDS = 1.0  # between two looks at another's lease


@contextmanager
def lease(path: Path, wait: bool) -> Iterator[bool]:
    """Hold the lease `path` while the block runs. Gives whether it is held.

    Args:
        wait: wait for a holder that lives; else give False once it has renewed its lease
    """
    token = uuid.uuid4().hex
    while not (held := _make(path, token)):
        if not _is_free(path) and not wait:
            break
    if not held:
        yield False
        return
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(path, token, ended), daemon=True)
    renewing.start()
    try:
        yield True
    finally:
        ended.set()
        renewing.join()
        if _token(path) == token:
            path.unlink(missing_ok=True)


def _make(path: Path, token: str) -> bool:
    """Make the file; False where it exists."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(file, "w") as opened:
        opened.write(token)
    return True


def _renew(path: Path, token: str, ended: threading.Event) -> None:
    while not ended.wait(RENEWED_SECONDS):
        with suppress(OSError):  # a server that is away: the next time
            if _token(path) == token:
                os.utime(path)


def _is_free(path: Path) -> bool:
    """Whether a lease is free now: given back, or abandoned, and then removed. False as soon as it is renewed."""
    first, end = _state(path), time.monotonic() + ABANDONED_SECONDS
    while (state := _state(path)) == first and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
    if state is None:
        return True
    if state != first:
        return False
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):
        path.rename(aside)  # one process alone can do that
        if _state(aside) != first:  # another was faster, and holds a lease of its own: give it back
            with suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink()
    return True


def _state(path: Path) -> tuple[str, int] | None:
    """Who holds a lease, and when it was last renewed. The file is opened, so that NFS asks its server."""
    try:
        with path.open() as file:
            return file.read(), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _token(path: Path) -> str | None:
    state = _state(path)
    return state[0] if state else None
