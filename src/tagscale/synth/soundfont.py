"""A soundfont as symusic needs it: the header of each recording says at which key it sounds as recorded.

A zone of an instrument may overrule that header with a root key of its own (SoundFont 2.04, section 8.1.2, generator
58, overridingRootKey). symusic 0.5.9 ignores root keys. In the default soundfont most headers say 60, so its piano
played C4 twenty semitones too high, and every instrument was in a key of its own. Here each pair of a recording and a
root key gets a header.
"""

import struct
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

SAMPLE, ROOT_KEY = 53, 58  # generators
GENERATOR, BAG, HEADER = struct.Struct("<HH"), struct.Struct("<HH"), struct.Struct("<20sIIIIIBbHH")
KEY = 6  # of a header's fields
Chunks = list[tuple[bytes, bytes]]


@lru_cache(maxsize=1)
def playable(soundfont: Path) -> bytes:
    """The content of a soundfont file, with root keys in the headers of its recordings.

    Raises:
        ValueError: the file has no list of recordings.
    """
    content = soundfont.read_bytes()
    parts = b"".join(_chunk(name, _with_root_keys(part)) for name, part in _chunks(content[12:]))
    return _chunk(b"RIFF", content[8:12] + parts)


def _with_root_keys(part: bytes) -> bytes:
    """The list `pdta`, which holds presets, instruments and headers, with its root keys; other content as it is."""
    if part[:4] != b"pdta":
        return part
    tables = dict(_chunks(part[4:]))
    if missing := {b"ibag", b"igen", b"shdr"} - set(tables):
        raise ValueError(f"no table {', '.join(sorted(name.decode() for name in missing))} in the soundfont")
    *headers, end = HEADER.iter_unpack(tables[b"shdr"])
    generators = list(GENERATOR.iter_unpack(tables[b"igen"]))
    zones = pairwise(first for first, _ in BAG.iter_unpack(tables[b"ibag"]))
    places: dict[tuple[int, int], int] = {}
    for first, last in zones:
        zone = dict(generators[first:last])
        if SAMPLE in zone and ROOT_KEY in zone:
            sample, key = zone[SAMPLE], zone[ROOT_KEY]
            if (sample, key) not in places:
                places[sample, key] = len(headers)
                headers.append((*headers[sample][:KEY], key, *headers[sample][KEY + 1 :]))
            place = next(place for place in range(first, last) if generators[place][0] == SAMPLE)
            generators[place] = SAMPLE, places[sample, key]
    tables[b"igen"] = b"".join(GENERATOR.pack(*generator) for generator in generators)
    tables[b"shdr"] = b"".join(HEADER.pack(*header) for header in (*headers, end))
    return b"pdta" + b"".join(_chunk(name, table) for name, table in tables.items())


def _chunks(content: bytes) -> Chunks:
    """Names and contents of the chunks of a RIFF file, one after another."""
    chunks, at = [], 0
    while at + 8 <= len(content):
        name, length = struct.unpack_from("<4sI", content, at)
        chunks.append((name, content[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return chunks


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
