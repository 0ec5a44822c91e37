"""WAV (RIFF, RF64, RIFX, W64), AIFF, CAF and AU: samples behind a header that counts their bytes, or cannot.

Programs that write to a pipe leave 0 or a placeholder for the count: then the size of the file decides.
"""

from collections.abc import Iterator
from typing import Literal

from tagscale.decoding.lengths.length import CUT_SECONDS, Length, cut, samples
from tagscale.decoding.lengths.window import Window

UNFINISHED = 0x7F000000  # counts from here on that exceed the file are placeholders
PLAIN = {1, 3, 6, 7}  # WAV's codes of integers, floats, A-law and mu-law
EXTENSIBLE = 0xFFFE
AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # of one value, by encoding
MOST_CHUNKS = 10_000  # of one file; with more it is of no such format
NO_SAMPLES = "truncated or damaged: no samples stand behind its header"
LONGEST_REST = 8192  # bytes behind the samples that are of no known kind


def of_wav(file: Window) -> Length | None:
    """Length of a WAV file, which of compressed samples their decoder knows."""
    if file.at(0, 4) not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or file.at(8, 4) != b"WAVE":
        return None
    order: Literal["big", "little"] = "big" if file.at(0, 4) == b"RIFX" else "little"
    per_second = frame = code = announced64 = 0
    for name, begin, length in _chunks(file, 12, order):
        if name == b"ds64":
            announced64 = int.from_bytes(file.at(begin + 8, 8), order)
        elif name == b"fmt ":
            head = file.at(begin, 40)
            code, frame, per_second = _layout(head, order)
        elif name == b"data":
            if not per_second:
                return Length(fault="damaged: no format, or one with a sample rate of 0, stands before its samples")
            announced = announced64 if announced64 and length == 0xFFFFFFFF else length
            present = file.size - begin
            if announced == 0 and _chunk_follows(file, begin, order):
                return Length(0.0)
            announced = -1 if announced == 0 or UNFINISHED <= announced > present else announced
            fault = _rest(file, begin, announced, per_second, order) or cut(announced, present, per_second)
            return fault or (samples(announced, present, per_second, frame) if code in PLAIN else Length())
    return Length(fault=NO_SAMPLES)


