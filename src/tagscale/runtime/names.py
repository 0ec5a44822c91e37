"""Names that people gave: one form for each, and which of them may be the same name in two spellings.

Two texts that look the same are one name: Unicode has several forms of most accented letters, several spaces, and
characters that nobody sees. So a name is brought into one form when it is read, and every later stage compares it by
`==`. Paths are no names: the file system decides what they mean (`tagscale.runtime.paths`).
"""

import re
import unicodedata
from collections.abc import Iterable

# Soft hyphen, joiners and marks of direction, the byte-order mark: they have no width and are copied unseen.
_RANGES = [(0xAD, 0xAE), (0x180E, 0x180F), (0x200B, 0x2010), (0x202A, 0x202F), (0x2060, 0x2070), (0xFEFF, 0xFF00)]
_UNSEEN = dict.fromkeys(code for first, end in _RANGES for code in range(first, end))
_ACCENTS = dict.fromkeys(range(0x300, 0x370))  # combining marks of Latin, Greek and Cyrillic letters
_SEPARATORS = re.compile(r"(?<![0-9])[\s_.,'’`/‐-―-]+|[\s_.,'’`/‐-―-]+(?![0-9])")  # but 4/4 is not 44


def normalised(name: str) -> str:
    """The one form of a name: NFC, single spaces of the plain kind, no characters without width, no control characters.

    >>> normalised(" Nai\\u0308ve\\u00a0 Melody\\u200b"), normalised("\\ufeff")
    ('Naïve Melody', '')
    """
    if name.isascii() and name.isprintable():
        return name.strip() if "  " not in name else " ".join(name.split())
    seen = unicodedata.normalize("NFC", name).translate(_UNSEEN)
    visible = "".join(c if unicodedata.category(c) != "Cc" or c.isspace() else " " for c in seen)
    return " ".join(unicodedata.normalize("NFC", visible).split())


def near_equal(names: Iterable[str]) -> list[list[str]]:
    """Groups of different names that differ only in case, accents, spaces, hyphens or dots, in the order of `names`.

    >>> near_equal(["Rock", "hip-hop", "jazz", "rock", "hiphop", "hip hop", "4/4", "44", "C", "C#"])
    [['Rock', 'rock'], ['hip-hop', 'hiphop', 'hip hop']]
    """
    groups: dict[str, dict[str, None]] = {}
    for name in names:
        groups.setdefault(_likeness(name), {})[name] = None
    return [list(group) for group in groups.values() if len(group) > 1]


def _likeness(name: str) -> str:
    """What near-equal names have in common."""
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFKD", name.casefold()).translate(_ACCENTS))
    return _SEPARATORS.sub("", plain) or plain
