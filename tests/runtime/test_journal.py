"""The journal: what was appended is there, whatever became of the process or of its last line."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tagscale.runtime.journal import Journal

APPEND = (
    "import os, signal, sys; from pathlib import Path; from tagscale.runtime.journal import Journal\n"
    "journal = Journal(Path(sys.argv[1]))\n"
    "for number in range(100): journal.append({'number': number})\n"
    "os.kill(os.getpid(), signal.SIGKILL)"
)


def records(path: Path) -> list[object]:
    return [line.record for line in Journal(path).lines()]


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "journal.jsonl"
    assert subprocess.run([sys.executable, "-c", APPEND, path]).returncode == -signal.SIGKILL
    assert records(path) == [{"number": number} for number in range(100)]


def test_half_a_line_is_left_out_and_cut_off(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"a": "ä"}, durable=True)
    journal.append({"b": float("inf")})
    whole = journal.path.read_bytes()
    for length in range(len(whole)):
        journal.path.write_bytes(whole[:length])
        lines = list(journal.lines())
        assert [line.record for line in lines] == ([{"a": "ä"}] if whole[:length].count(b"\n") else [])
        journal.truncate(lines[-1].end if lines else 0)
        assert journal.path.read_bytes() == (whole.splitlines(keepends=True)[0] if lines else b"")


@pytest.mark.parametrize("damage", [b"garbage\n", b"[1]\n", b"\n", b"\0\0\0\n", b"[" * 5000 + b"\n", b"\xff\n"])
def test_a_line_that_is_no_record_is_none(tmp_path: Path, damage: bytes) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"a": 1})
    journal.path.write_bytes(journal.path.read_bytes() + damage)
    journal.append({"b": 2})
    assert [(line.number, line.record) for line in journal.lines()] == [(1, {"a": 1}), (2, None), (3, {"b": 2})]
    assert [line.end for line in journal.lines()][-1] == journal.path.stat().st_size


def test_rewriting_is_followed_by_appending(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"a": 1})
    journal.rewrite([{"b": 2}, {"c": 3}])
    journal.append({"d": 4})
    assert records(journal.path) == [{"b": 2}, {"c": 3}, {"d": 4}]
    journal.remove()
    journal.remove()
    assert records(journal.path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_more_is_an_error(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        for _ in range(3):
            journal.append({"a": "twenty characters..."})
        with pytest.raises(OSError, match="too large"):
            journal.append({"a": "twenty characters..."})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert records(journal.path) == [{"a": "twenty characters..."}] * 3
    assert journal.path.stat().st_size == 100
