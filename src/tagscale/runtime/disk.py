"""A full disk: one test for it, and one message that says what was kept and what to do."""

import errno
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


def full_disk_reason(error: BaseException) -> str:
    """Why the disk takes no more, in a few words; "" where the error is about something else.

    >>> full_disk_reason(OSError(28, "No space left on device"))
    'no space left on the device'
    >>> full_disk_reason(PermissionError(13, "Permission denied"))
    ''
    """
    for one in causes(error):
        number = getattr(one, "errno", None)
        if number is None and (found := re.search(r"\bos error (\d+)\b", str(one))):  # as safetensors says it
            number = int(found[1])
        if number in FULL:
            return FULL[number]
    return ""


@contextmanager
def full_disk_explained(target: Path | str | None, kept: str | Callable[[], str]) -> Iterator[None]:
    """Turn the error of a full disk inside the block into a TagscaleError. Other errors pass as they are.

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
    except Exception as error:
        reason = full_disk_reason(error)
        if not reason:
            raise
        target = target or getattr(error, "filename", None) or "a file"
        raise full_disk(target, reason, kept if isinstance(kept, str) else kept()) from error


def full_disk(target: Path | str, reason: str, kept: str) -> TagscaleError:
    """The error of a full disk; `kept` is a sentence on what is kept and where."""
    return TagscaleError(
        f"The disk is full: {target} could not be written ({reason}). {kept} Free space, then run the same command "
        "again."
    )