def of_w64(file: Window) -> Length | None:
    """Length of Sony's WAV with sizes of 64 bits, which count their own header and are rounded up to 8."""
    if file.at(0, 4) != b"riff" or file.at(24, 4) != b"wave":
        return None
    place, per_second, frame, code = 40, 0, 0, 0
    for _ in range(MOST_CHUNKS):
        head = file.at(place, 24)
        if len(head) < 24:
            break
        length = int.from_bytes(head[16:], "little")
        if head[:4] == b"fmt ":
            code, frame, per_second = _layout(file.at(place + 24, 40), "little")
        elif head[:4] == b"data" and per_second:
            announced, present = length - 24, file.size - place - 24
            fault = cut(announced, present, per_second)
            return fault or (samples(announced, present, per_second, frame) if code in PLAIN else Length())
        place += max(-(-length // 8) * 8, 24)
    return Length(fault=NO_SAMPLES)


def of_caf(file: Window) -> Length | None:
    """Whether the samples of a CAF file are whole. Its decoder knows the length."""
    if file.at(0, 4) != b"caff":
        return None
    place = 8
    for _ in range(MOST_CHUNKS):
        head = file.at(place, 12)
        if len(head) < 12:
            break
        length = int.from_bytes(head[4:], "big", signed=True)
        if head[:4] == b"data":
            missing = place + 12 + length - file.size
            return Length(fault=f"truncated: {missing} bytes of its samples are missing") if missing > 0 else Length()
        place += 12 + max(length, 0)
    return Length(fault=NO_SAMPLES)


def of_aiff(file: Window) -> Length | None:
    """Length of an AIFF file, which of compressed samples their decoder knows."""
    if file.at(0, 4) != b"FORM" or file.at(8, 4) not in (b"AIFF", b"AIFC"):
        return None
    frames = rate = width = 0
    for name, begin, length in _chunks(file, 12, "big"):
        if name == b"COMM":
            head = file.at(begin, 22)
            channels, bits = int.from_bytes(head[:2], "big"), int.from_bytes(head[6:8], "big")
            frames, rate = int.from_bytes(head[2:6], "big"), round(_extended(head[8:18]))
            plain = file.at(8, 4) == b"AIFF" or head[18:22] in (b"NONE", b"sowt", b"twos", b"raw ", b"in24", b"in32")
            width = channels * (-(-bits // 8)) if plain else 0
            if head[18:22].lower() in (b"fl32", b"fl64"):
                width = channels * (4 if head[18:22].lower() == b"fl32" else 8)
        elif name == b"SSND":
            if not width or not rate:
                return Length()
            present = file.size - begin - 8
            announced = length - 8
            if length == 0 or UNFINISHED <= length > present:
                announced = frames * width if 0 < frames * width <= present else -1
            joined = _rest(file, begin + 8, announced, rate * width, "big")
            return joined or samples(announced, present, rate * width, width)
    return Length(fault=NO_SAMPLES)


def of_au(file: Window) -> Length | None:
    """Length of an AU file, which of compressed samples their decoder knows."""
    head = file.at(0, 24)
    if head[:4] not in (b".snd", b"dns."):
        return None
    order: Literal["big", "little"] = "big" if head[:4] == b".snd" else "little"
    begin, length, code, rate, channels = (int.from_bytes(head[at : at + 4], order) for at in range(4, 24, 4))
    width = channels * AU_BYTES.get(code, 0)
    if not width or not rate:
        return Length()
    present = max(file.size - begin, 0)
    unknown = length == 0 or UNFINISHED <= length > present
    if not unknown and present - length > CUT_SECONDS * rate * width:
        return Length(fault=_uncounted(length / (rate * width), present - length))
    return samples(-1 if unknown else length, present, rate * width, width)


def _layout(head: bytes, order: Literal["big", "little"]) -> tuple[int, int, int]:
    """(code, bytes of a frame, bytes of a second) by a WAV's chunk of its format."""
    code, rate, average = (int.from_bytes(head[at : at + size], order) for at, size in ((0, 2), (4, 4), (8, 4)))
    frame = int.from_bytes(head[12:14], order)
    code = int.from_bytes(head[24:26], order) if code == EXTENSIBLE else code
    return code, frame, rate * frame if code in PLAIN else average


def _chunks(file: Window, place: int, order: Literal["big", "little"]) -> Iterator[tuple[bytes, int, int]]:
    """Yields (name, place of the content, length by its header) of each chunk."""
    for _ in range(MOST_CHUNKS):
        head = file.at(place, 8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[4:], order)
        yield head[:4], place + 8, length
        place += 8 + length + (length & 1)


def _chunk_follows(file: Window, place: int, order: Literal["big", "little"]) -> bool:
    """Whether chunks stand from here to the end of the file."""
    for _ in range(MOST_CHUNKS):
        if place + 8 > file.size:
            break
        head = file.at(place, 8)
        if not all(32 <= byte < 127 for byte in head[:4]) or head[:4] == b"RIFF":
            return False
        length = int.from_bytes(head[4:], order)
        place += 8 + length + (length & 1)
    return place <= file.size + 1


def _rest(file: Window, begin: int, announced: int, per_second: int, order: Literal["big", "little"]) -> Length | None:
    """A fault, where more samples than the header counts seem to stand behind them."""
    if announced < 0:
        return None
    end = begin + announced
    for place in (end, end + 1):
        if file.at(place, 4) in (b"RIFF", b"FORM", b"RF64"):
            return Length(fault=f"a second file is joined behind the first, from byte {place} on: split them")
    rest = file.size - end
    if rest <= max(LONGEST_REST, CUT_SECONDS * per_second):
        return None
    if any(_chunk_follows(file, place, order) for place in (end, end + 1)):
        return None
    return Length(fault=_uncounted(announced / per_second, rest))


def _uncounted(seconds: float, rest: int) -> str:
    return f"its header counts {seconds:.1f} s of samples, and {rest} bytes that are no chunk follow them"


def _extended(content: bytes) -> float:
    """An 80-bit float."""
    exponent, mantissa = int.from_bytes(content[:2], "big") & 0x7FFF, int.from_bytes(content[2:], "big")
    return float(mantissa * 2.0 ** (exponent - 16383 - 63)) if exponent < 16383 + 64 else 0.0
