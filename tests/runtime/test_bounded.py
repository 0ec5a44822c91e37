"""Small files that would become large, and lines without end, end in a message and take little memory."""

import gzip
import tracemalloc
from pathlib import Path

import pytest

from tagscale.runtime import bounded
from tagscale.runtime.bounded import gunzip, open_lines
from tagscale.runtime.errors import TagscaleError


def test_lines_are_read_as_they_are(tmp_path: Path) -> None:
    content = "\ufeffé,b\r\n1,2\n3\r4".encode()
    (tmp_path / "a.csv").write_bytes(content)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content))
    for name in ("a.csv", "a.csv.gz"):
        with open_lines(tmp_path / name) as file:
            assert file.readline() == "é,b\r\n"
            assert list(file) == ["1,2\n", "3\r", "4"]


def test_a_line_without_end(tmp_path: Path) -> None:
    with open(tmp_path / "a.csv", "wb") as file:
        file.truncate(400 << 20)
    tracemalloc.start()
    with open_lines(tmp_path / "a.csv") as text, pytest.raises(TagscaleError, match=r"a\.csv: a line of more than 16,"):
        next(text)
    assert tracemalloc.get_traced_memory()[1] < 150 << 20
    tracemalloc.stop()


def test_a_gzip_file_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "UNPACKED_AT_LEAST", 1 << 20)
    lines = b"0,0,0,0\n" * 100_000
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(lines))
    assert gunzip(tmp_path / "a.csv.gz") == lines
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(lines * 20))
    with pytest.raises(TagscaleError, match=r"a\.csv\.gz: [\d,]+ bytes that unpack to more than"):
        gunzip(tmp_path / "a.csv.gz")
    with open_lines(tmp_path / "a.csv.gz") as text, pytest.raises(TagscaleError, match="that unpack to more than"):
        list(text)
