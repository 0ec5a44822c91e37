"""Unpacking published zip files, whole or cut into parts, of which a member may be hostile.

The parts are read as one file, so no joined copy is written. Every member is checked before anything is written.
Members are unpacked to NAME.unpacking, which is renamed when every byte is there; .unpacked.json in it names the
archive.
"""

import errno
import io
import os
import shutil
import struct
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from tagscale.fetch.download import Progress
from tagscale.fetch.members import NOTE, checked
from tagscale.fetch.part import require_space, writing
from tagscale.fetch.published import Archive
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, write_json

BLOCK = 1 << 18  # bytes copied at once
PER_MEMBER = 4096  # bytes of a file system's block: half is wasted on average, and a file has its entry in the folder
DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError, struct.error,
    MemoryError, OverflowError, LookupError,
)  # fmt: skip


class Joined(io.RawIOBase):
    """Files read as one, in order. A read ends where a file ends; `io.BufferedReader` continues with the next one.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> parts = [folder / "a", folder / "b"]
    >>> _ = parts[0].write_bytes(b"12345"), parts[1].write_bytes(b"678")
    >>> with io.BufferedReader(Joined(parts)) as joined:
    ...     joined.seek(4), joined.read(2), joined.seek(-1, 2), joined.read()
    (4, b'56', 7, b'8')
    """

    def __init__(self, paths: list[Path]) -> None:
        self._files = [open(path, "rb", buffering=0) for path in paths]  # noqa: SIM115 (closed in `close`)
        self._ends = list(accumulate(os.fstat(file.fileno()).st_size for file in self._files))
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._ends[-1]}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, f"position {start + offset} is before the beginning")  # as files do
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from the file at the position, up to its end."""
        index = bisect_right(self._ends, self._position)
        if index == len(self._files):
            return 0
        file, before = self._files[index], self._ends[index - 1] if index else 0
        file.seek(self._position - before)
        read = file.readinto(memoryview(buffer).cast("B")[: self._ends[index] - self._position]) or 0
        self._position += read
        return read

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


def unpack(archive: Archive, root: Path, progress: Progress | None = None) -> None:
    """Unpack an archive whose parts are in `root` to `root`/folder. Checks every member's CRC-32 and size.

    Raises:
        TagscaleError: the target exists, `checked` refuses a member, the archive is damaged, or the disk is full. The
            archive is kept, and nothing unpacked.
    """
    target = root / archive.folder
    if os.path.lexists(target):
        raise TagscaleError(f"{target}: exists, expected nothing. Move it away, then fetch again.")
    label = str(root / archive.parts[0].name)
    unfinished = root / f"{archive.folder}.unpacking"
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    joined = Joined([root / part.name for part in archive.parts])
    try:
        with joined, io.BufferedReader(joined, BLOCK) as file:
            try:
                content = zipfile.ZipFile(file)
            except DAMAGE as error:
                raise TagscaleError(
                    f"{label}: not a whole zip file ({error}). Delete it and its parts, then fetch again."
                ) from error
            members = checked(content.infolist(), archive, label)
            require_space(root, sum(member.file_size + PER_MEMBER for member in members), f"unpacking {label}")
            _extract(content, members, unfinished, label, progress or (lambda *_: None))
        inner = unfinished / archive.inner
        with writing(target):
            files, size = _size_of(inner)
            write_json(inner / NOTE, {"digests": [p.digest for p in archive.parts], "files": files, "bytes": size})
            os.sync()  # once for all members: whatever the rename shows must be on the disk
            inner.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def is_unpacked(archive: Archive, root: Path) -> bool:
    """Whether this very archive is unpacked in `root`, with as many files and bytes as it had.

    Raises:
        TagscaleError: something else is there, or it has changed since.
    """
    target = root / archive.folder
    if not os.path.lexists(target):
        return False
    try:
        note = read_json(target / NOTE)
        digests, expected = note["digests"], (note["files"], note["bytes"])
    except (OSError, ValueError, TypeError, KeyError):
        why = f"not unpacked by `tagscale fetch` (no sound {NOTE} in it)"
    else:
        size = _size_of(target)
        if digests != [part.digest for part in archive.parts]:
            why = f"unpacked from {digests}, expected {archive.parts[0].digest} ..."
        elif size != expected:
            why = f"{size[0]} files with {size[1]} bytes, expected {expected[0]} with {expected[1]}: changed since"
        else:
            return True
    raise TagscaleError(
        f"{target}: {why}. It was left as it is. Move it away and fetch again, or leave it and fetch with --only "
        "annotations."
    )


def _extract(
    content: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path, label: str, progress: Progress
) -> None:
    """Write every member below `folder`, each to a file that does not exist yet."""
    done, total = 0, sum(member.file_size for member in members)
    for member in members:
        path = folder / member.orig_filename
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb") as out:
                for block in _blocks(content, member, label):
                    out.write(block)
                    done += len(block)
                    progress("unpack", done, total)


def _blocks(content: zipfile.ZipFile, member: zipfile.ZipInfo, label: str) -> Iterator[bytes]:
    """A member's bytes. Raises TagscaleError where they are damaged, or not as many as the directory says."""
    size = 0
    try:
        with content.open(member) as source:
            while block := source.read(BLOCK):
                size += len(block)
                yield block
        if size != member.file_size:
            raise EOFError(f"{size:,} bytes, expected {member.file_size:,}")
    except DAMAGE as error:
        raise TagscaleError(
            f"{label}: member {member.orig_filename!r} is damaged ({error}). What was unpacked of the archive was "
            "removed; delete the archive, then fetch again."
        ) from error


def _size_of(folder: Path) -> tuple[int, int]:
    """Files and bytes in a folder, without hidden files, as the note or a file manager's own."""
    sizes = [path.stat().st_size for path in folder.rglob("[!.]*") if path.is_file()]
    return len(sizes), sum(sizes)
