"""Many tasks answered by worker processes. A task that crashes or holds up its worker takes no other with it.

The standard library's ProcessPoolExecutor gives up all tasks when one process dies, and cannot stop one that hangs.
Here each worker has a pipe of its own, whose end is the sign of the worker's death.
"""

import math
import os
import pickle
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from tagscale.runtime.errors import TagscaleError

T = TypeVar("T")
R = TypeVar("R")

ATTEMPTS = 2  # the system may also kill a process for want of memory, which another task has used up
ORPHAN_SECONDS = 2.0  # between two looks whether the parent lives
UNBEGUN = (
    "A worker process ended twice before it began; what it printed says why. It imports the script that calls, so a "
    'script does its work below `if __name__ == "__main__":`.'
)
PER_WORKER = 2  # tasks started, or finished and waiting for an earlier one


@dataclass(frozen=True)
class Lost:
    """Why a task has no answer.

    seconds: the limit after which its worker was stopped; None: its worker died over it twice.
    """

    seconds: float | None = None


def answers(
    answer: Callable[[T], R],
    tasks: Iterable[T],
    workers: int,
    *,
    prepare: Callable[[], Any] | None = None,
    seconds: Callable[[T], float] | None = None,
    in_order: bool = True,
) -> Iterator[tuple[T, R | Lost]]:
    """Call `answer(task)` in worker processes; give each task with its answer, or with the reason why it has none.

    Tasks are taken as they are needed: no more than two per worker are under way. A task whose worker dies gets a
    second attempt. The workers end with this generator, and with this process, however it ends.

    Args:
        answer: an importable function, or a `partial` of one
        workers: number of processes, which start when they are first needed
        prepare: what each process calls before its first task; importable as well
        seconds: how long a task may take; None: for ever
        in_order: give the answers in the order of the tasks; False: as they come

    Raises:
        Exception: whatever `answer` raises.
        TagscaleError: processes end before they take a task.
    """
    crew = [_Worker(answer, prepare) for _ in range(workers)]
    source, under_way = iter(tasks), list[_Task]()
    try:
        while True:
            new = islice(source, PER_WORKER * workers - len(under_way))
            under_way += [_Task(content, seconds(content) if seconds else None) for content in new]
            if not under_way:
                return
            candidates = under_way[:1] if in_order else under_way
            if finished := next((task for task in candidates if task.answer), None):
                under_way.remove(finished)
                yield finished.content, finished.answer[0]
                continue
            waiting = (task for task in under_way if task.waits)
            idle = (worker for worker in crew if worker.task is None)
            for task, worker in zip(waiting, idle, strict=False):
                worker.begin(task)
            _advance([worker for worker in crew if worker.task])
    finally:
        for worker in crew:
            worker.stop()


class Crew:
    """Worker processes for tasks that come one by one, from any thread.

    A process starts with its first task. So a crew may be made before the process forks that uses it.

    Args:
        answer, workers, prepare: as `answers` takes them
    """

    def __init__(self, answer: Callable[[Any], Any], workers: int, *, prepare: Callable[[], Any] | None = None) -> None:
        self.workers = [_Worker(answer, prepare) for _ in range(workers)]
        self.idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self.workers:
            self.idle.put(worker)

    def ask(self, task: Any, seconds: float | None = None) -> Any:
        """The answer to one task, or `Lost`; waits for a worker that is idle. Raises as `answers`.

        Args:
            seconds: how long the task may take once it has begun; None: for ever
        """
        worker, asked = self.idle.get(), _Task(task, seconds)
        try:
            while not asked.answer:
                if asked.waits:
                    worker.begin(asked)
                _advance([worker])
            return asked.answer[0]
        finally:
            self.idle.put(worker)

    def stop(self) -> None:
        """End all processes at once, with the jobs that they work on."""
        for worker in self.workers:
            worker.stop()


@dataclass(eq=False)
class _Task:
    content: Any
    seconds: float | None
    waits: bool = True  # for a worker
    attempts: int = 0
    answer: tuple[Any, ...] = ()  # one element when it is there


