"""Words in sentences that a program writes."""

import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path


def listed(names: Sequence[str], most: int | None = None) -> str:
    """Names in a sentence; of more than `most`, the number of the others.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed(["a", "b", "c", "d"], most=2)
    ('a', 'a, b and c', 'a, b and 2 more')
    """
    if most is not None and len(names) > most:
        names = [*names[:most], f"{len(names) - most:,} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def counted(count: int, name: str) -> str:
    """How many there are of what a word names.

    >>> counted(1, "artist"), counted(1200, "artist")
    ('1 artist', '1,200 artists')
    """
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def at_start(words: str) -> str:
    """The words at the start of a sentence; `str.capitalize` would make VGG to Vgg.

    >>> at_start("spectrogram"), at_start("multi-scale SampleCNN")
    ('Spectrogram', 'Multi-scale SampleCNN')
    """
    return words[:1].upper() + words[1:]


def suggestion(word: str, known: Iterable[str], where: str = "") -> str:
    """The end of a message on an unknown word: the known one that is most like it, or else all of them.

    >>> suggestion("mmt", ["mtt", "msd"]), suggestion("songs", ["mtt", "msd"])
    ('did you mean `mtt`?', 'known: mtt, msd.')
    """
    names = list(known)
    near = get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else f"known{where}: {', '.join(names) or 'none, write null'}."


def as_text(path: Path | str) -> str:
    r"""A path as text that every file and parser takes: bytes of it that are no valid UTF-8 are escaped.

    >>> as_text("Björk.wav"), as_text(os.fsdecode(b"Bj\xf6rk.wav"))
    ('Björk.wav', 'Bj\\xf6rk.wav')
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")
