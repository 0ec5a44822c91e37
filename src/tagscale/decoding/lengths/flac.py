"""FLAC: its header states the length, or states none; its last frame shows it in any case (RFC 9639)."""

import re
from dataclasses import dataclass, replace
from functools import cache

from tagscale.decoding.lengths.frames import tag_at
from tagscale.decoding.lengths.length import Length, shortened
from tagscale.decoding.lengths.window import Window

STREAMINFO = 0
LONGEST_FRAME = 1 << 20  # bytes, where the header does not say; eight channels of 65,535 samples may take more
MOST_BLOCKS = 10_000  # of metadata
MOST_TRIES = 3  # headers to look at from the end: one in a million places inside a frame looks like a header
BLOCK_SIZES = (0, 192, 576, 1152, 2304, 4608, 0, 0, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
CRC_8, CRC_16 = (8, 0x107), (16, 0x18005)  # bits, and polynomial: x^8 + x^2 + x + 1, x^16 + x^15 + x^2 + 1
SYNC = re.compile(rb"\xff[\xf8\xf9]")
BEGINNING = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")


@dataclass(frozen=True)
class Info:
    """The STREAMINFO block: samples is 0 where the encoder did not know."""

    block: int
    largest_frame: int
    rate: int
    samples: int


@dataclass(frozen=True)
class Frame:
    """A frame: number of its first sample and of the one behind its last; whole: its checksum is right."""

    first: int
    end: int
    whole: bool = False


def of_flac(file: Window) -> Length | None:
    """Length of a FLAC file, also of several that were joined.

    Header and last frame must agree: without a count in the header, the last frame's number is the count.
    """
    begin = tag_at(file, 0)
    if file.at(begin, 4) != b"fLaC":
        return None
    seconds, end = 0.0, _end(file)
    while begin < end:
        following = file.find(BEGINNING, begin + 4, end, 8)
        part = _part(file, begin, following if following > 0 else end)
        if part.fault:
            place = f" (of the part from byte {begin} on, at {seconds:.1f} s)" if seconds else ""
            return Length(fault=part.fault + place)
        seconds += part.seconds or 0.0
        begin = following if following > 0 else end
    return Length(seconds)


def _part(file: Window, begin: int, end: int) -> Length:
    """Length of one FLAC file, from `begin` to `end`."""
    info, first = _information(file, begin)
    if info is None:
        return Length(fault="truncated: its FLAC header is not whole")
    start = _numbered(file.at(first, 16), info)
    last = _last_frame(file, first, end, info)
    if last is None or start is None:
        return Length(fault="damaged: no FLAC frames stand where its header says")
    samples = last.end - start.first
    if not last.whole and info.samples == 0:
        return Length(fault="truncated: the last FLAC frame is not whole, and the header states no length")
    if samples < info.samples:
        present = samples if last.whole else last.first - start.first
        return Length(fault=shortened(present / info.rate, info.samples / info.rate))
    return Length((samples if last.whole else info.samples) / info.rate)


def _information(file: Window, place: int) -> tuple[Info | None, int]:
    """The STREAMINFO block, and the place of the first frame."""
    place, info = place + 4, None
    for _ in range(MOST_BLOCKS):
        head = file.at(place, 4)
        if len(head) < 4:
            return None, 0
        length = int.from_bytes(head[1:4], "big")
        if head[0] & 0x7F == STREAMINFO and length >= 34:
            block = file.at(place + 4, 34)
            rate = int.from_bytes(block[10:13], "big") >> 4
            samples = int.from_bytes(block[13:18], "big") & (1 << 36) - 1
            info = Info(int.from_bytes(block[2:4], "big"), int.from_bytes(block[7:10], "big"), rate, samples)
        place += 4 + length
        if head[0] & 0x80:
            return (info if info and info.rate else None), place
    return None, 0


def _end(file: Window) -> int:
    """Where the frames end: before an ID3v1 tag or an APE tag, which some programs append."""
    end = file.size
    if file.at(max(end - 128, 0), 3) == b"TAG":
        end -= 128
    footer = file.at(max(end - 32, 0), 32)
    if footer[:8] == b"APETAGEX":
        size = int.from_bytes(footer[12:16], "little")
        has_header = int.from_bytes(footer[20:24], "little") >> 31
        end -= size + 32 * has_header
    return end


def _last_frame(file: Window, first: int, end: int, info: Info) -> Frame | None:
    """The last frame before `end`: the last whole one that ends there, or the last one that begins; None = neither."""
    begin = max(first, end - (info.largest_frame or LONGEST_FRAME))
    content = file.at(begin, end - begin)
    last, tries = None, 0
    for match in reversed(list(SYNC.finditer(content))):
        frame = _numbered(content[match.start() : match.start() + 16], info)
        if frame:
            if _crc(content[match.start() :], *CRC_16) == 0:  # the frame's own checksum stands at its end
                return replace(frame, whole=True)
            last, tries = last or frame, tries + 1
        if tries == MOST_TRIES:
            break
    return last


def _numbered(head: bytes, info: Info) -> Frame | None:
    """The frame with this header; None where it is none."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[2] >> 4 == 0 or head[3] & 1:
        return None
    ones = f"{head[4]:08b}".find("0")
    if ones in (1, 8) or ones < 0:
        return None
    count = max(ones, 1)
    number = head[4] & (0x7F if ones == 0 else (1 << 7 - ones) - 1 if ones < 7 else 0)
    for byte in head[5 : 4 + count]:
        if byte >> 6 != 2:
            return None
        number = number << 6 | byte & 0x3F
    at, code = 4 + count, head[2] >> 4
    wide = {6: 1, 7: 2}.get(code, 0)
    samples = int.from_bytes(head[at : at + wide], "big") + 1 if wide else BLOCK_SIZES[code]
    at += wide + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    if at >= len(head) or _crc(head[:at], *CRC_8) != head[at]:
        return None
    first = number if head[1] & 1 else number * info.block
    return Frame(first, first + samples)


def _crc(content: bytes, bits: int, polynomial: int) -> int:
    crc, table = 0, _crc_table(bits, polynomial)
    for byte in content:
        crc = (crc << 8 & (1 << bits) - 1) ^ table[crc >> bits - 8 ^ byte]
    return crc


@cache
def _crc_table(bits: int, polynomial: int) -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << bits - 8
        for _ in range(8):
            crc = crc << 1 ^ (polynomial if crc >> bits - 1 else 0)
        table.append(crc)
    return table
