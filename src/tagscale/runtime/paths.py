"""The file that a path in a table means. The file system decides, not the table's spelling."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tagscale.runtime.names import normalised


class Ambiguous(Exception):
    """A path that more than one file resembles; the message says which."""


class Locator:
    """Finds files below a folder, whose listings it reads once.

    A table written on one system may spell a file's name otherwise than the disk of another: in another Unicode form
    (macOS decomposes accents), with another kind of space, with backslashes, or in another case.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._listings: dict[Path, list[str]] = {}

    def locate(self, path: str) -> Path:
        """The file at `path`, as it is written or else as exactly one file resembles it; `root / path` if none does.

        Raises:
            Ambiguous: several files resemble it and none is written like it.
        """
        written = self.root / path
        if _exists(written):
            return written
        place = self.root
        for part in PurePosixPath(path.replace("\\", "/")).parts:
            if _exists(place / part):
                place = place / part
                continue
            alike = next((names for names in self._alike(place, part) if names), [])
            if len(alike) > 1:
                raise Ambiguous(f"no such file, and {' and '.join(repr(name) for name in alike)} resemble it")
            if not alike:
                return written
            place = place / alike[0]
        return place

    def _alike(self, folder: Path, part: str) -> Iterator[list[str]]:
        """Entries of the folder that are the same name, then those in another case."""
        if folder not in self._listings:
            try:
                self._listings[folder] = sorted(entry.name for entry in folder.iterdir())
            except OSError:
                self._listings[folder] = []
        names = self._listings[folder]
        yield [name for name in names if normalised(name) == normalised(part)]
        yield [name for name in names if normalised(name).casefold() == normalised(part).casefold()]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or that holds a NUL
        return False
