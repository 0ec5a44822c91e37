"""MP4, M4A and QuickTime: boxes, each of which says how long it is (ISO 14496-12, section 4.2)."""

from tagscale.decoding.lengths.length import Length
from tagscale.decoding.lengths.window import Window

FIRST = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp"}  # boxes that files begin with
MOST_BOXES = 100_000  # two hours in fragments of a tenth of a second
LONGEST_REST = 8  # bytes behind the last box that no box can stand in


def of_mp4(file: Window) -> Length | None:
    """Whether every box of the file is whole. The decoder knows the length, from the box that describes tracks."""
    if file.at(4, 4) not in FIRST:
        return None
    place, names = 0, set[bytes]()
    for _ in range(MOST_BOXES):
        if place + LONGEST_REST > file.size:
            break
        head = file.at(place, 16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:  # it reaches to the end of the file
            length = file.size - place
        if length < 8 or not all(32 <= byte < 127 or byte == 0xA9 for byte in name):
            if b"moov" in names and b"mdat" in names:
                return Length()  # anything may follow what is whole
            return Length(fault=f"damaged: no MP4 box stands at byte {place}")
        if place + length > file.size:
            missing = place + length - file.size
            return Length(fault=f"truncated: {missing} bytes of its part {name.decode('latin-1')!r} are missing")
        names.add(name)
        place += length
    if b"moov" not in names:
        return Length(fault="truncated: the description of its tracks (moov) is missing")
    return Length()
