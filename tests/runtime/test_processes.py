"""Workers that crash, hang, raise or lose their parent: every task has its answer, or the reason why it has none."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import active_children, set_executable, spawn
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest

import tasks
from tagscale.runtime import processes
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.processes import ATTEMPTS, Crew, Lost, answers


@pytest.fixture(autouse=True, scope="module")
def fresh_processes() -> Iterator[None]:
    """As users have them; those of other tests are forked from a warm one."""
    before = spawn.get_executable()
    set_executable(sys.executable)
    yield
    set_executable(before)


def test_answers_come_in_the_order_of_the_tasks() -> None:
    found = list(answers(partial(tasks.square, {3: 0.5}), range(8), workers=3))
    assert found == [(number, number**2) for number in range(8)]


def test_answers_come_as_they_are_ready_where_the_order_does_not_matter() -> None:
    found = list(answers(partial(tasks.square, {0: 2.0}), range(4), workers=2, in_order=False))
    assert found[-1] == (0, 0)
    assert sorted(found) == [(number, number**2) for number in range(4)]


def test_a_task_that_crashes_is_tried_twice_and_takes_no_other_with_it(tmp_path: Path) -> None:
    found = dict(answers(partial(tasks.crash_on, tmp_path, 2, ATTEMPTS), range(5), workers=2))
    assert found == {0: 0, 1: 1, 2: Lost(), 3: 3, 4: 4}
    assert len(list(tmp_path.iterdir())) == ATTEMPTS


def test_a_task_that_crashes_once_has_its_answer(tmp_path: Path) -> None:
    assert dict(answers(partial(tasks.crash_on, tmp_path, 2, 1), range(5), workers=2)) == {n: n for n in range(5)}


@pytest.mark.slow
def test_a_task_that_hangs_is_stopped_and_not_tried_again() -> None:
    begin = time.monotonic()
    limits = {1: 3.0}
    sleep = partial(tasks.square, {1: 600.0})
    found = dict(answers(sleep, range(4), workers=1, seconds=lambda number: limits.get(number, 60.0)))
    assert found == {0: 0, 1: Lost(3.0), 2: 4, 3: 9}
    assert time.monotonic() - begin < 600, "as long as it would have slept"


def test_a_crew_answers_many_threads_and_one_task_costs_no_other(tmp_path: Path) -> None:
    crew = Crew(partial(tasks.crash_on, tmp_path, 2, ATTEMPTS), workers=2)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(crew.ask, range(6))) == [0, 1, Lost(), 3, 4, 5]
    finally:
        crew.stop()


def test_a_crew_gives_a_task_once_where_its_wait_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    early = [False] * 9 + [True]  # taken from the end

    def wait_or_not(pipes: list[Any], limit: float | None) -> list[Any]:
        return [] if early.pop() else wait(pipes, limit)

    crew = Crew(partial(tasks.square, {}), workers=1)
    try:
        monkeypatch.setattr(processes, "wait", wait_or_not)
        assert [crew.ask(number) for number in range(3)] == [0, 1, 4]
    finally:
        crew.stop()


@pytest.mark.slow
def test_a_crew_stops_what_hangs_and_goes_on() -> None:
    crew = Crew(partial(tasks.square, {1: 600.0}), workers=1)
    try:
        assert [crew.ask(number, seconds=60.0 if number != 1 else 3.0) for number in range(3)] == [0, Lost(3.0), 4]
    finally:
        crew.stop()


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_is_raised_here_with_its_place(workers: int) -> None:
    others = set(active_children())
    with pytest.raises(TagscaleError, match=r"^2 is a bad number") as caught:
        list(answers(tasks.refuse_two, range(5), workers))
    assert "in refuse_two" in caught.value.__notes__[0]
    assert set(active_children()) <= others


def test_a_process_that_cannot_be_started_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: BaseProcess) -> None:
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(BaseProcess, "start", start)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        list(answers(partial(tasks.square, {}), range(2), workers=2))


def test_processes_that_end_before_they_begin_are_no_fault_of_a_task() -> None:
    """As those of a script that starts them while it is imported."""
    with pytest.raises(TagscaleError, match="A worker process ended twice before it began"):
        list(answers(str, [1, 2], workers=2, prepare=sys.exit))
    with pytest.raises(TagscaleError, match="__main__"):
        Crew(str, 1, prepare=sys.exit).ask(1)


def test_tasks_are_taken_as_they_are_needed() -> None:
    others, source = set(active_children()), iter(range(1000))
    found = answers(partial(tasks.square, {}), source, workers=2)
    assert next(found) == (0, 0)
    assert next(source) <= 5
    assert len(set(active_children()) - others) <= 2
    found.close()  # type: ignore[attr-defined]
    assert set(active_children()) <= others


def test_no_tasks_need_no_process() -> None:
    others = set(active_children())
    assert list(answers(tasks.refuse_two, [], workers=8)) == []
    assert set(active_children()) <= others


def test_prepare_runs_once_in_each_process() -> None:
    assert dict(answers(tasks.prepared, range(3), workers=1, prepare=tasks.prepare)) == {0: 1, 1: 1, 2: 1}


def test_workers_end_with_a_parent_that_is_killed_even_in_the_middle_of_a_task(tmp_path: Path) -> None:
    program = (
        "import sys; from functools import partial; from pathlib import Path; import tasks\n"
        "from tagscale.runtime.processes import answers\n"
        "if __name__ == '__main__': list(answers(partial(tasks.sleep, Path(sys.argv[1])), range(2), 2))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", program, tmp_path], env=environment)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert len(workers) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while any(map(psutil.pid_exists, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, workers))
