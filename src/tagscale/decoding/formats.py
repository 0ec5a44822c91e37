"""The audio formats: one entry each, which everything that must know a format reads.

`decode` asks the table for the libraries and for what the file's structure says of its length; `tagscale tag` searches
folders for the suffixes; a registered model requires the packages. A new format that libsndfile or FFmpeg reads is a
new entry. Files that a store has rejected are decoded anew only when they change, or when `decode.DECODER` is counted
up.
"""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from tagscale.decoding import ffmpeg, libsndfile
from tagscale.decoding.lengths.adts import of_adts
from tagscale.decoding.lengths.asf import of_asf
from tagscale.decoding.lengths.chunks import of_aiff, of_au, of_caf, of_w64, of_wav
from tagscale.decoding.lengths.flac import of_flac
from tagscale.decoding.lengths.frames import tag_at
from tagscale.decoding.lengths.length import Length
from tagscale.decoding.lengths.matroska import of_matroska
from tagscale.decoding.lengths.mp4 import of_mp4
from tagscale.decoding.lengths.mpeg import of_mpeg
from tagscale.decoding.lengths.ogg import of_ogg
from tagscale.decoding.lengths.window import Window
from tagscale.decoding.opened import Opened


@dataclass(frozen=True)
class Decoder:
    """A library that decodes audio files.

    package: its name on PyPI.
    opened: opens a file, given its path (for messages), the open file, and the names of the table's formats.
    """

    package: str
    opened: Callable[[Path, FileIO, tuple[str, ...]], AbstractContextManager[Opened]]


@dataclass(frozen=True)
class AudioFormat:
    """An audio format.

    names: as libraries report it, in lower case: `soundfile.SoundFile.format`, or FFmpeg's name of the demuxer.
    suffixes: of file names, in lower case.
    begins: matches the first bytes of such a file.
    decoders: the libraries that read it, the best one first; another one where that does not come to the end.
    length: what the structure of such a file says of its length; None = only its decoder knows. It gives None for a
        file that has not this structure at all.
    """

    names: tuple[str, ...]
    suffixes: tuple[str, ...]
    begins: bytes
    decoders: tuple[Decoder, ...]
    length: Callable[[Window], Length | None] | None = None


LIBSNDFILE, FFMPEG = Decoder("soundfile", libsndfile.opened), Decoder("av", ffmpeg.opened)
DECODERS = (LIBSNDFILE, FFMPEG)
PACKAGES = tuple(decoder.package for decoder in DECODERS)

FORMATS = (
    AudioFormat(
        ("wav", "wavex", "rf64"), (".wav", ".wave"), rb"(RIFF|RIFX|RF64|BW64).{4}WAVE", (LIBSNDFILE, FFMPEG), of_wav
    ),
    AudioFormat(("aiff",), (".aif", ".aiff", ".aifc"), rb"FORM.{4}AIF[FC]", (LIBSNDFILE, FFMPEG), of_aiff),
    AudioFormat(("au",), (".au",), rb"\.snd|dns\.", (LIBSNDFILE, FFMPEG), of_au),
    AudioFormat(("flac",), (".flac",), rb"fLaC", (LIBSNDFILE, FFMPEG), of_flac),
    AudioFormat(("ogg",), (".ogg", ".oga", ".opus"), rb"OggS", (LIBSNDFILE, FFMPEG), of_ogg),
    AudioFormat(("aac",), (".aac",), rb"\xff[\xf0\xf1\xf8\xf9]", (FFMPEG,), of_adts),
    AudioFormat(("mp3",), (".mp3", ".mp2"), rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]", (LIBSNDFILE, FFMPEG), of_mpeg),
    AudioFormat(
        ("m4a", "mov", "mp4"), (".m4a", ".m4b", ".mp4"), rb".{4}(ftyp|moov|mdat|wide|free|skip)", (FFMPEG,), of_mp4
    ),
    AudioFormat(("asf",), (".wma", ".asf"), rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", (FFMPEG,), of_asf),
    AudioFormat(("matroska", "webm"), (".mka", ".webm", ".mkv"), rb"\x1a\x45\xdf\xa3", (FFMPEG,), of_matroska),
    AudioFormat(("wv",), (".wv",), rb"wvpk", (FFMPEG,)),
    AudioFormat(("tta",), (".tta",), rb"TTA1", (FFMPEG,)),
    AudioFormat(("ape",), (".ape",), rb"MAC ", (FFMPEG,)),
    AudioFormat(("caf",), (".caf",), rb"caff", (LIBSNDFILE, FFMPEG), of_caf),
    AudioFormat(("w64",), (".w64",), rb"riff\x2e\x91\xcf\x11", (LIBSNDFILE, FFMPEG), of_w64),
)

SUFFIXES = frozenset(suffix for entry in FORMATS for suffix in entry.suffixes)
NAMES = tuple(name for entry in FORMATS for name in entry.names)
BEGINNINGS = [(re.compile(entry.begins, re.DOTALL), entry) for entry in FORMATS]


def format_of(path: Path, file: Window) -> AudioFormat | None:
    """The format by the file's first bytes behind tags or, where they tell nothing, by its suffix; None = unknown."""
    place = 0
    while size := tag_at(file, place):
        place += size
    head = file.at(place, 16)
    for pattern, entry in BEGINNINGS:
        if pattern.match(head):
            return entry
    return next((entry for entry in FORMATS if path.suffix.lower() in entry.suffixes), None)


def format_named(name: str) -> AudioFormat | None:
    """The format that a library reports. FFmpeg gives several names: "mov,mp4,m4a,3gp,3g2,mj2"."""
    names = name.lower().split(",")
    return next((entry for entry in FORMATS if set(entry.names) & set(names)), None)
