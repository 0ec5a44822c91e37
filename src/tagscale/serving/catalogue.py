"""What a catalogue holds: the audio files that folders, tables, lists and object stores name."""

import csv
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tagscale.decoding.formats import SUFFIXES
from tagscale.decoding.opened import unreadable
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.paths import Ambiguous, Locator
from tagscale.runtime.words import as_text
from tagscale.store.remote import Bucket

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")  # with a column PATH
LISTS = (".txt", ".list", ".m3u", ".m3u8")  # a path a line, or with a NUL character behind each
PATH = "path"
STDIN = "-"
HTTP = ("http://", "https://")
MADE = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "updated", "created")  # of object stores, the best first


@dataclass(frozen=True)
class Entry:
    """A file of a catalogue.

    name: its path or address as the catalogue writes it, as text; rows of scores are known by it
    place: where it is: a path, relative to `root` where there is one, or an address such as s3://songs/a.mp3
    root: folder of the table or list that names it
    state: its state by the listing of an object store, see `state_of`; "" where nobody has asked
    reason: why there is no file to read, as of a folder that cannot be read; "" where there may be one
    """

    name: str
    place: str
    root: Path | None = None
    state: str = ""
    reason: str = ""

    @property
    def is_remote(self) -> bool:
        return "://" in self.place

    def path(self) -> Path:
        """The local file. A table may spell its name otherwise than the disk, see `runtime.paths`."""
        if self.root is None or Path(self.place).is_absolute():
            return Path(self.place)
        try:
            return _locator(self.root).locate(self.place)
        except Ambiguous:
            return self.root / self.place


@cache
def _locator(root: Path) -> Locator:
    return Locator(root)


def entries(arguments: Sequence[str], shard: tuple[int, int] | None = None) -> dict[str, Entry]:
    """All files of a catalogue by their names, in its order; one that is named twice comes once.

    Args:
        arguments: audio files; folders; tables with a column `path`; lists; `-` for a list from stdin; addresses of
            objects, or of all audio files below a prefix. Paths in a table or a list are relative to its folder, those
            from stdin to the current one
        shard: (i, n): only the files of the i-th of n shards, 1 <= i <= n; a file's name alone decides on its shard
    Raises:
        TagscaleError: a table or list that cannot be read, an object store that does not answer, or two files of one
            name.
    """
    catalogue: dict[str, Entry] = {}
    for argument in arguments:
        for entry in _named_by(argument):
            if shard and shard_of(entry.name, shard[1]) != shard[0]:
                continue
            known = catalogue.setdefault(entry.name, entry)
            if (known.place, known.root) != (entry.place, entry.root) and known.path() != entry.path():
                raise TagscaleError(
                    f"{entry.name}: the catalogue names two files so, {known.path()} and {entry.path()}. Tag them to "
                    "two outputs, or write one of them as an absolute path."
                )
    return catalogue


def shard_of(name: str, shards: int) -> int:
    """The number of a file's shard, from 1; its name alone decides.

    >>> [shard_of(f"song-{number}.mp3", 3) for number in range(6)]
    [2, 1, 3, 3, 3, 2]
    """
    return 1 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % shards


def is_list(argument: str) -> bool:
    """Whether an argument names files, in place of being one or a folder of them."""
    named = argument == STDIN or "://" in argument or argument.lower().endswith((*TABLES, *LISTS))
    return named and not is_folder(Path(argument))


def _named_by(argument: str) -> Iterator[Entry]:
    """The files that one argument names."""
    path, lower = Path(argument), argument.lower()
    if argument == STDIN:
        yield from _lines(sys.stdin.buffer.read(), None)
    elif "://" in argument:
        yield from _objects(argument)
    elif is_folder(path):
        yield from _inside(path)
    elif lower.endswith(TABLES):
        yield from (_entry(cell, path.parent) for cell in _cells(path))
    elif lower.endswith(LISTS):
        try:
            yield from _lines(path.read_bytes(), path.parent, comments=".m3u" in lower)
        except OSError as error:
            raise TagscaleError(f"{path}: {unreadable(error)}; expected a list of audio files.") from None
    else:
        yield _entry(argument, None)


def _entry(place: str, root: Path | None) -> Entry:
    return Entry(as_text(place), place, None if "://" in place else root)


def _inside(folder: Path) -> Iterator[Entry]:
    empty = True
    for file, reason in audio_files(folder):
        empty = False
        yield Entry(as_text(file), str(file), reason=reason or "")
    if empty:
        yield Entry(as_text(folder), str(folder), reason=without_audio("folder"))


