"""Writes results so that a kill or a power cut leaves the old result or the new one, never half of one."""

import ctypes
import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from tagscale.runtime.errors import TagscaleError

TEMPORARY = ".replacing"  # the end of a temporary folder's name, by which `settle` knows it for ours
SEAL = "sha256"  # the key of a sealed file's own digest
OLD = "old"  # in it: what is being replaced, where a folder cannot be exchanged at once
_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_HERE = -100  # AT_FDCWD


@contextmanager
def replacing(target: Path, durable: bool = True) -> Iterator[Path]:
    """Give a fresh path beside `target`, and rename it over `target` when the block ends without an error.

    The block creates either a file or a directory at the given path. If the block raises, that is removed and
    `target` does not change. A link to a file is replaced, and what it leads to stays as it is: DVC links outputs to
    its cache. A link to a folder stays, and the folder is replaced where it is.

    Args:
        durable: bring the content safely to the disk first, so that it survives a power cut; costs some milliseconds
            a file
    Raises:
        TagscaleError: a file would take the place of a folder, with all that is in it.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with replacing(folder / "numbers.txt") as fresh:
    ...     _ = fresh.write_text("1 2 3")
    >>> (folder / "numbers.txt").read_text()
    '1 2 3'
    """
    target = Path(target)
    if target.name in ("", ".."):
        raise TagscaleError(f"{target}: this is a folder; expected a path with the name of what is written.")
    if target.is_symlink() and target.is_dir():
        target = target.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    settle(target)
    with _temporary(target) as folder:
        fresh = folder / target.name
        yield fresh
        if _is_folder(target) and not _is_folder(fresh):
            raise TagscaleError(f"{target}: this is a folder, which stays; expected the name of a file.")
        if durable:
            flush(fresh)
        _put(fresh, target, folder / OLD)
        if durable:
            sync(target.parent)


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A folder for files of this process alone, where the system keeps such; it is removed when the block ends.

    What a killed process left, the next one of the same name removes.
    """
    place = Path(tempfile.gettempdir(), name)
    settle(place)
    with _temporary(place) as folder:
        yield folder


def settle(target: Path) -> None:
    """Finish what killed processes began with `target`, and remove their temporary folders.

    Those of living processes stay; so do all of them on a file system without locks.
    """
    for folder in target.parent.glob(f"{glob.escape(f'.{target.name}.')}*{TEMPORARY}"):
        lock = _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is None:
            continue
        try:
            fresh, old = folder / target.name, folder / OLD
            if os.path.lexists(old) and not os.path.lexists(target):  # killed between the two renames of `_put`
                os.replace(fresh if os.path.lexists(fresh) else old, target)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def flush(path: Path) -> None:
    """Bring a file, or a folder with all files in it, safely to the disk."""
    if path.is_dir():
        for entry in path.iterdir():
            if not entry.is_symlink():
                flush(entry)
    sync(path)


def own(path: Path) -> None:
    """Give a file that is a link, or that has a second name, bytes of its own, so that it can be written to.

    DVC's outputs may be links into its cache.
    """
    if path.is_symlink() or (path.is_file() and path.stat().st_nlink > 1):
        with replacing(path) as fresh:
            shutil.copyfile(path, fresh)


def write_json(path: Path, content: Any, durable: bool = True) -> None:
    """Write `content` as indented JSON with a final newline, atomically."""
    with replacing(path, durable) as fresh:
        fresh.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read any JSON file. Raises OSError, and ValueError where it is damaged; nested too deeply counts as that.

    `tagscale.runtime.reading` checks what it reads, and names the command that makes it again.
    """
    return from_json(Path(path).read_bytes())


def seal(folder: Path, name: str, facts: Mapping[str, Any], files: Iterable[str] | None = None) -> None:
    """Write the facts of a folder that is otherwise complete as JSON, with the SHA-256 of its other files and its own.

    Args:
        files: names of those files; all by default
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file()) if files is None else files
    vouched = {file: sha256_of(folder / file) for file in names if file != name}
    content = json.loads(json.dumps({**facts, "files": vouched}))  # as a reader gets it, keys as text
    write_json(folder / name, content | {SEAL: digest_of(content)})


def digest_of(content: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a content of JSON, however it is laid out, without its seal."""
    rest = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def sha256_of(*paths: Path) -> str:
    """SHA-256 (hex) over the bytes of the files, in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where the file system has no hard links. Nobody may write to either."""
    try:
        os.link(Path(source).resolve(), target)  # resolved: DVC may have put a symbolic link into its cache there
    except OSError:
        shutil.copyfile(source, target)


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, locked as long as this process lives, and removed afterwards."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=TEMPORARY, dir=target.parent))
        lock = _lock(folder, fcntl.LOCK_EX)
        if folder.exists():  # else another process swept it before it was locked
            break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _lock(folder: Path, how: int) -> int | None:
    """A handle that locks a folder; None where another process holds it, or it or its locks are missing."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, how)
        folder.stat()
    except OSError:
        os.close(handle)
        return None
    return handle


def _put(fresh: Path, target: Path, old: Path) -> None:
    """Rename `fresh` to `target`. Where one of them is a folder, what was there goes to `fresh` or to `old`."""
    if not os.path.lexists(target) or not (_is_folder(fresh) or _is_folder(target)):
        os.replace(fresh, target)
    elif not exchange(fresh, target):
        os.replace(target, old)  # rename cannot replace a directory that is not empty
        try:
            os.replace(fresh, target)
        except BaseException:
            os.replace(old, target)
            raise


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def exchange(one: Path, other: Path) -> bool:
    """Exchange two paths at once; False where the system or the file system cannot."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "renameat2"):
        return False
    paths = (ctypes.c_char_p(os.fsencode(one)), ctypes.c_char_p(os.fsencode(other)))
    return bool(libc.renameat2(_HERE, paths[0], _HERE, paths[1], _EXCHANGE) == 0)


def sync(path: Path) -> None:
    """fsync a file or a folder; some file systems have none for folders."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
