"""Things done at once, for tests of what several processes share."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tagscale.runtime.errors import TagscaleError


def at_once(count: int, act: Callable[[int], object]) -> list[object]:
    """What `act` of 0, 1, ... returns, or the TagscaleError that it raises, begun together in as many threads."""
    start = threading.Barrier(count)

    def begin(number: int) -> object:
        start.wait()
        try:
            return act(number)
        except TagscaleError as error:
            return error

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(begin, range(count)))