def without_audio(what: str) -> str:
    return f"no audio files in this {what} ({', '.join(sorted(SUFFIXES))})"


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
            yield path, unreadable(error)
            continue
        if (state.st_dev, state.st_ino) not in read:
            read.add((state.st_dev, state.st_ino))
            pending += [entry for entry in inside if not entry.name.startswith(".")]


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False where there is nothing, or nothing that can be asked."""
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name too long for the system, say, which decoding names
        return False


def _lines(content: bytes, root: Path | None, comments: bool = False) -> Iterator[Entry]:
    r"""The files of a list.

    >>> [entry.name for entry in _lines(b"a b.mp3\r\n \n\nc.wav", None)]
    ['a b.mp3', 'c.wav']
    >>> [entry.name for entry in _lines(b"two\nlines.mp3\0c.wav\0", None)]
    ['two\nlines.mp3', 'c.wav']
    """
    by_nul = b"\0" in content
    for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\0" if by_nul else b"\n"):
        place = os.fsdecode(line if by_nul else line.removesuffix(b"\r"))
        if (place if by_nul else place.strip()) and not (comments and place.startswith("#")):
            yield _entry(place, root)


def _cells(path: Path) -> Iterator[str]:
    """The column `path` of a table."""
    from tagscale.catalog.sources.annotations import open_text  # here, because workers need none of pandas

    if not path.is_file():
        raise TagscaleError(f"{path}: no such file; expected a table with a column `{PATH}`.")
    with open_text(path) as text:
        delimiter, names = _header(path, text.readline())
        place, rows = names.index(PATH), csv.reader(text, delimiter=delimiter, strict=True)
        try:
            for row in rows:
                if any(cell.strip() for cell in row):
                    yield _cell(f"{path}, line {rows.line_num + 1}", row, place, len(names))
        except csv.Error as error:
            raise TagscaleError(f"{path}, line {rows.line_num + 1}: not a well-formed table: {error}.") from None


def _header(path: Path, line: str) -> tuple[str, list[str]]:
    """The delimiter by which the first line has a column `path`, and all its names."""
    from tagscale.catalog.sources.annotations import named
    from tagscale.catalog.sources.folder_table import DELIMITERS
    from tagscale.runtime.bounded import check_columns

    names = {mark: [name.strip() for name in next(csv.reader([line], delimiter=mark), [])] for mark in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda mark: (PATH in names[mark], len(names[mark])))
    check_columns(path, names[delimiter])
    if names[delimiter].count(PATH) != 1:
        raise TagscaleError(
            f"{path}: expected one column `{PATH}`, with the audio files; found "
            f"{', '.join(names[delimiter][:20]) or 'none'} (the delimiter is {named(delimiter)})."
        )
    return delimiter, names[delimiter]


def _cell(where: str, row: list[str], place: int, width: int) -> str:
    if len(row) != width:
        raise TagscaleError(f"{where}: {len(row)} cells, but the header has {width}.")
    if not row[place].strip():
        raise TagscaleError(f"{where}: an empty cell in the column `{PATH}`. Fill it in, or remove the row.")
    return row[place].strip()


def _objects(address: str) -> Iterator[Entry]:
    """The object of an address, or the audio files below it."""
    if address.startswith(HTTP):  # which has no folders
        yield Entry(as_text(address), address)
        return
    bucket = Bucket(address)
    files, root = bucket.connection()
    try:
        listing: Mapping[str, Mapping[str, Any]] = files.find(root, detail=True)
    except FileNotFoundError:
        listing = {}
    except Exception as error:  # of any protocol's library
        raise bucket.failure(error) from error
    if set(listing) == {root}:
        yield Entry(as_text(address), address, state=state_of(listing[root]))
        return
    inside = [path for path in sorted(listing) if _is_audio(path.removeprefix(root))]
    for path in inside:
        place = files.unstrip_protocol(path)
        yield Entry(as_text(place), place, state=state_of(listing[path]))
    if not inside:
        yield Entry(as_text(address), address, reason=without_audio("place"))


def _is_audio(key: str) -> bool:
    parts = key.strip("/").split("/")
    return Path(parts[-1]).suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in parts)


def state_of(facts: Mapping[str, Any]) -> str:
    """The state of a file or an object, by which a later change is noticed: its size, and when or how it was made.

    Args:
        facts: as fsspec gives them

    >>> state_of({"size": 7, "mtime": 1.5}), state_of({"size": 7, "ETag": '"ab"'})
    ('7 1.5', '7 "ab"')
    """
    made = next((facts[key] for key in MADE if facts.get(key)), "")
    return f"{facts.get('size')} {made}"
