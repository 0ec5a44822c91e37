"""An audio file that is open for decoding, whichever library reads it, and the ways in which that fails."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tagscale.runtime.errors import TagscaleError


class AudioError(TagscaleError):
    """A file without usable audio; `reason` says why, without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


class UnknownFormat(AudioError):
    """A file that this library does not recognise; another one may."""


class MissingDecoder(AudioError):
    """A file whose library is not installed."""


@dataclass(frozen=True)
class Opened:
    """An open audio file.

    format: its name, as the library reports it.
    rate, channels: of the file.
    frames: its length as the library reports it, which may be a guess; 0 = unknown.
    blocks: float32, (frames, channels), from first to last.
    """

    format: str
    rate: int
    channels: int
    frames: int
    blocks: Iterator[np.ndarray]
