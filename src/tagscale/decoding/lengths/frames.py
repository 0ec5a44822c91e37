"""Streams of frames without a container (MP3, AAC): each frame begins where the one before it ends.

Tags may stand before, behind and, in joined files, between the frames. After anything else the walk goes on with the
next place from which several frames follow one another, as decoders do; what it leaves out is a gap.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tagscale.decoding.lengths.window import Window

CHAIN = 3  # frames in a row, each where the one before ends: no coincidence
MOST_GAPS = 16 << 20  # bytes; with more of them the walk ends: the file is not of this format
MOST_FRAMES = 2_000_000  # over four hours of the shortest frames
GAP_BYTES = 8192  # a gap up to here is padding or a tag of an unknown kind, or costs less than CUT_SECONDS
LONGEST_LYRICS = 1 << 14
_TAG = rb"ID3[\x02-\x04]|APETAGEX|LYRICSBEGIN|TAG"


@dataclass(frozen=True)
class Frame:
    """A frame's header.

    bytes: of the whole frame.
    samples, rate: what it decodes to.
    kind: what stays the same from frame to frame.
    """

    bytes: int
    samples: int
    rate: int
    kind: int


@dataclass
class Frames:
    """The frames of a file from first to last.

    header: reads the header of the frame at a place of the file; None where there is none.
    sync: matches the first bytes of any frame.

    Attributes, complete when the iteration has ended:
        gaps: (place, bytes) of what is neither a frame nor a tag
        cut: whether the file ends inside a frame
    """

    file: Window
    header: Callable[[Window, int], Frame | None]
    sync: bytes
    gaps: list[tuple[int, int]] = field(default_factory=list)
    cut: bool = False

    def __iter__(self) -> Iterator[tuple[int, Frame]]:
        """Yields (place, frame)."""
        place, kind, lost, count = 0, -1, 0, 0
        beginnings = re.compile(self.sync + b"|" + _TAG, re.DOTALL)
        while place < self.file.size:
            frame = self.header(self.file, place)
            if frame and (frame.kind == kind or self._chained(place, frame)):
                kind = frame.kind
                if place + frame.bytes > self.file.size:
                    self.cut = True
                    return
                yield place, frame
                place, count = place + frame.bytes, count + 1
                if count == MOST_FRAMES:
                    return
            elif tag := tag_at(self.file, place):
                place += tag
            else:
                kind, end = -1, self.file.find(beginnings, place + 1, self.file.size, 16)
                end = self.file.size if end < 0 else end
                if self.gaps and sum(self.gaps[-1]) == place:
                    self.gaps[-1] = (self.gaps[-1][0], self.gaps[-1][1] + end - place)
                else:
                    self.gaps.append((place, end - place))
                lost += end - place
                if lost > MOST_GAPS:
                    return
                place = end

    def _chained(self, place: int, frame: Frame) -> bool:
        """Whether frames of one kind follow one another from here on, up to the end of the file or a tag."""
        kind = frame.kind
        for _ in range(CHAIN):
            place += frame.bytes
            if place == self.file.size or tag_at(self.file, place):
                return True
            following = self.header(self.file, place)
            if following is None or following.kind != kind:
                return False
            frame = following
        return True


def tag_at(file: Window, place: int) -> int:
    """Bytes of the tag that begins at a place: ID3v2, ID3v1, APE or Lyrics3. 0 = there is none."""
    head = file.at(place, 32)
    if head[:3] == b"ID3" and len(head) >= 10 and head[3] < 0xFF and max(head[6:10]) < 0x80:
        size = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]) + (10 if head[5] & 0x10 else 0)
        return size if place + size <= file.size else 0
    if head[:3] == b"TAG":
        size = 227 if head[3:4] == b"+" and place + 355 <= file.size else 128
        return size if place + size <= file.size else 0
    if head[:8] == b"APETAGEX" and len(head) == 32:
        flags = int.from_bytes(head[20:24], "little")
        size = 32 + (int.from_bytes(head[12:16], "little") if flags & 1 << 29 else 0)
        return size if place + size <= file.size else 0
    if head[:11] == b"LYRICSBEGIN":
        end = file.find(re.compile(b"LYRICS200|LYRICSEND"), place, min(place + LONGEST_LYRICS, file.size), 9)
        return end + 9 - place if end > 0 else 0
    return 0
