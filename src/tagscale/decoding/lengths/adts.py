"""Bare AAC (ADTS frames; ISO 13818-7, section 6.2), counted from the first frame to the last."""

from tagscale.decoding.lengths.frames import GAP_BYTES, Frame, Frames
from tagscale.decoding.lengths.length import CUT_SECONDS, Length
from tagscale.decoding.lengths.window import Window

RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
SYNC = rb"\xff[\xf0\xf1\xf8\xf9]"
BLOCK = 1024  # samples
DELAY = 0.1  # seconds that a decoder may hold back


def of_adts(file: Window) -> Length | None:
    """Length of a bare AAC stream, also of several that were joined."""
    frames = Frames(file, _header, SYNC)
    seconds, content = 0.0, 0
    for _, frame in frames:
        seconds += frame.samples / frame.rate
        content += frame.bytes
    if not seconds:
        return None
    if frames.cut:
        return Length(fault=f"truncated: it ends after {seconds:.1f} s, and the last frame is not whole")
    lost = sum(count for _, count in frames.gaps)
    if lost > max(GAP_BYTES, CUT_SECONDS * content / seconds):
        return Length(fault=f"damaged: {lost} bytes from byte {frames.gaps[0][0]} on are neither frames nor tags")
    return Length(seconds, slack=DELAY)


def _header(file: Window, place: int) -> Frame | None:
    head = file.at(place, 7)
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    rate, length = head[2] >> 2 & 15, (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if rate >= len(RATES) or length < 7:
        return None
    return Frame(length, BLOCK * (1 + (head[6] & 3)), RATES[rate], head[1] << 8 | head[2] & 0xFC)
