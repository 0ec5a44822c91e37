"""What a catalogue holds: the audio files of folders, tables, lists and object stores."""

from collections.abc import Iterator
from pathlib import Path

from tagscale.decoding.formats import SUFFIXES


def audio_files(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Audio files of a folder and of those in it, by name, each with None; a folder that cannot be read, with why.

    Hidden files and folders are left out. Links are followed, and a folder that several paths lead to, or that holds
    itself, is read once.
    """
    pending, read = [folder], set[tuple[int, int]]()
    while pending:
        path = pending.pop()
        if not is_folder(path):
            if path.suffix.lower() in SUFFIXES:
                yield path, None
            continue
        try:
            state = path.stat()
            inside = sorted(path.iterdir(), reverse=True)
        except OSError as error:
            yield path, f"cannot be read ({error.strerror})"
            continue
        if (state.st_dev, state.st_ino) not in read:
            read.add((state.st_dev, state.st_ino))
            pending += [entry for entry in inside if not entry.name.startswith(".")]


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False where there is nothing, or nothing that can be asked."""
    try:
        return path.is_dir()
    except OSError:  # a name too long for the system, say, which decoding names
        return False
