"""Changes of a file's bytes, each decided by a random generator."""

import random
import re
from collections.abc import Callable

WORDS = (b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x01\x00\x00\x00", b"\x00\x00\x00\x01", b"\xff\xff\xff\x7f")
Change = Callable[[bytes, random.Random], bytes]


def _range(content: bytes, chance: random.Random, most: float = 0.3) -> tuple[int, int]:
    """Begin and end of a part of the content, one byte at least."""
    length = max(1, int(len(content) * most * chance.random() ** 2))
    begin = chance.randrange(max(len(content) - length, 0) + 1)
    return begin, begin + length


def truncate(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))] if content else content


def flip(content: bytes, chance: random.Random, within: int | None = None) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8, 64)) if changed else 0):
        changed[chance.randrange(min(len(changed), within or len(changed)))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def flip_header(content: bytes, chance: random.Random) -> bytes:
    return flip(content, chance, chance.choice((16, 64, 512)))


def set_word(content: bytes, chance: random.Random) -> bytes:
    """Write a telling number into the header, or into the footer as of Parquet."""
    word = chance.choice(WORDS)
    at = chance.randrange(min(len(content), 256) // 4 + 1) * 4
    at = at if chance.random() < 0.7 else max(len(content) - 4 - at, 0)
    return content[:at] + word + content[at + 4 :]


def zero(content: bytes, chance: random.Random) -> bytes:
    begin, end = _range(content, chance)
    return content[:begin] + bytes(len(content[begin:end])) + content[end:]


def delete(content: bytes, chance: random.Random) -> bytes:
    begin, end = _range(content, chance)
    return content[:begin] + content[end:]


def duplicate(content: bytes, chance: random.Random) -> bytes:
    begin, end = _range(content, chance)
    return content[:end] + content[begin:end] + content[end:]


def insert(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.randbytes(chance.choice((1, 7, 1000, 20_000))) + content[at:]


def splice(content: bytes, chance: random.Random) -> bytes:
    """Move a part of the content over another."""
    (begin, end), (at, _) = _range(content, chance), _range(content, chance)
    part = content[begin:end]
    return content[:at] + part + content[at + len(part) :]


def empty(content: bytes, chance: random.Random) -> bytes:
    return b""


def noise(content: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(len(content) or 10)


BYTES: tuple[Change, ...] = (
    truncate, truncate, flip, flip, flip_header, set_word, zero, delete, duplicate, insert, splice, empty, noise,
)  # fmt: skip


def any_of(changes: tuple[Change, ...], content: bytes, chance: random.Random) -> tuple[str, bytes]:
    """The name of a change, and the changed content."""
    change = chance.choice(changes)
    return change.__name__, change(content, chance)


def drop_line(content: bytes, chance: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    del lines[chance.randrange(len(lines)) : chance.randrange(len(lines)) + 1]
    return b"".join(lines)


def swap_lines(content: bytes, chance: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    a, b = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


def retype(content: bytes, chance: random.Random) -> bytes:
    """Put another value in the place of a number, a text, a list or a word."""
    places = list(re.finditer(rb'-?\d+(\.\d+)?|"[^"\n]*"|\[[^\]]*\]|true|false|null', content))
    if not places:
        return content
    place = chance.choice(places)
    value = chance.choice(
        (b"null", b"-1", b"1e999", b'"x"', b"[]", b"{}", b"NaN", b"9" * 30, b"true", b'""', b"[" * 5000)
    )
    return content[: place.start()] + value + content[place.end() :]


TEXT: tuple[Change, ...] = (drop_line, swap_lines, retype, retype, retype)


def other_encoding(content: bytes, chance: random.Random) -> bytes:
    return content.decode("utf-8", "replace").encode(chance.choice(("utf-16", "latin-1", "utf-8-sig")), "replace")


def other_ends(content: bytes, chance: random.Random) -> bytes:
    return content.replace(b"\n", chance.choice((b"\r\n", b"\r", b"\n\n")))


def other_delimiter(content: bytes, chance: random.Random) -> bytes:
    return content.replace(b"," if b"," in content else b"\t", chance.choice((b";", b"\t", b",", b"|")))


def odd_text(content: bytes, chance: random.Random) -> bytes:
    """Put text that is hard to read between two cells or words."""
    text = chance.choice(
        ("e\u0301", "\u200b", "\u00a0", '"', "\x00", "NaN", "1e400", "\ud7ff", "=1+1", "," * 50, "x" * 200_000)
    )
    places = [place.start() for place in re.finditer(rb"[,\t\n:]", content)]
    at = chance.choice(places or [0])
    return content[:at] + text.encode() + content[at:]


CELLS: tuple[Change, ...] = (other_encoding, other_ends, other_delimiter, odd_text, odd_text, odd_text)


def set_anywhere(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + chance.choice(WORDS) + content[at + 4 :]
