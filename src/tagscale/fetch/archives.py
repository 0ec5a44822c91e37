"""Unpacking published zip files, whole or cut into parts, where a member may be hostile and a process may be killed.

The parts are read as if they were one file, so the joined one never lies on the disk. Every member is looked at before
anything is written. What is unpacked goes to NAME.unpacking and is renamed when every byte is there; in it,
.unpacked.json says of which archive it is.
"""

import errno
import io
import os
import shutil
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import IO, Any

from tagscale.fetch.members import NOTE, checked
from tagscale.fetch.part import writing
from tagscale.fetch.published import Archive
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, write_json

BLOCK = 1 << 18  # bytes copied at once
PER_MEMBER = 4096  # bytes of a file system's block, half of which a file wastes on average; and its entry in the folder
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)  # of zipfile

Progress = Callable[[str, int, int | None], None]  # "unpack", bytes so far, bytes in all


class Joined(io.RawIOBase):
    """Files as one, one after the other, to read only. A read ends where a file does: `io.BufferedReader` goes on.

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

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._ends[-1]}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, f"position {start + offset} is before the beginning")  # as files do
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from the file at the position, not beyond its end."""
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
    """Unpack an archive whose parts lie in `root` to `root`/folder. Checks every member's CRC-32 and size.

    Raises:
        TagscaleError: the target is there already, `checked` refuses a member, the archive is damaged, or the disk is
            full. Nothing is left of it then, and the archive is kept.
    """
    target = root / archive.folder
    if os.path.lexists(target):
        raise TagscaleError(f"{target}: is there already, expected nothing. Move it away, then fetch again.")
    label = str(root / archive.parts[0].name)
    unfinished = root / f"{archive.folder}.unpacking"
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    joined = Joined([root / part.name for part in archive.parts])
    try:
        with joined, io.BufferedReader(joined, BLOCK) as file, _opened(file, label) as content:
            members = checked(content.infolist(), archive, label)
            _check_space(members, root, label)
            _extract(content, members, unfinished, label, progress or (lambda *_: None))
        inner = unfinished / archive.inner
        note = {"digests": [part.digest for part in archive.parts]} | _measured(inner)
        with writing(target):
            write_json(inner / NOTE, note)
            os.sync()  # once for all members: what the rename shows must be on the disk
            inner.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def is_unpacked(archive: Archive, root: Path) -> bool:
    """Whether just this archive lies unpacked in `root`, as many files and bytes as it had.

    Raises:
        TagscaleError: something else lies there, or it has changed since.
    """
    target = root / archive.folder
    if not os.path.lexists(target):
        return False
    advice = "It was left as it is. Move it away and fetch again, or leave it and fetch with --only annotations."
    try:
        note = read_json(target / NOTE)
        digests, was = note["digests"], {"files": note["files"], "bytes": note["bytes"]}
    except (OSError, ValueError, TypeError, KeyError):
        raise TagscaleError(f"{target}: not unpacked by `tagscale fetch` (no sound {NOTE} in it). {advice}") from None
    if digests != [part.digest for part in archive.parts]:
        raise TagscaleError(f"{target}: unpacked from {digests}, expected {archive.parts[0].digest} ... {advice}")
    found = _measured(target)
    if found != was:
        raise TagscaleError(
            f"{target}: {found['files']:,} files with {found['bytes']:,} bytes, expected {was['files']:,} with "
            f"{was['bytes']:,} as unpacked: it was changed since. {advice}"
        )
    return True


def _opened(file: IO[bytes], label: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except DAMAGE as error:
        raise TagscaleError(
            f"{label}: not a whole zip file ({error}). Delete it and its parts, and fetch again."
        ) from error


def _check_space(members: list[zipfile.ZipInfo], root: Path, label: str) -> None:
    needed = sum(member.file_size + PER_MEMBER for member in members)
    free = shutil.disk_usage(root).free
    if needed > free:
        raise TagscaleError(
            f"{label}: {needed:,} bytes to unpack into {root}, {free:,} are free on this disk. Nothing was unpacked, "
            "the archive is kept: make room, and run the same command again."
        )


def _extract(
    content: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path, label: str, progress: Progress
) -> None:
    """Write every member below `folder`, each into a file that is not there yet."""
    done, total = 0, sum(member.file_size for member in members)
    for member in members:
        path, written = folder / member.orig_filename, 0
        try:
            source = content.open(member)
        except DAMAGE as error:
            raise _damaged(label, member, error) from error
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with source, open(path, "xb") as out:
                while block := _read(source, member, label):
                    out.write(block)
                    written += len(block)
                    progress("unpack", done + written, total)
        if written != member.file_size:
            raise _damaged(label, member, f"{written:,} bytes, expected {member.file_size:,}")
        done += written


def _read(source: Any, member: zipfile.ZipInfo, label: str) -> bytes:
    try:
        return bytes(source.read(BLOCK))
    except DAMAGE as error:
        raise _damaged(label, member, error) from error


def _damaged(label: str, member: zipfile.ZipInfo, why: object) -> TagscaleError:
    return TagscaleError(
        f"{label}: member {member.orig_filename!r} is damaged ({why}). What was unpacked of it was removed; "
        "delete the archive and fetch again."
    )


def _measured(folder: Path) -> dict[str, int]:
    """How many files, and bytes in them, a folder holds; without hidden files, as the note or a file manager's own."""
    sizes = [
        os.lstat(Path(place) / name).st_size
        for place, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".")
    ]
    return {"files": len(sizes), "bytes": sum(sizes)}
