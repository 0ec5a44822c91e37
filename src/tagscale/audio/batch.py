"""Many files decoded at once, by a pool of processes that a bad file can neither stop nor reorder."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from tagscale.audio.decode import AudioError, Decoded, decode

Outcome = Decoded | str  # a string is the reason why there is no audio


def decode_all(files: Iterable[tuple[str, Path]], workers: int | None = None) -> Iterator[tuple[str, Outcome]]:
    """Decode (track id, path) pairs in `workers` processes, all cores by default.

    Results come in the order of `files`, so they do not depend on the number of workers, and no more than two
    tracks per worker are in memory. A file that cannot be decoded comes with its reason, even one that crashes the
    decoder: then the file at the head of the queue gets a process of its own, and the pool starts again.
    """
    workers = workers or cores()
    todo = iter(files)
    pool = _pool(workers)
    waiting: deque[tuple[str, Path, Future[Outcome]]] = deque()
    try:
        while True:
            while len(waiting) < 2 * workers and (following := next(todo, None)):
                waiting.append((*following, _submit(pool, following[1])))
            if not waiting:
                return
            track, path, future = waiting.popleft()
            try:
                outcome = future.result()
            except BrokenProcessPool:
                pool.shutdown(cancel_futures=True)
                outcome = _decode_alone(path)
                pool = _pool(workers)
                waiting = deque((other, its_path, _submit(pool, its_path)) for other, its_path, _ in waiting)
            yield track, outcome
    finally:
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _attempt(path: Path) -> Outcome:
    try:
        return decode(path)
    except AudioError as error:
        return error.reason
    except Exception as error:  # one file never stops the batch
        return f"could not be decoded ({type(error).__name__}: {error})"


def _decode_alone(path: Path) -> Outcome:
    with _pool(1) as pool:
        try:
            return pool.submit(_attempt, path).result()
        except BrokenProcessPool:
            return "the decoder crashed on it"


def _submit(pool: ProcessPoolExecutor, path: Path) -> Future[Outcome]:
    try:
        return pool.submit(_attempt, path)
    except BrokenProcessPool as error:
        broken: Future[Outcome] = Future()
        broken.set_exception(error)
        return broken


def _pool(workers: int) -> ProcessPoolExecutor:
    # spawn: a fork of a process with threads (torch, Great Expectations) can hang
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_silence_stderr)


def _silence_stderr() -> None:
    """libsndfile's MP3 decoder writes its notes straight to stderr, across the progress bar."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
