"""The lock between processes: one holder, named; none left by a process that was killed."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.lock import exclusive, in_turn

BUSY = "shop: {holder} is inside. Wait."
HOLD = (
    "import sys; from pathlib import Path; from tagscale.runtime.lock import exclusive\n"
    "with exclusive(Path(sys.argv[1]), 'busy'): print('held', flush=True); sys.stdin.read()"
)


def test_a_second_holder_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    lock = tmp_path / "folder" / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, lock], stdin=-1, stdout=-1) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(TagscaleError, match=rf"^shop: process {holder.pid} on \S+ is inside\. Wait\.$"):
            exclusive(lock, BUSY).__enter__()
        holder.kill()
    with exclusive(lock, BUSY), pytest.raises(TagscaleError, match=rf"process {os.getpid()} on "):
        exclusive(lock, BUSY).__enter__()
    with exclusive(lock, BUSY):
        pass


def test_a_holder_that_has_not_said_who_it_is(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock", BUSY):
        (tmp_path / "lock").write_text("{")
        with pytest.raises(TagscaleError, match=r"^shop: another process is inside"):
            exclusive(tmp_path / "lock", BUSY).__enter__()


def test_turns_follow_each_other(tmp_path: Path) -> None:
    """Each reads, waits a moment and writes one more: without turns, most would be lost."""

    def count() -> None:
        for _ in range(50):
            with in_turn(tmp_path / "ledger") as file:
                seen = int(os.pread(file, 10, 0) or b"0")
                os.sched_yield()
                os.pwrite(file, b"%d" % (seen + 1), 0)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "ledger").read_text() == "200"
