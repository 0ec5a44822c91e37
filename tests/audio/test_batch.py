"""The pool: the same results in the same order for any number of workers, whatever a file does to a worker."""

import os
import signal
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tagscale.audio import batch
from tagscale.audio.batch import Outcome, decode_all
from user_folder import tone


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    """Nine tracks of very different length, and two that cannot be decoded."""
    folder = tmp_path_factory.mktemp("audio")
    found = []
    for i, seconds in enumerate([8, 0.1, 4, 0.1, 0.1, 6, 0.1, 2, 0.1]):
        soundfile.write(folder / f"{i}.wav", tone(seconds, 44100, 300 + i), 44100)
        found.append((f"track{i}", folder / f"{i}.wav"))
    (folder / "text.wav").write_text("no audio")
    return [*found[:3], ("bad", folder / "text.wav"), *found[3:], ("gone", folder / "nowhere.wav")]


def comparable(outcomes: list[tuple[str, Outcome]]) -> list[tuple[str, object]]:
    return [(track, outcome if isinstance(outcome, str) else outcome.facts()) for track, outcome in outcomes]


def test_order_and_content_do_not_depend_on_workers(files: list[tuple[str, Path]]) -> None:
    one, three = (comparable(list(decode_all(files, workers))) for workers in (1, 3))
    assert one == three
    assert [track for track, _ in one] == [track for track, _ in files]
    assert one[3] == ("bad", "not audio in a known format (Format not recognised)")
    assert one[-1] == ("gone", "no such file")


def test_a_killed_worker_loses_nothing(files: list[tuple[str, Path]]) -> None:
    outcomes = []
    for track, outcome in decode_all(files * 2, workers=2):
        if not outcomes:
            os.kill(active_children()[0].pid or 0, signal.SIGKILL)
        outcomes.append((track, outcome))
    assert [track for track, _ in outcomes] == [track for track, _ in files * 2]
    assert sum(isinstance(outcome, str) for _, outcome in outcomes) == 4


def test_a_file_that_crashes_the_decoder_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_attempt", os._exit)  # ends the worker, as a fault in a C library would
    crashing = [("first", 7), ("second", 8)]
    outcomes = list(decode_all(crashing, workers=2))  # type: ignore[arg-type]
    assert outcomes == [("first", "the decoder crashed on it"), ("second", "the decoder crashed on it")]


def test_any_exception_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        raise MemoryError("too much")

    monkeypatch.setattr(batch, "decode", fail)
    assert batch._attempt(tmp_path) == "could not be decoded (MemoryError: too much)"


def test_files_are_taken_as_they_are_needed(files: list[tuple[str, Path]]) -> None:
    """Only a few tracks per worker are under way, so a million files do not fill the memory."""
    taken = 0

    def watched() -> object:
        nonlocal taken
        for entry in files * 4:
            taken += 1
            yield entry

    outcomes = decode_all(watched(), workers=2)  # type: ignore[arg-type]
    next(outcomes)
    assert taken <= 4
    outcomes.close()  # type: ignore[attr-defined]
    assert np.iterable(outcomes)
