"""Text and gzip files of others, within bounds: no small file fills the memory, nor does a line without end."""

import codecs
import gzip
import io
from pathlib import Path
from typing import IO, TextIO, cast

from tagscale.runtime.errors import TagscaleError

LONGEST_LINE = 16 << 20  # characters; a row of ten thousand labels takes a hundredth
MOST_COLUMNS = 10_000
UNPACKED = 200  # times its size that a gzip file may take unpacked: tables of zeros and ones take up to 50
UNPACKED_AT_LEAST = 256 << 20  # bytes that any gzip file may take unpacked


class _Lines(io.TextIOWrapper):
    """Text, of which no line is longer than LONGEST_LINE. Iterating over it calls `readline`, too."""

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # typeshed: IOBase is binary
        line = super().readline(LONGEST_LINE + 1 if size < 0 else size)
        if len(line) > LONGEST_LINE:
            raise TagscaleError(
                f"{self.name}: a line of more than {LONGEST_LINE:,} characters; expected a table, a row in a line. "
                "Is it another file's content, or are its line ends lost?"
            )
        if "\0" in line:  # no CSV of ours could hold it, nor any path
            raise TagscaleError(
                f"{self.name}: a NUL character, in `{line.strip()[:80]}`; expected text. Is it another file's content, "
                "or damaged?"
            )
        return line


class _Gunzipped(gzip.GzipFile):
    """A gzip file that is not unpacked beyond its bound."""

    def read1(self, size: int = -1) -> bytes:
        block = super().read1(size)
        if self.tell() > most_of(Path(self.name)):
            raise _bomb(Path(self.name))
        return block


def open_lines(path: Path) -> TextIO:
    """Open UTF-8 text, with or without a byte order mark, unpacked where its name ends in .gz; line ends stay.

    UTF-16 is read as well: a spreadsheet's "Unicode text".

    Raises:
        TagscaleError: while it is read: a line longer than LONGEST_LINE, or a gzip file that unpacks to too much.
    """
    return _Lines(_open(path), encoding=_encoding(path), newline="")


def _encoding(path: Path) -> str:
    with _open(path) as raw:
        first = raw.read(2)
    if first in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    if len(first) == 2 and 0 in first:  # no text begins with a NUL, nor with a letter and a NUL
        return "utf-16-le" if first[1] == 0 else "utf-16-be"
    return "utf-8-sig"


def not_text(path: Path, remedy: str) -> TagscaleError:
    """The error for a file that cannot be decoded: names the first line that is not UTF-8."""
    with _open(path) as raw:
        for number, line in enumerate(iter(lambda: raw.readline(LONGEST_LINE), b""), start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                where = f"line {number}: byte 0x{line[error.start]:02x} at its place {error.start + 1}"
                return TagscaleError(f"{path}, {where} is not UTF-8 text ({error.reason}). {remedy}")
    return TagscaleError(f"{path}: not UTF-8 text, nor whole UTF-16. {remedy}")


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], _Gunzipped(path)) if path.suffix == ".gz" else open(path, "rb")


def gunzip(path: Path) -> bytes:
    """The content of a gzip file.

    Raises:
        TagscaleError: it unpacks to more than UNPACKED times its size.
        OSError, EOFError, zlib.error: it is damaged.
    """
    with gzip.open(path) as file:
        content = file.read(most_of(path) + 1)
    if len(content) > most_of(path):
        raise _bomb(path)
    return content


def most_of(path: Path) -> int:
    """Bytes that a gzip file may take unpacked."""
    return max(UNPACKED_AT_LEAST, UNPACKED * path.stat().st_size)


def check_columns(path: Path, names: list[str]) -> None:
    """Raise TagscaleError where a table's header has too many columns."""
    if len(names) > MOST_COLUMNS:
        raise TagscaleError(
            f"{path}: {len(names):,} columns, expected at most {MOST_COLUMNS:,}. Is it another file's content, or are "
            "its line ends lost?"
        )


def _bomb(path: Path) -> TagscaleError:
    return TagscaleError(
        f"{path}: {path.stat().st_size:,} bytes that unpack to more than {most_of(path):,}; no such file needs that. "
        "Get it again, or unpack it yourself."
    )
