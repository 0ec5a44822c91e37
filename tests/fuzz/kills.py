"""Every stage, killed at a change of the file system, and run again: its result is the one of a run left alone.

A forked process runs the stage and counts its own changes as Python announces them (sys.addaudithook): files opened
for writing, folders made, files renamed and removed, and the statements by which SQLite's files change. Before the
change of the case's number it ends itself with SIGKILL.
"""

import ctypes
import os
import shutil
import signal
import sqlite3.dbapi2
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz.harness import ACCEPTED, BLOCKED, RIGHT, TRACEBACK, Kind, Verdict
from fuzz.project import STAGES, command, commands_in, copied, names_in, obey, result, unfinished_runs, working_in

CASES = 300
SLOW = {"compare": 14, "validate": 16}  # figures, Great Expectations
CHANGES = {
    "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.utime",
}  # fmt: skip
WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "COMMIT", "REPLACE")
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl: orphans become children of this process
GOLDEN = 0.6180339887498949  # its multiples spread evenly over 0 to 1, however many there are
PATIENCE = 10.0  # seconds after which what a killed process started must have ended


def watch(at: Callable[[int], None]) -> None:
    """Call `at` with the number of each change that this process is about to make, from now on."""
    count, process, here = 0, os.getpid(), str(Path.cwd())

    def change() -> None:
        nonlocal count
        count += 1
        at(count)

    def statement(text: str) -> None:
        if text.lstrip().upper().startswith(WRITES):
            change()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if os.getpid() != process:
            return
        if event in CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            path = arguments[0]
            path = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
            if path and (not path.startswith("/") or path.startswith(here)):
                change()

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = plain_connect(*arguments, **options)
        connection.set_trace_callback(statement)
        return connection

    plain_connect = sqlite3.dbapi2.connect
    sqlite3.dbapi2.connect = connect
    sys.addaudithook(hook)


def in_child(folder: Path, work: Callable[[], Any]) -> tuple[int, str]:
    """Do something in a forked process in a folder. Returns its exit status, negative for a signal, and its words."""
    words, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(words)
        code, text = 1, ""
        try:
            with working_in(folder):
                code, text = work()
        except BaseException as error:
            code, text = 3, f"{type(error).__name__}: {error}"
        os.write(theirs, text.encode()[:60_000])
        os._exit(code)
    os.close(theirs)
    with os.fdopen(words, "rb") as pipe:
        text = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), text


def run_stage(name: str, at: Callable[[int], None] | None = None) -> tuple[int, str]:
    """Run a stage in the current folder, watched by `at` if that is given."""
    if at:
        watch(at)
    ended = command(*STAGES[name].arguments)
    return ended.code, ended.message


def starting(project: Path, place: Path, stage: str, fresh: bool) -> None:
    """A copy of the project before the stage ran for the first time, or with the result of an earlier time."""
    copied(project, place)
    for output in STAGES[stage].outputs if fresh else ():
        shutil.rmtree(place / output)
    if fresh and stage == "preprocess":
        (place / "data/.store-seen.parquet").unlink()


def left_alone(project: Path, folder: Path, stage: str, fresh: bool) -> tuple[int, dict[str, str], set[str]]:
    """How many changes the stage makes, its result, and the files of the project behind it."""
    place, count = folder / f"alone-{stage}-{fresh}", [0]
    starting(project, place, stage, fresh)

    def work() -> tuple[int, str]:
        code, message = run_stage(stage, lambda number: count.__setitem__(0, number))
        return code, message or str(count[0])

    code, text = in_child(place, work)
    assert code == 0, f"{stage}: {text}"
    outcome = int(text), result(place, STAGES[stage].outputs), names_in(place)
    shutil.rmtree(place)
    return outcome


def reap() -> list[int]:
    """Wait for the orphans of a killed process, which end by themselves. Returns those that had to be killed."""
    deadline, stubborn = time.monotonic() + PATIENCE, list[int]()
    while True:
        try:
            child, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return stubborn
        if child == 0:
            if time.monotonic() > deadline:
                for process in _children():
                    stubborn.append(process)
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.02)


def _children() -> list[int]:
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    return [int(word) for word in children.read_text().split()] if children.exists() else []


def judge(
    project: Path,
    stage: str,
    expected: list[tuple[int, dict[str, str], set[str]]],
    cases: int,
    number: int,
    place: Path,
) -> Verdict:
    """Kill the stage of a case, run it again, and compare."""
    fresh = number % 2 == 0
    changes, outcome, names = expected[not fresh]
    at = 1 + int(changes * (number * GOLDEN % 1))
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    starting(project, place, stage, fresh)
    label = f"killed before change {at} of {changes}{'' if fresh else ', over an earlier result'}"
    in_child(
        place, lambda: run_stage(stage, lambda change: os.kill(os.getpid(), signal.SIGKILL) if change == at else None)
    )
    if stubborn := reap():
        return Verdict(BLOCKED, f"{label}: {len(stubborn)} processes did not end with it")
    code, text = in_child(place, lambda: run_stage(stage))
    for said in commands_in(text) if code == 1 else ():
        in_child(place, lambda said=said: (obey(said, project, place).code, ""))
        code, text = in_child(place, lambda: run_stage(stage))
        if code == 0:
            break
    if code == 3:
        return Verdict(TRACEBACK, f"{label}: {text}")
    if code:
        return Verdict(BLOCKED, f"{label}: exit status {code}: {text}")
    found = result(place, STAGES[stage].outputs)
    if found != outcome:
        other = sorted(name for name in outcome.keys() | found.keys() if outcome.get(name) != found.get(name))
        return Verdict(ACCEPTED, f"{label}: other content of {', '.join(other)}")
    if left := sorted(names_in(place) ^ names):
        return Verdict(BLOCKED, f"{label}: left behind or missing: {', '.join(left[:5])}")
    if running := unfinished_runs(place):
        return Verdict(BLOCKED, f"{label}: not ended in MLflow: {', '.join(running)}")
    return Verdict(RIGHT, label)


def kinds(project: Path, folder: Path) -> list[Kind]:
    made = []
    for stage in STAGES:
        cases = SLOW.get(stage) or (CASES - sum(SLOW.values())) // (len(STAGES) - len(SLOW))
        expected = [left_alone(project, folder, stage, fresh) for fresh in (True, False)]
        made.append(_kind(project, stage, expected, cases))
    return made


def _kind(project: Path, stage: str, expected: list[tuple[int, dict[str, str], set[str]]], cases: int) -> Kind:
    def judging(number: int, place: Path) -> Verdict:
        return judge(project, stage, expected, cases, number, place)

    return Kind(f"kill {stage}", cases, judging, 120, 2000, lives=1)
