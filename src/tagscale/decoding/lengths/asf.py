"""ASF (WMA): objects, each of which says how long it is (Advanced Systems Format specification, section 2.2)."""

from tagscale.decoding.lengths.length import Length
from tagscale.decoding.lengths.window import Window

HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
SMALLEST = 24  # bytes of an object
MOST_OBJECTS = 1000  # at the top
LIVE = 50  # bytes of a data object whose length was not known


def of_asf(file: Window) -> Length | None:
    """Whether the object with the samples is whole. The decoder knows the length."""
    if file.at(0, 16) != HEADER:
        return None
    place = 0
    for _ in range(MOST_OBJECTS):
        head = file.at(place, SMALLEST)
        if len(head) < SMALLEST:
            break
        length = int.from_bytes(head[16:], "little")
        missing = place + length - file.size
        if missing > 0:
            return Length(fault=f"truncated: {missing} bytes of its samples are missing")
        if head[:16] == DATA:
            return Length(fault="truncated: its samples were never finished") if length <= LIVE else Length()
        place += max(length, SMALLEST)
    return Length(fault="truncated: no samples stand behind its header")
