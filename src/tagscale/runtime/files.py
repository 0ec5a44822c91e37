"""Writes results so that an interrupted process leaves the old result or the new one, never half of one."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a fresh path beside `target`, and rename it over `target` when the block ends without an error.

    The block creates either a file or a directory at the given path. If the block raises, that is removed and
    `target` does not change.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with replacing(folder / "numbers.txt") as fresh:
    ...     _ = fresh.write_text("1 2 3")
    >>> (folder / "numbers.txt").read_text()
    '1 2 3'
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    fresh = holder / target.name
    try:
        yield fresh
        if target.is_dir() and not target.is_symlink():
            os.replace(target, holder / "replaced")  # rename cannot replace a directory that is not empty
        os.replace(fresh, target)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON with a final newline, atomically."""
    with replacing(path) as fresh:
        fresh.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file that `write_json` wrote."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


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
