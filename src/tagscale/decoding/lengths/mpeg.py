"""MP3 and its forerunners (MPEG-1, 2 and 2.5 audio, layers I to III): frames, counted from the first to the last.

Sources: ISO 11172-3 and 13818-3, section 2.4.2.3; for the Xing, Info, LAME and VBRI headers, which stand where the
samples of a first, silent frame would: G. Bouvigne, "Mp3 Info Tag rev 1"; K. Boll, "VBRI header".
"""

from dataclasses import dataclass
from functools import cache

from tagscale.decoding.lengths.frames import GAP_BYTES, Frame, Frames
from tagscale.decoding.lengths.length import CUT_SECONDS, Length, shortened
from tagscale.decoding.lengths.window import Window

# kbit/s by version (1, or 2 for 2 and 2.5), layer and index
BITRATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version bits
SYNC = rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x00-\xef]"
LONGEST_FREE = 8192  # bytes of a frame of free format
MOST_FREE = 16  # places to look for the second frame from; in vain, the file is of another kind
JOIN_SECONDS = 0.1  # what decoders trim, or do not, at each beginning and end


@dataclass
class Segment:
    """A stretch of frames of one rate, with at most one Xing, Info or VBRI header.

    announced: samples by that header; 0 = it has none.
    """

    place: int
    rate: int
    announced: int = 0
    trimmed: int = 0
    samples: int = 0
    bytes: int = 0
    lost: int = 0  # bytes of the gaps in it
    gap: int = 0  # place of the first one

    @property
    def seconds(self) -> float:
        return self.samples / self.rate


def of_mpeg(file: Window) -> Length | None:
    """Length of an MP3 file, also of several that were joined.

    A header that counts the frames is checked against what is there, and does not replace it.
    """
    frames = Frames(file, _Headers(), SYNC)
    segments: list[Segment] = []
    gaps = 0
    for place, frame in frames:
        count = _announced(file, place)
        if count or not segments or segments[-1].rate != frame.rate:
            announced, trimmed = count or (0, 0)
            segments.append(Segment(place, frame.rate, announced * frame.samples, trimmed))
        segment = segments[-1]
        if len(frames.gaps) > gaps:
            _lose(segment, frames.gaps[gaps:])
            gaps = len(frames.gaps)
        if not count:
            segment.samples += frame.samples
            segment.bytes += frame.bytes
    if not segments or not any(segment.samples for segment in segments):
        return None
    _lose(segments[-1], frames.gaps[gaps:])
    before = 0.0
    for segment in segments:
        if fault := _fault(segment, before, cut=frames.cut and segment is segments[-1]):
            return Length(fault=fault)
        before += segment.seconds
    seconds = sum(max(segment.samples - segment.trimmed, 0) / segment.rate for segment in segments)
    return Length(seconds, slack=JOIN_SECONDS * (1 + len(segments)))


def _lose(segment: Segment, gaps: list[tuple[int, int]]) -> None:
    for place, count in gaps:
        segment.gap = segment.gap if segment.lost else place
        segment.lost += count


def _fault(segment: Segment, before: float, cut: bool) -> str:
    """Why a segment is not whole; "" = it is, or it lacks less than CUT_SECONDS of what it announces."""
    missing = segment.announced - segment.samples
    limit = CUT_SECONDS * segment.rate
    gap = f"{segment.lost} bytes from byte {segment.gap} on are neither frames nor tags"
    if segment.announced and missing > -limit:  # with far more frames than it says, another file is joined behind
        if missing < limit:
            return ""
        if segment.lost > GAP_BYTES:
            return f"damaged: {gap}, and {missing / segment.rate:.1f} s are missing"
        place = f"; the part from byte {segment.place} on, at {before:.1f} s" if before else ""
        return shortened(segment.seconds, segment.announced / segment.rate) + place
    if cut:
        return f"truncated: it ends after {before + segment.seconds:.1f} s, and the last frame is not whole"
    if segment.lost > max(GAP_BYTES, CUT_SECONDS * segment.bytes / max(segment.seconds, 1e-9)):
        return f"damaged: {gap}"
    return ""


