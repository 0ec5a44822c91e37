"""An audio file that is open for decoding, whichever library reads it, and the ways in which that fails."""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

import numpy as np

from tagscale.runtime.errors import TagscaleError

BLOCK_VALUES = 1 << 19  # of a block, all channels: 2 MB as float32


class AudioError(TagscaleError):
    """A file without usable audio; `reason` says why, without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


class UnknownFormat(AudioError):
    """A file that this library does not recognise; another one may."""


class Incomplete(AudioError):
    """A file that this library does not decode to its end; another one may."""


class Unavailable(AudioError):
    """A file that another attempt may decode: it could not be read, or its library is missing or failed."""


class MissingDecoder(Unavailable):
    """A file whose library is not installed."""


@dataclass(frozen=True)
class Opened:
    """An open audio file.

    format: its name, as the library reports it.
    rate, channels: of the file, where it begins.
    frames: its length as the library reports it, which may be a guess; 0 = unknown.
    blocks: (rate, float32 of (frames, channels)) from first to last, each of BLOCK_VALUES values at most. Rate and
        channels change on the way where files were joined.
    damage: filled while blocks are read: what the library could not decode, and where.
    """

    format: str
    rate: int
    channels: int
    frames: int
    blocks: Iterator[tuple[int, np.ndarray]]
    damage: list[str] = field(default_factory=list)


KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_file(path: Path) -> FileIO:
    """Open a file for reading.

    Raises:
        Unavailable: no such file, no permission, or anything else than a file, whose reading might never end.
        AudioError: it is empty.
    """
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            raise Unavailable(path, f"{KINDS.get(stat.S_IFMT(mode), 'no regular file')}, not a file")
        file = open(path, "rb", buffering=0)  # noqa: SIM115 (the caller closes it)
    except (OSError, ValueError) as error:
        raise Unavailable(path, unreadable(error)) from None
    if os.fstat(file.fileno()).st_size == 0:
        file.close()
        raise AudioError(path, "empty file (0 bytes)")
    return file


def unreadable(error: OSError | ValueError) -> str:
    """The reason for which a file cannot be read."""
    number = getattr(error, "errno", None)
    if number in (errno.ENOENT, errno.ENOTDIR):
        return "no such file"
    if number == errno.ELOOP:
        return "cannot be read (its symbolic links form a loop)"
    if number == errno.EACCES:
        return "cannot be read (no permission)"
    return f"cannot be read ({getattr(error, 'strerror', None) or error})"
