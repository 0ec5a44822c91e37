"""Matroska and WebM: one segment, which says how long it is (RFC 8794, sections 5 and 6; RFC 9559)."""

from tagscale.decoding.lengths.length import Length
from tagscale.decoding.lengths.window import Window

SEGMENT = b"\x18\x53\x80\x67"


def of_matroska(file: Window) -> Length | None:
    """Whether the segment is whole; a live recording's says nothing. The decoder knows the length."""
    if file.at(0, 4) != b"\x1a\x45\xdf\xa3":
        return None
    length, wide = _size(file.at(4, 8))
    place = 4 + wide + (length or 0)
    if file.at(place, 4) != SEGMENT:
        return Length(fault="truncated or damaged: no Matroska segment stands behind its header")
    length, wide = _size(file.at(place + 4, 8))
    missing = place + 4 + wide + (length or 0) - file.size
    return Length(fault=f"truncated: {missing} bytes of its Matroska segment are missing") if missing > 0 else Length()


def _size(content: bytes) -> tuple[int | None, int]:
    """(a size, None = unknown; its own bytes): as many leading zeros as bytes follow the first one."""
    if not content or not content[0]:
        return None, 1
    wide = 9 - content[0].bit_length()
    value = int.from_bytes(content[:wide], "big") & (1 << 7 * wide) - 1
    return (None if value == (1 << 7 * wide) - 1 else value), wide
