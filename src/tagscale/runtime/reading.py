"""Reading what a stage wrote: files of our own, checked as they are read.

Such a file may be missing, cut short, overwritten, of another version, or a folder. Whatever is wrong, its reader
raises `Damaged`: the file, what is wrong with it, and the command that makes it again. The reader of a cache catches
that and does without. Tables are in `tables.py`.

A folder of several files has one JSON file that is written last and holds the SHA-256 of the others (`seal` in
files.py); `Output` reads such a folder.
"""

import errno
import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NotRequired, TypeVar, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import TypedDict

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import SEAL, digest_of

T = TypeVar("T")

_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
JSON_BYTES = 1 << 26  # at most; a parsed file takes many times as much memory
MISSING = {errno.ENOENT, errno.ENOTDIR}
NO_FILE = {errno.EISDIR: "a folder", errno.ELOOP: "a link that leads to itself"}


class Damaged(TagscaleError):
    """A file that a stage wrote is missing or not as it was written.

    Args:
        path: the file, or its address
        what: what is wrong with it
        command: what makes it again, without backticks
    """

    def __init__(self, path: Path | str, what: str, command: str, missing: bool = False) -> None:
        super().__init__(f"{path}: {what}. Run `{command}` {'first' if missing else 'again'}.")
        self.path, self.what = path, what


class Seal(TypedDict):
    """What every such JSON file says about the files beside it."""

    files: NotRequired[dict[str, str]]  # name -> SHA-256


def content_of(path: Path, command: str) -> bytes:
    """All bytes of a file. Raises Damaged where there is no file, OSError where it cannot be read."""
    path = Path(path)
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno in NO_FILE:
            raise Damaged(path, f"{NO_FILE[error.errno]}, expected a file", command) from None
        if error.errno not in MISSING:
            raise
        dangling = path.is_symlink()
        what = f"a link to {path.readlink()}, which is missing" if dangling else "no such file"
        raise Damaged(path, what, command, missing=not dangling) from None


def parse_json(content: bytes, path: Path | str, shape: type[T], command: str) -> T:
    """The content of a JSON file as a value of `shape`, a type that pydantic knows; unknown keys are left out.

    Raises:
        Damaged: no JSON, or of another shape; names the key.
    """
    if len(content) > JSON_BYTES:
        raise Damaged(path, f"{len(content):,} bytes long, expected at most {JSON_BYTES:,}", command)
    try:
        return cast(T, _adapter(cast(Any, shape)).validate_json(content, strict=True))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"]))
        what = f"key `{key}`: {first['msg']}" if key else first["msg"]
        raise Damaged(path, f"not as it was written ({what})", command) from None


def read_json(path: Path, shape: type[T], command: str) -> T:
    """Read a JSON file that `write_json` wrote. Raises as `content_of` and `parse_json`."""
    return parse_json(content_of(path, command), path, shape, command)


class Output:
    """The folder of a stage's output: facts in a JSON file, and beside it the files that these vouch for.

    Args:
        sealed: name of the JSON file
        command: what makes the folder again
        fetch: gives the bytes of a file of the folder by its name, where the folder is no local one
    """

    def __init__(
        self, folder: Path | str, sealed: str, command: str, fetch: Callable[[str], bytes | None] | None = None
    ) -> None:
        self.folder, self.sealed, self.command = folder, sealed, command
        self._fetch = fetch
        self._about: bytes | None = None

    def path(self, name: str) -> Path | str:
        return f"{self.folder}/{name}" if self._fetch else Path(self.folder) / name

    def facts(self, shape: type[T]) -> T:
        """The content of the JSON file. Raises Damaged."""
        if self._about is None:
            self._about = self._unbroken(self._bytes(self.sealed))
        return parse_json(self._about, self.path(self.sealed), shape, self.command)

    def content(self, name: str) -> bytes:
        """All bytes of a file. Raises Damaged where they are not those that the facts vouch for."""
        expected = self.facts(Seal).get("files", {}).get(name)
        content = self._bytes(name)
        if expected is not None and hashlib.sha256(content).hexdigest() != expected:
            raise self.damaged(name, f"not the file that {self.sealed} beside it was written with")
        return content

    def check(self) -> None:
        """Raise Damaged unless every file is as the facts say."""
        for name in self.facts(Seal).get("files", {}):
            self.content(name)

    def damaged(self, name: str, what: str) -> Damaged:
        """The error of a file that contradicts another."""
        return Damaged(self.path(name), what, self.command)

    def _unbroken(self, about: bytes) -> bytes:
        """The bytes of the JSON file, unless its seal contradicts them; without a seal they count as they are."""
        content: Any = None
        with suppress(ValueError):
            content = from_json(about)
        if isinstance(content, dict) and content.get(SEAL, "") not in ("", digest_of(content)):
            raise self.damaged(self.sealed, f"not as it was written (its content has not the SHA-256 in `{SEAL}`)")
        return about

    def _bytes(self, name: str) -> bytes:
        if self._fetch is None:
            return content_of(Path(self.folder) / name, self.command)
        content = self._fetch(name)
        if content is None:
            raise Damaged(self.path(name), "no such file", self.command, missing=True)
        return content
