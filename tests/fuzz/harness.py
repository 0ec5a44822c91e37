"""Cases run one after another in processes that may die, hang or run out of memory, and the table of how they ended.

A case is a kind and a number, `audio:1234`; the number alone decides what it does. Two processes take the cases in
turn; one that dies or hangs is replaced, and the case that it was busy with counts.
"""

import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RIGHT, MESSAGE = "right result", "true message"
TRACEBACK, ACCEPTED, CRASH, HANG = "traceback", "wrong acceptance", "crash", "hang"
MEMORY, BLOCKED = "memory over bound", "blocked project"
GOOD, BAD = (RIGHT, MESSAGE), (TRACEBACK, ACCEPTED, CRASH, HANG, MEMORY, BLOCKED)
ROOM = 4 << 30  # bytes that a case may take before the system refuses more: a bound for the machine, not the verdict


@dataclass(frozen=True)
class Verdict:
    """How a case ended: one of GOOD or BAD, and what was seen."""

    outcome: str
    detail: str = ""


@dataclass(frozen=True)
class Kind:
    """A kind of cases.

    judge: runs the case of a number in an empty folder, and judges it.
    seconds, megabytes: bounds of one case.
    lives: cases of one process, which ends after a bad one as well.
    """

    name: str
    cases: int
    judge: Callable[[int, Path], Verdict]
    seconds: float = 30.0
    megabytes: int = 500
    lives: int = 200


@dataclass
class Report:
    """Outcomes by kind, and the bad cases."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    bad: list[tuple[str, Verdict]] = field(default_factory=list)

    def add(self, kind: str, number: int, verdict: Verdict) -> None:
        self.counts.setdefault(kind, Counter())[verdict.outcome] += 1
        if verdict.outcome in BAD:
            self.bad.append((f"{kind}:{number}", verdict))

    def table(self) -> str:
        """Kind x outcome, with the sums."""
        columns = ("cases", *GOOD, *BAD)
        width = max(map(len, [*self.counts, "kind"]))
        lines = [" ".join([f"{'kind':<{width}}", *(f"{column:>{len(column)}}" for column in columns)])]
        sums: Counter[str] = sum(self.counts.values(), Counter())
        for name, counts in [*self.counts.items(), ("all", sums)]:
            cells = [counts.total(), *(counts[outcome] for outcome in (*GOOD, *BAD))]
            numbers = (f"{cell:>{len(column)}}" for cell, column in zip(cells, columns, strict=True))
            lines.append(" ".join([f"{name:<{width}}", *numbers]))
        return "\n".join(lines)


def random_of(kind: str, number: int) -> random.Random:
    """The generator of a case; the same on every machine."""
    return random.Random(f"{kind}:{number}")


def run(kinds: Iterable[Kind], folder: Path, workers: int = 2, say: Callable[[str], None] = print) -> Report:
    """Run all cases of the kinds, kind by kind."""
    report = Report()
    for kind in kinds:
        begin = time.monotonic()
        for number, verdict in outcomes(kind, range(kind.cases), folder, workers):
            report.add(kind.name, number, verdict)
            if verdict.outcome in BAD:
                say(f"{kind.name}:{number}: {verdict.outcome}: {verdict.detail}")
        say(f"{kind.name}: {kind.cases} cases in {time.monotonic() - begin:.0f} s")
    return report


def outcomes(kind: Kind, numbers: Iterable[int], folder: Path, workers: int) -> Iterator[tuple[int, Verdict]]:
    """Number and verdict of each case, in the order in which they end."""
    waiting = list(numbers)[::-1]
    crew: list[_Worker] = []
    try:
        while waiting or crew:
            while waiting and len(crew) < workers:
                crew.append(_Worker(kind, folder))
            for worker in crew:
                if worker.number is None and waiting and not worker.spent:
                    worker.begin(waiting.pop())
            yield from _advance(crew)
            for worker in [worker for worker in crew if worker.spent or (worker.number is None and not waiting)]:
                worker.stop()
                crew.remove(worker)
    finally:
        for worker in crew:
            worker.stop()


def _advance(crew: list["_Worker"]) -> Iterator[tuple[int, Verdict]]:
    """Wait for an end, a death or a deadline of any worker that is busy."""
    busy = [worker for worker in crew if worker.number is not None]
    if not busy:
        return
    limit = max(min(worker.deadline for worker in busy) - time.monotonic(), 0)
    ready, _, _ = select.select([worker.answers for worker in busy], [], [], limit)
    for worker in busy:
        number = worker.number
        assert number is not None
        if worker.answers in ready:
            yield number, worker.receive()
        elif time.monotonic() > worker.deadline:
            worker.stop()
            yield number, Verdict(HANG, f"no end after {worker.kind.seconds:.0f} s")


class _Worker:
    """A forked process, leader of a group of its own, that runs the cases it is sent."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind, self.deadline, self.gone, self.begun, self.bad = kind, 0.0, False, 0, False
        self.number: int | None = None
        theirs, self.orders = os.pipe()
        self.answers, mine = os.pipe()
        sys.stdout.flush()
        self.process = os.fork()
        if self.process == 0:
            os.close(self.orders)
            os.close(self.answers)
            os.setpgid(0, 0)
            _serve(kind, folder, theirs, mine)
            os._exit(0)
        with suppress(OSError):
            os.setpgid(self.process, self.process)
        os.close(theirs)
        os.close(mine)

    @property
    def spent(self) -> bool:
        """Whether it takes no further case."""
        return self.gone or (self.number is None and (self.begun >= self.kind.lives or self.bad))

    def begin(self, number: int) -> None:
        self.begun, self.number, self.deadline = self.begun + 1, number, time.monotonic() + self.kind.seconds
        with suppress(OSError):  # the process has died: `receive` meets its end
            os.write(self.orders, f"{number}\n".encode())

    def receive(self) -> Verdict:
        """The verdict, or how the process died."""
        number, self.number = self.number, None
        line = b""
        while not line.endswith(b"\n"):
            block = os.read(self.answers, 1 << 16)
            if not block:
                self.gone = True
                _, status = os.waitpid(self.process, 0)
                self.process = 0
                code = os.waitstatus_to_exitcode(status)
                how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
                return Verdict(CRASH, f"the process died: {how} (case {number})")
            line += block
        verdict = Verdict(*json.loads(line))
        self.bad = verdict.outcome in BAD
        return verdict

    def stop(self) -> None:
        """End the process and all that it started."""
        if self.process:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
            self.process = 0
        if not self.gone or self.orders >= 0:
            for end in (self.orders, self.answers):
                with suppress(OSError):
                    os.close(end)
            self.orders = -1
        self.gone = True


