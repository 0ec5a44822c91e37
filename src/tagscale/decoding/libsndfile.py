"""WAV, FLAC, Ogg (Vorbis, Opus), MP3, AIFF and older formats, read by libsndfile."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from tagscale.decoding.opened import AudioError, Opened, UnknownFormat

BLOCK_FRAMES = 1 << 16
UNRECOGNISED = 1  # libsndfile's SF_ERR_UNRECOGNISED_FORMAT
UNFINISHED = 0x7F000000  # lengths from here on are placeholders of programs that write to a pipe


@contextmanager
def opened(path: Path, formats: tuple[str, ...]) -> Iterator[Opened]:
    """Open a file for `decode`; `formats` are ignored, libsndfile reads no file but the given one.

    Raises:
        UnknownFormat: libsndfile does not recognise the file.
        AudioError: the file is damaged or cannot be read.
    """
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        kind = UnknownFormat if error.code == UNRECOGNISED else AudioError
        raise kind(path, f"not audio in a known format ({error.error_string.rstrip('.')})") from None
    except (TypeError, ValueError, OSError) as error:  # soundfile takes .raw for a format without a header
        raise AudioError(path, f"cannot be read as audio ({error})") from None
    with file:
        yield Opened(file.format, file.samplerate, file.channels, _frames(file), _blocks(path, file))


def _blocks(path: Path, file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    frames = 0
    while True:
        try:
            block = file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            at = f"after {frames / file.samplerate:.1f} of {file.frames / file.samplerate:.1f} s"
            raise AudioError(path, f"truncated or damaged: the decoder stopped {at} ({error.error_string})") from None
        if len(block) == 0:
            return
        frames += len(block)
        yield block


def _frames(file: soundfile.SoundFile) -> int:
    """The file's length by its header. Of a WAV or AIFF file that was cut, libsndfile reports what is left of it."""
    chunk = re.search(r"(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", file.extra_info)
    if chunk is None:
        return int(file.frames)
    announced, present = int(chunk[1]), int(chunk[2])
    if announced >= UNFINISHED or announced < present or present == 0:
        return int(file.frames)
    return round(file.frames * announced / present)
