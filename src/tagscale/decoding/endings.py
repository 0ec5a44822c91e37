"""What a file tells of its length before it is decoded: its header, and whether its last bytes show a cut.

Decoders read a file that was cut off as a shorter one, without an error.
"""

from dataclasses import dataclass
from pathlib import Path

from tagscale.decoding.opened import Opened

TAIL = 65_536  # bytes: more than a page of Ogg (65,307), and over forty frames of MP3 (1,441 at most)
CHAIN = 3  # MPEG headers in a row, each where the one before ends: no coincidence
MP3_BYTES_PER_SECOND = 40_000  # at most: 320 kbit/s
MP3_TAGS = 16 << 20  # bytes that tags and pictures may take

# kbit/s by bitrate index, layer III: MPEG 1, MPEG 2 and 2.5 (ISO 11172-3 and 13818-3, section 2.4.2.3)
BITRATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
BITRATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version bits


@dataclass(frozen=True)
class Length:
    """What a file tells of its length, in frames.

    announced: the length that the file itself states; None where it states none.
    least: the file is at least so long.
    cut: how its last bytes show that it was cut off; "" = they do not.
    """

    announced: int | None = None
    least: int = 0
    cut: str = ""


def of_header(path: Path, opened: Opened) -> Length:
    """Formats whose header states the length."""
    return Length(announced=opened.frames or None)


def unannounced(path: Path, opened: Opened) -> Length:
    """Formats that state nothing: the library's length is a guess."""
    return Length()


def of_ogg(path: Path, opened: Opened) -> Length:
    """Ogg: the last page states the length, but of what is left of the file."""
    return Length(least=opened.frames, cut="" if ogg_ends(path) else "the Ogg stream stops without its end mark")


def of_mp3(path: Path, opened: Opened) -> Length:
    """MP3: the first frame states the length in some files; in the others the library guesses it from the bitrate."""
    least = round((path.stat().st_size - MP3_TAGS) / MP3_BYTES_PER_SECOND * opened.rate)
    if mp3_has_length(path):
        return Length(opened.frames, least)
    return Length(None, least, "the last frame is not whole" if mp3_is_cut(path) else "")


def mp3_has_length(path: Path) -> bool:
    """Whether the first frame of an MP3 says how many follow (Xing, Info or VBRI header)."""
    with open(path, "rb") as file:
        start = file.read(10)
        if start[:3] == b"ID3":  # skip the tag, whose length is in 4 x 7 bits
            file.seek(10 + sum((byte & 0x7F) << shift for byte, shift in zip(start[6:10], (21, 14, 7, 0), strict=True)))
        else:
            file.seek(0)
        first = file.read(4096)
    return any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))


def mp3_is_cut(path: Path) -> bool:
    """Whether an MP3 ends inside a frame, as one does that was cut at any byte.

    It follows frames from one header to the next through the last bytes. False where that leads nowhere: tags (ID3v1,
    APE, Lyrics3) or anything else behind the last whole frame are no sign of a cut.
    """
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - TAIL, 0))
        tail = file.read()
    for start in range(len(tail) - 4):
        if tail[start] != 0xFF or not _frame(tail, start):
            continue
        at, frames = start, 0
        while at + 4 <= len(tail) and (length := _frame(tail, at)):
            at, frames = at + length, frames + 1
        if frames >= CHAIN:
            return at > len(tail)
    return False


def _frame(tail: bytes, at: int) -> int:
    """Bytes of the layer III frame whose header is at `at`; 0 where there is none."""
    sync, second, third = tail[at], tail[at + 1], tail[at + 2]
    version, bitrate, rate = second >> 3 & 3, third >> 4, third >> 2 & 3
    if sync != 0xFF or second >> 5 != 7 or second >> 1 & 3 != 1 or version == 1 or bitrate in (0, 15) or rate == 3:
        return 0
    kilobits = (BITRATES_1 if version == 3 else BITRATES_2)[bitrate]
    return (144_000 if version == 3 else 72_000) * kilobits // RATES[version][rate] + (third >> 1 & 1)


def ogg_ends(path: Path) -> bool:
    """Whether the last page of an Ogg file is whole and carries the end-of-stream flag (RFC 3533, section 6)."""
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - TAIL, 0))
        tail = file.read()
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    length = 27 + page[26] + sum(page[27 : 27 + page[26]])
    return bool(page[5] & 4) and len(page) >= length
