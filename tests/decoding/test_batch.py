"""The pool: the same results in the same order for any number of workers, whatever a file does to a worker."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import soundfile

import hostile
from tagscale.decoding import batch
from tagscale.decoding.batch import Job, Outcome, Source, decode_all
from user_folder import tone

MEASURE = """
import resource, sys
from pathlib import Path
from tagscale.decoding.batch import Job, decode_all
for job, outcome in decode_all([Job("track", Path(sys.argv[1]))], workers=1):
    samples = len(outcome.decoded.samples)
print(samples, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """Nine tracks of very different length, and two that cannot be decoded."""
    folder = tmp_path_factory.mktemp("audio")
    found = []
    for i, seconds in enumerate([8, 0.1, 4, 0.1, 0.1, 6, 0.1, 2, 0.1]):
        soundfile.write(folder / f"{i}.wav", tone(seconds, 44100, 300 + i), 44100)
        found.append(Job(f"track{i}", folder / f"{i}.wav"))
    (folder / "text.wav").write_text("no audio")
    return [*found[:3], Job("bad", folder / "text.wav"), *found[3:], Job("gone", folder / "nowhere.wav")]


def comparable(outcomes: list[tuple[Job, Outcome]]) -> list[tuple[str, object]]:
    return [(job.track_id, done.decoded.facts() if done.decoded else done.reason) for job, done in outcomes]


def test_order_and_content_do_not_depend_on_workers(files: list[Job]) -> None:
    one, three = (comparable(list(decode_all(files, workers))) for workers in (1, 3))
    assert one == three
    assert [track for track, _ in one] == [job.track_id for job in files]
    assert one[3] == ("bad", "not audio in a known format: it looks like text")
    assert one[-1] == ("gone", "no such file")


def test_a_killed_worker_loses_nothing(files: list[Job]) -> None:
    outcomes = []
    others = set(active_children())  # a pool that an earlier test of this process left
    for job, outcome in decode_all(files * 2, workers=2):
        if not outcomes:
            os.kill(next(child for child in active_children() if child not in others).pid or 0, signal.SIGKILL)
        outcomes.append((job, outcome))
    assert [job for job, _ in outcomes] == files * 2
    assert sum(bool(outcome.reason) for _, outcome in outcomes) == 4


def test_a_file_that_crashes_the_decoder_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_attempt", hostile.crash)
    outcomes = list(decode_all([Job("first", Path("a")), Job("second", Path("b"))], workers=2))
    assert [outcome for _, outcome in outcomes] == [Outcome(reason="the decoder crashed on it")] * 2


@pytest.mark.slow
def test_a_decoder_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_attempt", hostile.hang)
    monkeypatch.setattr(batch, "SECONDS_AT_LEAST", 6.0)
    begin = time.monotonic()
    outcomes = list(decode_all([Job(name, Path(name)) for name in ("a", "hangs", "b")], workers=1))
    assert time.monotonic() - begin < 600, "as long as it would have slept"
    reasons = [outcome.reason for _, outcome in outcomes]
    assert reasons == ["not decoded", "the decoder hung: it was stopped after 6 s", "not decoded"]
    assert outcomes[1][1].source is None  # so that it is tried again


def test_a_large_file_has_more_time(tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as file:
        file.truncate(300_000_000)
    assert batch._patience(Job("large", tmp_path / "large")) == 120 + 600
    assert batch._patience(Job("nowhere", tmp_path / "nowhere")) == 120


def test_any_exception_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        raise MemoryError("too much")

    monkeypatch.setattr(batch, "decode", fail)
    (tmp_path / "a.wav").write_bytes(b"content")
    assert batch._attempt(Job("track", tmp_path / "a.wav")).reason == "could not be decoded (MemoryError: too much)"


def test_known_bytes_are_not_decoded(files: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source.of(files[0].path)
    monkeypatch.setattr(batch, "decode", None)
    assert batch._attempt(Job("known", files[0].path, source.sha256)) == Outcome(source=source)
    assert "could not be decoded" in batch._attempt(Job("other", files[0].path, "another")).reason


def test_files_are_taken_as_they_are_needed(files: list[Job]) -> None:
    """Only a few tracks per worker are under way, so a million files do not fill the memory."""
    taken = 0
    others = set(active_children())

    def watched() -> object:
        nonlocal taken
        for entry in files * 4:
            taken += 1
            yield entry

    outcomes = decode_all(watched(), workers=2)  # type: ignore[arg-type]
    next(outcomes)
    assert taken <= 4
    outcomes.close()  # type: ignore[attr-defined]
    assert set(active_children()) <= others
    assert np.iterable(outcomes)


@pytest.mark.slow
def test_two_hours_take_less_than_half_a_gigabyte(tmp_path: Path) -> None:
    """Of the worker: the result grows in place and travels to the parent without copies. It is 230 MB."""
    path, size = tmp_path / "long.wav", 7199 * 8000 * 2
    soundfile.write(path, np.zeros(8), 8000)
    header = bytearray(path.read_bytes()[:44])
    header[40:44] = size.to_bytes(4, "little")
    path.write_bytes(header)
    with open(path, "r+b") as file:
        file.truncate(44 + size)  # a hole: takes no space
    said = subprocess.run([sys.executable, "-c", MEASURE, path], check=True, capture_output=True, text=True).stdout
    samples, megabytes = map(int, said.split())
    assert samples == 7199 * 16000
    assert megabytes < 500
