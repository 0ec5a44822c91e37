"""Many files decoded at once, by processes that a bad file can neither stop, nor hold up for ever, nor reorder."""

import hashlib
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from tagscale.decoding.decode import Decoded, decode
from tagscale.decoding.opened import AudioError, MissingDecoder
from tagscale.decoding.worker import Worker
from tagscale.runtime.machine import cores

SECONDS_AT_LEAST = 120.0  # that a file gets before its decoder counts as hanging
BYTES_PER_SECOND = 500_000  # and one more second for each of these: a slow network disk
PER_WORKER = 2  # tracks under way or waiting for an earlier one
ATTEMPTS = 2  # a process may also be killed from outside, for want of memory


@dataclass(frozen=True)
class Source:
    """An audio file as it lies on disk: what tells whether it is still the same."""

    bytes: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Source":
        """Read and hash a file. Raises OSError."""
        with open(path, "rb") as file:
            state = os.fstat(file.fileno())
            return cls(state.st_size, state.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True)
class Job:
    """A file to decode, unless its bytes still have the SHA-256 `known`."""

    track_id: str
    path: Path
    known: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a file: decoded, or rejected with a reason, or neither because its bytes are the known ones.

    source is None where another attempt may end differently: files that could not be read, or that ended or held up
    their decoder.
    """

    decoded: Decoded | None = None
    reason: str = ""
    source: Source | None = None


def decode_all(jobs: Iterable[Job], workers: int | None = None) -> Iterator[tuple[Job, Outcome]]:
    """Decode files in `workers` processes, all cores by default.

    Outcomes come in the order of `jobs`, so they do not depend on the number of workers, and no more than two
    tracks per worker are in memory. A file that cannot be decoded comes with its reason, even one that crashes the
    decoder twice, or that keeps it longer than its size can explain.
    """
    crew = [_Worker() for _ in range(workers or cores())]
    todo = iter(jobs)
    tasks: deque[_Task] = deque()
    try:
        while True:
            while len(tasks) < PER_WORKER * len(crew) and (job := next(todo, None)):
                tasks.append(_Task(job))
            if not tasks:
                return
            if (outcome := tasks[0].outcome) is not None:
                yield tasks.popleft().job, outcome
                continue
            idle = (worker for worker in crew if worker.task is None)
            waiting = (task for task in tasks if task.waits)
            for task, worker in zip(waiting, idle, strict=False):  # tasks first: no worker is drawn in vain
                worker.begin(task)
            _advance([worker for worker in crew if worker.task])
    finally:
        for worker in crew:
            worker.stop()


@dataclass
class _Task:
    job: Job
    outcome: Outcome | None = None
    waits: bool = True
    attempts: int = 0


class _Worker(Worker):
    """A process that decodes one file after another, each in its time."""

    def __init__(self) -> None:
        super().__init__(_silence, _attempt)
        self.task: _Task | None = None
        self.deadline = 0.0

    def begin(self, task: _Task) -> None:
        self.task, task.waits = task, False
        task.attempts += 1
        self.deadline = time.monotonic() + _patience(task.job.path)
        self.ask(task.job.path, task.job.known)

    def end(self, outcome: Outcome | None) -> None:
        """Note the task's outcome; None gives it to another worker."""
        assert self.task is not None
        self.task.outcome, self.task.waits = outcome, outcome is None
        self.task = None


def _advance(busy: list[_Worker]) -> None:
    """Wait until a worker has an outcome, or has died, or is out of time."""
    soonest = min(worker.deadline for worker in busy) - time.monotonic()
    ready = wait([worker.pipe for worker in busy if worker.pipe], max(soonest, 0))
    for worker in busy:
        assert worker.task is not None
        if worker.pipe in ready:
            outcome = worker.answer()
            if outcome is None and worker.task.attempts == ATTEMPTS:
                outcome = Outcome(reason="the decoder crashed on it")
            worker.end(outcome)
        elif time.monotonic() > worker.deadline:
            worker.stop()
            seconds = round(_patience(worker.task.job.path))
            worker.end(Outcome(reason=f"the decoder hung: it was stopped after {seconds} s"))


def _patience(path: Path) -> float:
    """Seconds that a file's decoder is given."""
    try:
        return SECONDS_AT_LEAST + path.stat().st_size / BYTES_PER_SECOND
    except OSError:
        return SECONDS_AT_LEAST


def _silence() -> None:
    """libsndfile's MP3 decoder writes its notes to stderr, across the progress bar."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _attempt(path: Path, known: str) -> Outcome:
    source = None
    try:
        if path.is_file():
            source = Source.of(path)
            if source.sha256 == known:
                return Outcome(source=source)
        return Outcome(decode(path), source=source)
    except MissingDecoder as error:
        return Outcome(reason=error.reason)
    except AudioError as error:
        return Outcome(reason=error.reason, source=source)
    except Exception as error:  # one file never stops the batch
        return Outcome(reason=f"could not be decoded ({type(error).__name__}: {error})")
