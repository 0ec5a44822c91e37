"""WAV, FLAC, Ogg (Vorbis, Opus), MP3, AIFF and older formats, read by libsndfile."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import numpy as np
import soundfile

from tagscale.decoding.opened import BLOCK_VALUES, Incomplete, Opened, UnknownFormat

UNKNOWN_FRAMES = 1 << 40  # libsndfile reports lengths from here on where a file states none


@contextmanager
def opened(path: Path, content: FileIO, formats: tuple[str, ...]) -> Iterator[Opened]:
    """Open a file for `decode`; `formats` are ignored, libsndfile reads no file but the given one.

    Raises:
        UnknownFormat: libsndfile does not recognise the file.
        AudioError: the file is damaged or cannot be read.
    """
    try:
        content.seek(0)
        file = soundfile.SoundFile(content.fileno(), closefd=False)  # by name, it takes .raw for a format
    except soundfile.LibsndfileError as error:
        text = "Format not recognised" if "pipe" in error.error_string else error.error_string.rstrip(".")
        raise UnknownFormat(path, f"not audio in a known format ({text})") from None
    with file:
        frames = int(file.frames) if file.frames < UNKNOWN_FRAMES else 0
        yield Opened(file.format, file.samplerate, file.channels, frames, _blocks(path, file))


def _blocks(path: Path, file: soundfile.SoundFile) -> Iterator[tuple[int, np.ndarray]]:
    frames, length = 0, max(BLOCK_VALUES // file.channels, 1)
    while True:
        try:
            block = file.read(length, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            reason = f"damaged: the decoder stopped after {frames / file.samplerate:.1f} s ({error.error_string})"
            raise Incomplete(path, reason) from None
        if len(block) == 0:
            return
        frames += len(block)
        yield file.samplerate, block
