"""Reading ahead: in order, bounded, and over when the caller or the source is."""

import threading
import time
from collections.abc import Iterator

import pytest

from tagscale.runtime.ahead import Ahead


def test_the_reader_waits_where_what_waits_is_heavy() -> None:
    begun: list[int] = []

    def source() -> Iterator[int]:
        for number in range(6):
            begun.append(number)
            yield number

    with Ahead(source(), weight=lambda _: 1, most=2) as ahead:
        deadline = time.monotonic() + 60
        while len(begun) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert begun == [0, 1]
        taken = []
        while batch := ahead.take(most=4, seconds=1):
            taken += batch
    assert taken == list(range(6))


def test_what_the_source_raises_comes_after_its_items() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("no more")

    with Ahead(source(), weight=lambda _: 1, most=9) as ahead:
        assert ahead.take(most=9, seconds=1) == [1]
        with pytest.raises(OSError, match="no more"):
            ahead.take(most=9, seconds=1)


def test_the_source_is_closed_when_the_caller_leaves() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with Ahead(source(), weight=lambda _: 1, most=1) as ahead:
        assert ahead.take(most=1, seconds=0) == [1]
    assert closed.wait(60)
