"""Descriptors of many tracks at once, by processes that one bad track can neither stop nor take with it."""

import signal
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait

import numpy as np
from threadpoolctl import threadpool_limits

from tagscale.audio.descriptors import describe_pieces, names
from tagscale.audio.store import Store

ATTEMPTS = 2  # a process may also be killed from outside, for want of memory


@dataclass(frozen=True)
class Described:
    """A track's descriptors, float32 in the order of `names`, or the reason why it has none."""

    track_id: str
    values: np.ndarray | None = None
    reason: str = ""


def describe_all(store: Store, tracks: Iterable[str], workers: int) -> Iterator[Described]:
    """Describe tracks in `workers` processes, in the order in which they are finished.

    A track that raises, that has a descriptor which is not finite, or that ends its process twice comes with the
    reason. The processes end with this one, also when it is killed.
    """
    todo = deque((track, 1) for track in tracks)
    crew = [_Worker(store) for _ in range(min(workers, len(todo)))]
    try:
        while todo or any(worker.task for worker in crew):
            for worker in crew:
                if worker.task is None and todo:
                    worker.begin(*todo.popleft())
            busy = [worker for worker in crew if worker.task]
            ready = wait([worker.pipe for worker in busy if worker.pipe])
            for worker in busy:
                if worker.pipe not in ready:
                    continue
                assert worker.task is not None
                track, attempt = worker.task
                outcome = worker.end()
                if outcome is not None:
                    yield outcome
                elif attempt < ATTEMPTS:
                    todo.append((track, attempt + 1))
                else:
                    yield Described(track, reason="its process was killed twice (too little memory?)")
    finally:
        for worker in crew:
            worker.stop()


class _Worker:
    """A process that describes one track after another; started when first needed, and again after it died."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.task: tuple[str, int] | None = None  # track, which attempt
        self.pipe: Connection | None = None

    def begin(self, track: str, attempt: int) -> None:
        if self.pipe is None:
            context = get_context("spawn")  # a fork of a process with threads can hang
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=_work, args=(theirs, self.store), daemon=True)
            self.process.start()
            theirs.close()
        self.task = track, attempt
        with suppress(OSError):  # it has just died: `end` finds the pipe closed
            self.pipe.send(track)

    def end(self) -> Described | None:
        """What the process answered; None where it died."""
        assert self.pipe is not None
        self.task = None
        try:
            outcome: Described = self.pipe.recv()
        except (EOFError, OSError):
            self.stop()
            return None
        return outcome

    def stop(self) -> None:
        if self.pipe is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.pipe = None


def _work(pipe: Connection, store: Store) -> None:
    """Body of a worker: it ends when the pipe does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C the parent knows, and stops this process
    threadpool_limits(1)  # the processes share out the cores; threads of their own would only wait for each other
    with suppress(EOFError, OSError):  # the pipe's other end is closed, or was killed: there is nobody left to tell
        while True:
            pipe.send(_described(store, pipe.recv()))


def _described(store: Store, track: str) -> Described:
    try:
        found = describe_pieces(lambda start, count: store.read(track, start, count), store.samples(track))
        values = np.array([found[name] for name in names()], np.float32)
    except Exception as error:  # one track never stops the others
        return Described(track, reason=f"{type(error).__name__}: {error}")
    bad = [name for name, fine in zip(names(), np.isfinite(values), strict=True) if not fine]
    return Described(track, reason=f"not finite: {', '.join(bad[:3])}") if bad else Described(track, values)
