"""The lock between processes: one holder, named; none left by a process that was killed."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tagscale.runtime import lease
from tagscale.runtime import lock as locks
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


HOLD_LEASE = (
    "import errno, fcntl, sys\n"
    "def refuse(*_): raise OSError(errno.ENOLCK, 'No locks available')\n"
    "fcntl.flock = refuse\n"
    "from tagscale.runtime import lease\n"
    "lease.RENEWED_SECONDS = 0.05\n" + HOLD
)


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A file system that refuses locks, with the error of a parameter or that of NFS without its lock service."""
    number = getattr(request, "param", errno.ENOLCK)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr(lease, "RENEWED_SECONDS", 0.05)
    monkeypatch.setattr(lease, "ABANDONED_SECONDS", 1.0)
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.02)


@pytest.mark.parametrize("no_locks", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL], indirect=True)
def test_a_file_system_without_locks(tmp_path: Path, no_locks: None) -> None:
    lock = tmp_path / "lock"
    with exclusive(lock, BUSY), pytest.raises(TagscaleError, match=rf"process {os.getpid()} on "):
        exclusive(lock, BUSY).__enter__()
    with exclusive(lock, BUSY):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["lock"], "leases are given back"


def test_another_error_of_a_lock_is_none_of_these(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("fcntl.flock", broken)
    with pytest.raises(OSError, match="Input/output error"):
        exclusive(tmp_path / "lock", BUSY).__enter__()


def test_a_lease_is_renewed_while_its_holder_lives_and_free_after_it_was_killed(tmp_path: Path, no_locks: None) -> None:
    lock = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD_LEASE, lock], stdin=-1, stdout=-1) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        time.sleep(1.5)  # longer than an abandoned lease is kept
        with pytest.raises(TagscaleError, match=rf"process {holder.pid} on "):
            exclusive(lock, BUSY).__enter__()
        holder.kill()
    begin = time.monotonic()
    with exclusive(lock, BUSY):
        assert time.monotonic() - begin >= 1.0
        assert not list(tmp_path.glob("*.lease.*"))


def test_one_of_many_takes_an_abandoned_lease(tmp_path: Path, no_locks: None) -> None:
    (tmp_path / "ledger.lease").write_text("somebody who is gone")
    (tmp_path / "ledger").write_text("0")
    inside: list[int] = []

    def count() -> None:
        with in_turn(tmp_path / "ledger") as file:
            inside.append(1)
            assert len(inside) == 1
            seen = int(os.pread(file, 10, 0))
            time.sleep(0.05)
            os.pwrite(file, b"%d" % (seen + 1), 0)
            inside.pop()

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "ledger").read_text() == "6"


@pytest.mark.parametrize(
    ("options", "local"),
    [
        ("rw,vers=3,nolock,local_lock=all", True),
        ("rw,vers=4.1,local_lock=none", False),
        ("rw,nobrl", True),
        ("rw", False),
    ],
)
def test_locks_of_one_machine_alone_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, local: bool
) -> None:
    """They succeed, and another machine gets the same lock."""
    mounts = f"overlay / overlay rw 0 0\nserver:/x {tmp_path} nfs {options} 0 0\nproc /proc proc rw 0 0\n"
    (tmp_path / "mounts").write_text(mounts)
    monkeypatch.setattr(locks, "MOUNTS", tmp_path / "mounts")
    with exclusive(tmp_path / "folder" / "lock", BUSY):
        assert (tmp_path / "folder" / "lock.lease").exists() == local
    assert ("leases, since the mount option" in locks.description(tmp_path)) == local


def test_which_locks_a_folder_has(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert locks.description(tmp_path) == "of the file system"
    request.getfixturevalue("no_locks")
    assert locks.description(tmp_path).startswith(
        "leases, since the file system has no locks; what a killed process held"
    )
    assert not list(tmp_path.iterdir())
