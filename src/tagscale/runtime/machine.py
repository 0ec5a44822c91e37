"""What the machine offers."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

QUOTAS = ("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")  # of control groups, version 2 and 1
THREADS = "OMP_NUM_THREADS"
SLEEPING = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1"}  # a song's products need no second thread


def cores(control: Path = Path("/sys/fs/cgroup")) -> int:
    """Processor cores that this process may use; a container or a scheduler may grant fewer than there are.

    Args:
        control: where the container's control group lies
    """
    return max(1, math.ceil(min(_present(), _quota(control))))


def workers_for(seconds: float, worthwhile: float) -> int:
    """Number of worker processes for so much audio: one a core, and no more than have a worthwhile share of it.

    Args:
        seconds: of audio
        worthwhile: seconds of audio that take longer than a process takes to begin

    >>> workers_for(0, 600), workers_for(1199, 600), workers_for(1e9, 600) == cores()
    (1, 1, True)
    """
    return max(1, min(cores(), int(seconds / worthwhile)))


def respect_quota() -> None:
    """Let libraries that count the machine's cores start only as many threads as the container's quota grants.

    To be called before they are imported. What is set stays.
    """
    if cores() < _present():
        os.environ.setdefault(THREADS, str(cores()))


def sleep_while_waiting() -> None:
    """Let libraries' threads sleep while they wait for work; saves half the processor time of a song, and more.

    By default they spin for some milliseconds. PyTorch, NumPy and XGBoost each have threads of their own, so those that
    wait hold up those that work, and other processes.

    To be called before they are imported, or before a process starts that imports them. What is set stays.
    """
    for name, value in SLEEPING.items():
        os.environ.setdefault(name, value)


@contextmanager
def asleep() -> Iterator[None]:
    """`sleep_while_waiting` for libraries that are imported within; afterwards the environment is as it was."""
    unset = SLEEPING.keys() - os.environ.keys()
    sleep_while_waiting()
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)


def _present() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota(control: Path) -> float:
    """Cores that the container's quota grants; infinite where there is none."""
    for files in QUOTAS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            quota, period = " ".join((control / file).read_text() for file in files).split()
            if int(quota) > 0:
                return int(quota) / int(period)
    return math.inf
