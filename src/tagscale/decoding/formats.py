"""The audio formats: one entry each, which everything that must know a format reads.

`decode` asks the table for the library and for how a file's length is known; `tagscale tag` searches folders for the
suffixes; a registered model requires the packages. A new format that libsndfile or FFmpeg reads is a new entry. Files
that a store has rejected are decoded anew only when they change, or when `decode.DECODER` is counted up.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tagscale.decoding import ffmpeg, libsndfile
from tagscale.decoding.endings import Length, of_header, of_mp3, of_ogg, unannounced
from tagscale.decoding.opened import Opened


@dataclass(frozen=True)
class Decoder:
    """A library that decodes audio files.

    package: its name on PyPI.
    opened: opens a file, given its path and the names of the formats that the table assigns to this library.
    """

    package: str
    opened: Callable[[Path, tuple[str, ...]], AbstractContextManager[Opened]]


@dataclass(frozen=True)
class AudioFormat:
    """An audio format.

    name: as its library reports it: `soundfile.SoundFile.format`, or one of FFmpeg's names of the demuxer.
    suffixes: of file names, in lower case.
    length: what a file of this format tells of its length before it is decoded.
    """

    name: str
    suffixes: tuple[str, ...]
    decoder: Decoder
    length: Callable[[Path, Opened], Length]


LIBSNDFILE, FFMPEG = Decoder("soundfile", libsndfile.opened), Decoder("av", ffmpeg.opened)

FORMATS = (
    AudioFormat("WAV", (".wav", ".wave"), LIBSNDFILE, of_header),
    AudioFormat("AIFF", (".aif", ".aiff", ".aifc"), LIBSNDFILE, of_header),
    AudioFormat("AU", (".au",), LIBSNDFILE, of_header),
    AudioFormat("FLAC", (".flac",), LIBSNDFILE, of_header),
    AudioFormat("OGG", (".ogg", ".oga", ".opus"), LIBSNDFILE, of_ogg),
    AudioFormat("MP3", (".mp3",), LIBSNDFILE, of_mp3),
    AudioFormat("m4a", (".m4a", ".mp4"), FFMPEG, of_header),
    AudioFormat("aac", (".aac",), FFMPEG, unannounced),  # FFmpeg guesses the length of a bare stream
)

SUFFIXES = frozenset(suffix for entry in FORMATS for suffix in entry.suffixes)
DECODERS = tuple(dict.fromkeys(entry.decoder for entry in FORMATS))
PACKAGES = tuple(decoder.package for decoder in DECODERS)


def decoders_for(path: Path) -> list[Decoder]:
    """All libraries, first the one that decodes the format of the file's suffix."""
    wanted = [entry.decoder for entry in FORMATS if path.suffix.lower() in entry.suffixes]
    return sorted(DECODERS, key=lambda decoder: decoder not in wanted)


def names_of(decoder: Decoder) -> tuple[str, ...]:
    """Names of the formats that the library decodes."""
    return tuple(entry.name for entry in FORMATS if entry.decoder is decoder)


def length_of(path: Path, opened: Opened) -> Length:
    """What the file tells of its length. Formats that libsndfile knows beyond the table have a header that says it."""
    names = opened.format.split(",")  # FFmpeg: "mov,mp4,m4a,3gp,3g2,mj2"
    entry = next((entry for entry in FORMATS if entry.name in names), None)
    return (entry.length if entry else of_header)(path, opened)