@cache
def _fields(second: int, third: int) -> tuple[int, int, int, int, int] | None:
    """From the header's second and third byte: (bytes, samples, rate, kind, padding); bytes 0 = free format."""
    version, layer, index, rate = second >> 3 & 3, 4 - (second >> 1 & 3), third >> 4, third >> 2 & 3
    if second >> 5 != 7 or version == 1 or layer == 4 or index == 15 or rate == 3:
        return None
    hertz = RATES[version][rate]
    bitrate = 1000 * BITRATES[1 if version == 3 else 2, layer][index]
    padding = third >> 1 & 1
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    if layer == 1:
        padding *= 4
        length = 12 * bitrate // hertz * 4
    else:
        length = samples // 8 * bitrate // hertz
    kind = (second >> 1 & 15) << 3 | rate << 1 | (index == 0)
    return (length + padding if length else 0), samples, hertz, kind, padding


class _Headers:
    """Reads frame headers. Frames of free format do not say how long they are: the first two of them show it."""

    def __init__(self) -> None:
        self.frames: dict[int, Frame] = {}
        self.free = self.tries = 0

    def __call__(self, file: Window, place: int) -> Frame | None:
        head = file.at(place, 4)
        if len(head) < 4 or head[0] != 0xFF:
            return None
        key = head[1] << 8 | head[2]
        if key in self.frames:
            return self.frames[key]
        fields = _fields(head[1], head[2])
        if fields is None:
            return None
        length, samples, rate, kind, padding = fields
        if length:
            return self.frames.setdefault(key, Frame(length, samples, rate, kind))
        if not self.free and self.tries < MOST_FREE:
            self.free, self.tries = _free_bytes(file, place, head, kind, padding), self.tries + 1
        return Frame(self.free + padding, samples, rate, kind) if self.free else None


def _free_bytes(file: Window, place: int, head: bytes, kind: int, padding: int) -> int:
    """Bytes of a frame of free format without padding: the distance to the next header that has one behind it."""
    content = file.at(place, 2 * LONGEST_FREE + 4)
    at = 24
    while (at := content.find(head[:2], at, LONGEST_FREE)) > 0:
        for more in (0, 1):
            second = content[at : at + 3]
            length = at - padding
            following = content[at + length + more : at + length + more + 3]
            fields = [_fields(each[1], each[2]) for each in (second, following) if len(each) == 3 and each[0] == 0xFF]
            if len(fields) == 2 and all(each is not None and each[3] == kind for each in fields):
                return length
        at += 1
    return 0


def _announced(file: Window, place: int) -> tuple[int, int] | None:
    """(frames, samples that decoders trim) by the Xing, Info or VBRI header in a frame; None where it holds none."""
    head = file.at(place, 192)
    if len(head) < 64:
        return None
    mono, mpeg1 = head[3] >> 6 == 3, head[1] >> 3 & 3 == 3
    side = (17 if mono else 32) if mpeg1 else (9 if mono else 17)
    for at in (4 + side, 6 + side):  # with a CRC two bytes later
        if head[at : at + 4] in (b"Xing", b"Info"):
            flags, at = int.from_bytes(head[at + 4 : at + 8], "big"), at + 8
            frames = int.from_bytes(head[at : at + 4], "big") if flags & 1 else 0
            at += 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
            lame = head[at : at + 24]
            trimmed = 0
            if len(lame) == 24 and lame[:4] in (b"LAME", b"Lavc", b"Lavf", b"L3.9"):
                trimmed = (lame[21] << 4 | lame[22] >> 4) + ((lame[22] & 15) << 8 | lame[23])
            return frames, trimmed
    if head[36:40] == b"VBRI":
        return int.from_bytes(head[50:54], "big"), 0
    return None
