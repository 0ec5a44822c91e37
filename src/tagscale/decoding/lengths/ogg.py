"""Ogg: pages of all logical streams, with sequence numbers, checksums, granule positions and end marks.

Sources: RFC 3533 (Ogg), RFC 7845 (Opus), Vorbis I specification, section A, "Ogg FLAC mapping" of FLAC's format page.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from tagscale.decoding.lengths.length import Length
from tagscale.decoding.lengths.window import Window

BEGINS, ENDS = 2, 4  # flags of a page
HEADER = 27  # bytes of a page before its table of segments
LONGEST = HEADER + 255 + 255 * 255
NO_GRANULE = (1 << 64) - 1
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
LINK_SECONDS = 0.1  # what decoders leave out where one stream follows another
OPUS_RATE = 48_000
MARK = re.compile(b"OggS")


@dataclass(frozen=True)
class Page:
    """place: of its first byte. packets: complete ones in it. body: its content."""

    place: int
    flags: int
    granule: int
    serial: int
    number: int
    packets: int
    body: bytes


@dataclass
class Stream:
    """A logical stream of audio.

    kind: codec, rate and channels.
    rate: granules per second.
    skip: granules before its first sample.
    longest: samples of a packet, at most.
    """

    serial: int
    kind: str
    rate: int
    skip: int
    longest: int
    number: int  # of its last page
    start: int | None = None
    end: int = 0
    ended: bool = False

    @property
    def seconds(self) -> float:
        return max(self.end - (self.start or 0) - self.skip, 0) / self.rate


def of_ogg(file: Window) -> Length | None:
    """Length of an Ogg file: of the first audio stream of each link, where several are chained.

    A page with a wrong checksum or a missing page is damage: decoders leave it out without a word.
    """
    links: list[Stream] = []
    serials: set[int] = set()  # of the streams of this link
    data = True  # whether the streams of this link have begun
    pages = 0
    for page in _pages(file):
        pages += 1
        before = sum(stream.seconds for stream in links)
        if isinstance(page, str):
            return Length(fault=f"{page}, after {before:.1f} s")
        if page.flags & BEGINS:
            if data:
                if links and not links[-1].ended:
                    return Length(fault=f"truncated: the Ogg stream stops without its end mark after {before:.1f} s")
                serials, data = set(), False
            serials.add(page.serial)
            stream = _begun(page)
            if stream and not (links and links[-1].serial in serials and not links[-1].ended):
                if links and links[-1].kind != stream.kind:
                    kinds = f"{links[-1].kind}, and from byte {page.place} on {stream.kind}"
                    return Length(fault=f"files of different kinds are joined in it ({kinds}): split them")
                links.append(stream)
            continue
        data = True
        if not links or page.serial != links[-1].serial or page.serial not in serials:
            continue
        stream = links[-1]
        if page.number != stream.number + 1:
            gap = f"pages {stream.number + 1} to {page.number - 1} are missing before byte {page.place}"
            return Length(fault=f"damaged: {gap}, after {before:.1f} s")
        stream.number = page.number
        _count(stream, page)
    if not links:
        return Length(fault="no audio in it: its Ogg streams are of other kinds") if pages else None
    seconds = sum(stream.seconds for stream in links)
    if not links[-1].ended:
        return Length(fault=f"truncated: the Ogg stream stops without its end mark after {seconds:.1f} s")
    return Length(seconds, slack=LINK_SECONDS * len(links))


def _pages(file: Window) -> Iterator[Page | str]:
    """The pages of a file; a text instead of one that is damaged or not whole."""
    place = 0
    while (place := file.find(MARK, place, file.size, 4)) >= 0:
        content = file.at(place, LONGEST)
        table = content[HEADER : HEADER + content[26]] if len(content) >= HEADER else b""
        length = HEADER + len(table) + sum(table)
        if len(content) < HEADER or len(table) < content[26] or length > len(content):
            if place + LONGEST > file.size:
                yield f"truncated: the last Ogg page, from byte {place} on, is not whole"
            return
        page = content[:length]
        if checksum(page) != int.from_bytes(page[22:26], "little"):
            yield f"damaged: the checksum of the Ogg page at byte {place} is wrong"
            return
        granule, serial = int.from_bytes(page[6:14], "little"), int.from_bytes(page[14:18], "little")
        packets = sum(size < 255 for size in table)
        number, body = int.from_bytes(page[18:22], "little"), page[HEADER + len(table) :]
        yield Page(place, page[5], granule, serial, number, packets, body)
        place += length


def checksum(page: bytes) -> int:
    """Ogg's CRC-32 of a page. It is zlib's with the bits of all bytes, and of the result, in reverse.

    >>> hex(checksum(b"OggS" + bytes(23)))
    '0x9ea1a511'
    """
    content = (page[:22] + bytes(4) + page[26:]).translate(REVERSED)
    reverse = zlib.crc32(content, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reverse.to_bytes(4, "little").translate(REVERSED), "big")


def _begun(page: Page) -> Stream | None:
    """The stream that a page begins; None where it is no audio."""
    head = page.body

    def stream(codec: str, rate: int, channels: int, longest: int, skip: int = 0) -> Stream:
        return Stream(page.serial, f"{codec} {rate} Hz x {channels}", rate or 1, skip, longest, page.number)

    if head[:7] == b"\x01vorbis" and len(head) >= 30:
        return stream("Vorbis", _little(head[12:16]), head[11], 1 << (head[28] >> 4))
    if head[:8] == b"OpusHead" and len(head) >= 19:
        return stream("Opus", OPUS_RATE, head[9], 5760, skip=_little(head[10:12]))
    if head[:5] == b"\x7fFLAC" and len(head) >= 51:
        fields = int.from_bytes(head[27:31], "big")
        return stream("FLAC", fields >> 12, (fields >> 9 & 7) + 1, int.from_bytes(head[19:21], "big"))
    if head[:8] == b"Speex   " and len(head) >= 68:
        return stream("Speex", _little(head[36:40]), head[48], _little(head[56:60]) * max(_little(head[64:68]), 1))
    return None


def _little(content: bytes) -> int:
    return int.from_bytes(content, "little")


def _count(stream: Stream, page: Page) -> None:
    stream.ended = stream.ended or bool(page.flags & ENDS)
    if page.granule in (NO_GRANULE, 0):
        return
    if stream.start is None:  # a recording that begins in the middle of a broadcast counts from its beginning
        whole = page.granule <= page.packets * stream.longest or stream.ended
        stream.start = 0 if whole else page.granule
    stream.end = page.granule
