"""A source that a thread reads ahead, as far as a bound allows."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_END: Any = object()  # of a source


class Ahead(AbstractContextManager[Any], Generic[T]):
    """Items of a source, read by a thread while the caller works on earlier ones.

    The thread waits while the items that nobody has taken weigh `most` or more; one item of any weight is always read.

    Args:
        weight: of an item

    >>> with Ahead(range(5), weight=lambda number: number, most=4) as ahead:
    ...     ahead.take(most=3, seconds=1), ahead.take(most=3, seconds=1), ahead.take(most=3, seconds=1)
    ([0, 1, 2], [3], [4])
    """

    def __init__(self, source: Iterable[T], weight: Callable[[T], float], most: float) -> None:
        self.source, self.weight, self.most = source, weight, most
        self.items = deque[T]()
        self.state = threading.Condition()
        self.ended = self.stopped = False
        self.error: BaseException | None = None
        threading.Thread(target=self._read, daemon=True, name="tagscale-ahead").start()

    def take(self, most: float, seconds: float) -> list[T]:
        """The next items, of the weight `most` together or a little more; [] at the end of the source.

        Waits for the first one as long as it takes, and for the others `seconds` altogether.

        Raises:
            BaseException: whatever the source raised, after its last item.
        """
        taken, weight, deadline = list[T](), 0.0, float("inf")
        with self.state:
            while weight < most:
                patience = deadline - time.monotonic()
                if not self.items and not self.ended and patience > 0:
                    self.state.wait(None if patience == float("inf") else patience)
                    continue
                if not self.items:
                    break
                taken.append(self.items.popleft())
                weight += self.weight(taken[-1])
                deadline = min(deadline, time.monotonic() + seconds)
                self.state.notify_all()
            if not taken and self.error:
                raise self.error
        return taken

    def __exit__(self, *_: object) -> None:
        with self.state:
            self.stopped = True
            self.state.notify_all()

    def _has_room(self) -> bool:
        """Wait until another item may be read; False once the consumer has ended."""
        with self.state:
            while not self.stopped and self.items and sum(map(self.weight, self.items)) >= self.most:
                self.state.wait()
            return not self.stopped

    def _read(self) -> None:
        source: Any = iter(self.source)
        try:
            while self._has_room() and (item := next(source, _END)) is not _END:
                with self.state:
                    self.items.append(item)
                    self.state.notify_all()
        except BaseException as error:  # the caller's thread raises it
            self.error = error
        finally:
            if close := getattr(source, "close", None):  # a generator's processes end with it
                close()
            with self.state:
                self.ended = True
                self.state.notify_all()
