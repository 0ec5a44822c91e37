"""Files that the system refuses: a full disk and all other reasons, each with a message that says what to do."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tagscale.runtime.errors import TagscaleError, causes

FULL = {
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file may not grow further",
}
REFUSED = {
    errno.EACCES: (
        "permission denied",
        "Look whose it is (`ls -ld`), or name another one",
    ),
    errno.EPERM: ("operation not permitted", "Look whose it is (`ls -ld`, `lsattr -d`), or name another one"),
    errno.EROFS: ("it is on a read-only file system", "Name a place that can be written to"),
    errno.ENAMETOOLONG: ("its name, or its path, is too long", "Shorten it, or move the project to a shorter path"),
    errno.ENOENT: ("no such file or folder", "Look whether another process removed it"),
    errno.ENOTDIR: ("a part of its path is a file, expected a folder", "Move that file away"),
    errno.EISDIR: ("a folder, expected a file", "Move it away"),
    errno.EEXIST: ("it exists already", "Move it away"),
    errno.ENOTEMPTY: ("the folder is not empty", "Look whether another process writes to it"),
    errno.ELOOP: ("a symbolic link in its path leads to itself", "Remove that link"),
    errno.EMFILE: ("this process has too many files open", "Raise the limit (`ulimit -n 8192`)"),
    errno.ENFILE: ("the machine has too many files open", "End other programs"),
    errno.EBUSY: ("it is in use by the system, as a mount point is", "Name a folder inside it"),
    errno.EIO: ("the disk failed to read or write it", "Check the disk (`dmesg`), and restore the file"),
    errno.ESTALE: ("the network file system lost it (stale file handle)", "Mount the file system again"),
    errno.ENOLCK: ("its file system has no locks left, or none at all", "Name a folder on a local disk"),
}


def full_disk_reason(error: BaseException) -> str:
    """Why the disk takes no more, in a few words; "" where the error is about something else.

    >>> full_disk_reason(OSError(28, "No space left on device"))
    'no space left on the device'
    >>> full_disk_reason(PermissionError(13, "Permission denied"))
    ''
    """
    for one in causes(error):
        number = getattr(one, "errno", None)
        if number is None and (match := re.search(r"\bos error (\d+)\b", str(one))):  # as safetensors says it
            number = int(match[1])
        if number in FULL:
            return FULL[number]
    return ""


@contextmanager
def full_disk_explained(target: Path | str | None, kept: str | Callable[[], str]) -> Iterator[None]:
    """Turn the error of a full disk inside the block into a TagscaleError. Other errors pass as they are.

    What interrupts the block (Ctrl-C, SIGTERM) gets `kept` as a note, which the command line prints.

    Args:
        target: what the block writes; None: the file that the error names
        kept: a sentence on what is kept and where, or a function that gives it when it is needed

    Raises:
        TagscaleError: the disk is full, a quota is used up, or a file may not grow further.
    """
    try:
        yield
    except TagscaleError:
        raise
    except (KeyboardInterrupt, SystemExit) as interruption:
        interruption.add_note(kept if isinstance(kept, str) else kept())
        raise
    except Exception as error:
        reason = full_disk_reason(error)
        if not reason:
            raise
        target = target or getattr(error, "filename", None) or "a file"
        raise TagscaleError(
            f"The disk is full: {target} could not be written ({reason}). {kept if isinstance(kept, str) else kept()} "
            "Free space, then run the same command again."
        ) from error


@contextmanager
def refusal_explained(kept: str) -> Iterator[None]:
    """Turn what the system refuses inside the block (permissions, read-only, a path too long ...) into a sentence.

    Args:
        kept: a sentence on what is kept

    Raises:
        TagscaleError: names the file, why it is refused, and what to do.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        reason, advice = REFUSED[error.errno]
        named = [os.fsdecode(name) for name in (error.filename2, error.filename) if isinstance(name, str | bytes)]
        what = f"{named[0]}: " if named else ""
        raise TagscaleError(f"{what}{reason}. {advice}, then run the same command again. {kept}") from error
