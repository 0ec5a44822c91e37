"""The rows of one output: what is held in memory of those that are there."""

import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.journal import Journal
from tagscale.serving.output import writing
from tagscale.serving.rows import Row, read_records, write_rows

MODEL: dict[str, Any] = {"model": "tagscale-tagger", "version": "3", "sha256": "ab" * 32}
TAGGER: Any = SimpleNamespace(**MODEL, tags=["rock"])
ROWS = 4000


def row(number: int, state: str = "") -> Row:
    error = None if number % 10 else "silent: -120.0 dBFS"
    scores = {} if error else {"rock": 0.5}
    name = f"music/artist {number // 100:06}/album {number // 10:06}/{number:08} song.mp3"
    return Row(name, error=error, state=state or f"5000000 17000000000{number:08}", scores=scores, **MODEL)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_of_rows_that_are_there_little_is_in_memory(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"scores{suffix}"
    write_rows(out, (row(number).record() for number in range(ROWS)), TAGGER.tags)
    with writing(out, TAGGER):
        pass  # what is imported and cached once
    tracemalloc.start()
    arrow = pa.total_allocated_bytes()
    with writing(out, TAGGER) as output:
        held = tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes() - arrow
        tracemalloc.stop()
        for number in range(ROWS):
            one = row(number)
            assert (output.kept.state(one.path), output.kept.error(one.path)) == (one.state, one.error)
        assert (output.kept.state("new.mp3"), output.kept.error("new.mp3")) == ("", None)
        assert output.finish([row(number).path for number in range(1, ROWS)]) == 1
    assert held / ROWS < 100, "bytes a row"


def test_of_two_rows_of_a_file_the_later_counts(tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    write_rows(out, (row(number).record() for number in (3, 1, 2)), TAGGER.tags)
    with writing(out, TAGGER) as output:
        output.add(row(1, state="9 9"))
        output.add(row(4))
    with writing(out, TAGGER) as output:
        assert output.kept.state(row(1).path) == "9 9"
        assert output.finish([row(number).path for number in (4, 2, 5)]) == 2
    paths = [(record["path"], record["state"]) for record in read_records(out)]
    assert paths == [(one.path, one.state) for one in (row(4), row(2), row(3), row(1, state="9 9"))]


def test_a_journal_is_read_once_and_its_damaged_end_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, reads = tmp_path / "scores.parquet", list[Path]()
    with writing(out, TAGGER) as output:
        for number in range(3):
            output.add(row(number))
        journal = output.journal.path
    whole, lines = journal.read_bytes(), Journal.lines
    monkeypatch.setattr(Journal, "lines", lambda self: reads.append(self.path) or lines(self))
    for rest in (b"", b'{"path": "half', b'\0\0\0\n{"path": "a"}\n'):
        reads.clear()
        journal.write_bytes(whole + rest)
        with writing(out, TAGGER) as output:
            assert [output.kept.state(row(number).path) != "" for number in range(4)] == [True] * 3 + [False]
        assert reads == [journal]
        assert journal.read_bytes() == whole
    journal.write_bytes(whole + b'{"path": "a"}\n')
    mends = f"no rows of scores, or damaged .* --out {out} --anew"
    with pytest.raises(TagscaleError, match=mends), writing(out, TAGGER):
        pass
