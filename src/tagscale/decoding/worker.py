"""A process that answers one question after another, and whose death is an answer too."""

import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any


class Worker:
    """A process that is started when it is first asked, and again after it died or was stopped.

    It has a pipe of its own to this process, and ends when that closes: also when this process is killed.

    Args:
        prepare: what the process calls once, before its first question; both functions must be importable
        answer: what it calls with each question; neither is to raise
        given: first arguments of `answer`
    """

    def __init__(self, prepare: Callable[[], Any], answer: Callable[..., Any], *given: Any) -> None:
        self.body = prepare, answer, given
        self.pipe: Connection | None = None  # readable when there is an answer, or when the process died

    def ask(self, *question: Any) -> None:
        """Send what `answer` is to be called with, after what is given."""
        if self.pipe is None:
            context = get_context("spawn")  # a fork of a process with threads (torch, Great Expectations) can hang
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=_work, args=(theirs, *self.body), daemon=True)
            self.process.start()
            theirs.close()
        with suppress(OSError):  # it has just died: `answer` finds the pipe closed
            self.pipe.send(question)

    def answer(self) -> Any:
        """The answer to the last question; None where the process died over it."""
        assert self.pipe is not None
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.stop()
            return None

    def stop(self) -> None:
        """End the process, whatever it does."""
        if self.pipe is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.pipe = None


def _work(pipe: Connection, prepare: Callable[[], Any], answer: Callable[..., Any], given: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C the parent knows, and stops this process
    prepare()
    with suppress(EOFError, OSError):  # the pipe's other end is closed, or was killed: there is nobody left to tell
        while True:
            pipe.send(answer(*given, *pipe.recv()))