class _Worker:
    """A process that answers one task after another. It starts with its first task, and again after it ended."""

    def __init__(self, answer: Callable[[Any], Any], prepare: Callable[[], Any] | None) -> None:
        self.body = answer, prepare
        self.pipe: Connection | None = None  # readable when there is an answer, or when the process died
        self.task: _Task | None = None
        self.has_begun, self.deadline = False, math.inf

    def begin(self, task: _Task) -> None:
        """Send a task to the process."""
        if self.pipe is None:
            context = get_context("spawn")  # a fork of a process with threads (torch, Great Expectations) can hang
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=_work, args=(theirs, *self.body), daemon=True)
            with _ctrl_c_blocked():  # which the process inherits: it would print a traceback before `_work` begins
                self.process.start()
            theirs.close()
            self.has_begun = False
        self.task, task.waits, task.attempts = task, False, task.attempts + 1
        self.deadline = _deadline(task)
        with suppress(OSError):  # the process has just died: `receive` meets the closed pipe
            self.pipe.send(task.content)

    def receive(self) -> None:
        """Take the answer from the pipe, or the process's death. Raises what the process raised."""
        assert self.task is not None
        assert self.pipe is not None
        task = self.task
        try:
            if not self.has_begun:  # which is the first that it says
                self.pipe.recv()
                self.has_begun, self.deadline = True, _deadline(task)
                return
            head, buffers = self.pipe.recv()  # as `_send` sends it; arrays are read-only
            answer, error = pickle.loads(head, buffers=[self.pipe.recv_bytes() for _ in range(buffers)])
        except (EOFError, OSError):
            self.stop()
            self.task, task.waits = None, task.attempts < ATTEMPTS
            if not task.waits and not self.has_begun:
                raise TagscaleError(UNBEGUN) from None
            task.answer = () if task.waits else (Lost(),)
            return
        self.task = None
        if error is not None:
            raise error
        task.answer = (answer,)

    def give_up(self) -> None:
        """Stop a process that is out of time."""
        assert self.task is not None
        self.task.answer, self.task = (Lost(self.task.seconds),), None
        self.stop()

    def stop(self) -> None:
        """End the process, whatever it does."""
        if self.pipe is not None:
            if self.process.pid is not None:  # else it could not be started, as without memory
                self.process.kill()
                self.process.join()
            self.pipe.close()
            self.pipe = None


def _deadline(task: _Task) -> float:
    return math.inf if task.seconds is None else time.monotonic() + task.seconds


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Let Ctrl-C wait until the block ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _advance(busy: list[_Worker]) -> None:
    """Wait until a worker has an answer, has died or is out of time."""
    deadline = min(worker.deadline for worker in busy)
    limit = None if deadline == math.inf else max(deadline - time.monotonic(), 0)
    ready = wait([worker.pipe for worker in busy if worker.pipe], limit)
    for worker in busy:
        if worker.pipe in ready:
            worker.receive()
        elif time.monotonic() > worker.deadline:
            worker.give_up()


def _work(pipe: Connection, answer: Callable[[Any], Any], prepare: Callable[[], Any] | None) -> None:
    """What a worker process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and stops this process
    end_with_parent()
    if prepare:
        prepare()
    with suppress(EOFError, OSError):  # the parent closed the pipe
        pipe.send("begun")
        while True:
            task, result, failure = pipe.recv(), None, None
            try:
                result = answer(task)
            except Exception as error:
                error.add_note(traceback.format_exc())
                failure = error
            _send(pipe, (result, failure))
            del task, result, failure  # a large result is not kept beside the next one


def _send(pipe: Connection, answer: Any) -> None:
    """Send an object. The content of its arrays follows as it is: a pickle would hold large ones two more times."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(answer, protocol=5, buffer_callback=buffers.append)
    pipe.send((head, len(buffers)))
    for buffer in buffers:
        pipe.send_bytes(buffer.raw())


def end_with_parent() -> None:
    """End this process at once when its parent is killed, in the middle of a task as well.

    A fork that its parent made later may hold the sign of the parent's death back, so the parent's number is looked at,
    too. In a fork that multiprocessing does not know, this is all that is looked at.
    """
    process, number = parent_process(), os.getppid()
    sentinels = [process.sentinel] if process else []

    def watch() -> None:
        while os.getppid() == number and not wait(sentinels, ORPHAN_SECONDS):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
