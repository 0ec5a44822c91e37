"""Descriptors of many tracks at once, by processes that one bad track can neither stop nor take with it."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait

import numpy as np
from threadpoolctl import threadpool_limits

from tagscale.decoding.worker import Worker
from tagscale.descriptors.describe import describe_pieces, names
from tagscale.store.read import Store

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
                worker.task, outcome = None, worker.answer()
                if outcome is not None:
                    yield outcome
                elif attempt < ATTEMPTS:
                    todo.append((track, attempt + 1))
                else:
                    yield Described(track, reason="its process was killed twice (too little memory?)")
    finally:
        for worker in crew:
            worker.stop()


class _Worker(Worker):
    """A process that describes one track after another."""

    def __init__(self, store: Store) -> None:
        super().__init__(_one_thread, _described, store)
        self.task: tuple[str, int] | None = None  # track, which attempt

    def begin(self, track: str, attempt: int) -> None:
        self.task = track, attempt
        self.ask(track)


def _one_thread() -> None:
    """The processes share out the cores; threads of their own would only wait for each other."""
    threadpool_limits(1)


def _described(store: Store, track: str) -> Described:
    try:
        found = describe_pieces(lambda start, count: store.read(track, start, count), store.samples(track))
        values = np.array([found[name] for name in names()], np.float32)
    except Exception as error:  # one track never stops the others
        return Described(track, reason=f"{type(error).__name__}: {error}")
    bad = [name for name, fine in zip(names(), np.isfinite(values), strict=True) if not fine]
    return Described(track, reason=f"not finite: {', '.join(bad[:3])}") if bad else Described(track, values)