def _serve(kind: Kind, folder: Path, orders: int, answers: int) -> None:
    """What a worker's process does: one case after another, each in an empty folder."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (status("VmData") + ROOM, hard))
    with os.fdopen(orders) as lines:
        for line in lines:
            place = folder / f"case-{os.getpid()}-{line.strip()}"
            place.mkdir(parents=True)
            verdict = attempt(kind, int(line), place)
            os.chdir(folder)
            shutil.rmtree(place, ignore_errors=True)
            os.write(answers, (json.dumps([verdict.outcome, verdict.detail[:3000]]) + "\n").encode())


def attempt(kind: Kind, number: int, folder: Path) -> Verdict:
    """Run one case in this process, with its memory measured."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    before = status("VmRSS")
    try:
        verdict = kind.judge(number, folder)
    except MemoryError:
        return Verdict(MEMORY, "MemoryError")
    except Exception:
        return Verdict(TRACEBACK, traceback.format_exc())
    taken = (status("VmHWM") - before) >> 20
    if verdict.outcome in GOOD and taken > kind.megabytes:
        return Verdict(MEMORY, f"{taken} MB taken, expected at most {kind.megabytes}; else: {verdict.detail}")
    return verdict


def status(key: str) -> int:
    """A size of this process in bytes, as /proc/self/status states it; 0 where there is none."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) << 10
    return 0


def share_of(kinds: list[Kind], share: float) -> list[Kind]:
    """The same kinds with fewer cases, at least one of each."""
    return [Kind(**vars(kind) | {"cases": max(round(kind.cases * share), 1)}) for kind in kinds]


def dumped(value: Any) -> str:
    """A value as one line of JSON with sorted keys, for comparisons."""
    return json.dumps(value, sort_keys=True, default=str)
