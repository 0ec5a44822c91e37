"""Signals that end a process early, and the block of code that answers them."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interrupted(SystemExit):
    """Ctrl-C or SIGTERM. Its first note says what is kept; "" where that is printed already."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)  # the exit status that shells expect


@contextmanager
def answered(answer: Callable[[int], None], *numbers: int) -> Iterator[None]:
    """Call `answer` with the number of each of these signals that comes during the block; then as before.

    Outside the main thread the block runs without it: Python handles signals there alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda which, _: answer(which)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
