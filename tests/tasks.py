"""What processes do that tests start: they import it from here, and little else."""

import os
import sys
import time
from pathlib import Path

from tagscale.runtime.errors import TagscaleError

calls = 0


def square(pauses: dict[int, float], number: int) -> int:
    """The square of a number, for some after a pause in seconds."""
    time.sleep(pauses.get(number, 0.0))
    return number**2


def crash_on(folder: Path, bad: int, times: int, number: int) -> int:
    """The number; the first so many times `bad` ends the process, as a fault in a C library would."""
    if number == bad and len(list(folder.iterdir())) < times:
        (folder / str(os.getpid())).touch()
        os._exit(9)
    return number


def refuse_two(number: int) -> int:
    if number == 2:
        raise TagscaleError("2 is a bad number")
    return number


def sleep(folder: Path, number: int) -> None:
    """Say who sleeps, and sleep for longer than any test."""
    (folder / str(os.getpid())).touch()
    time.sleep(600)


def prepare() -> None:
    global calls
    calls += 1


def prepared(number: int) -> int:
    """How often `prepare` was called in this process."""
    return calls


def fail_in_the_second() -> None:
    """End the second of two processes that train as one, with status 3."""
    assert os.environ["WORLD_SIZE"] == "2"
    assert os.environ["MASTER_PORT"]
    if os.environ["RANK"] == "1":
        sys.exit(3)
    time.sleep(60)
