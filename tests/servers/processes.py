"""Servers as processes of their own: a free port, waiting until they answer, and ending the whole group."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Process:
    """A server's process with its children; it can be started again.

    Args:
        answers: whether it is ready; may raise OSError instead of saying no
        user: whose process it is, where that is not this one's
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        answers: Callable[[], bool],
        user: str | None = None,
    ) -> None:
        self.command, self.environment, self.folder, self.answers, self.user = (
            command,
            environment,
            folder,
            answers,
            user,
        )
        self.log = folder / "log.txt"
        self.running: subprocess.Popen | None = None

    def start(self, seconds: float = 120) -> None:
        """Start, and return when it answers."""
        self.launch()
        self.wait(seconds)

    def launch(self) -> None:
        identity = {"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}
        with open(self.log, "a") as log:
            self.running = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **identity,
            )

    def wait(self, seconds: float = 120) -> None:
        assert self.running
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.running.poll() is None, f"{self.command[0]} ended:\n{self.log.read_text()[-5000:]}"
            with suppress(OSError):
                if self.answers():
                    return
            time.sleep(0.05)
        raise AssertionError(f"{self.command[0]}: no answer in {seconds} s:\n{self.log.read_text()[-5000:]}")

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the group, as a machine does that loses its power."""
        if self.running is None:
            return
        process, self.running = self.running, None
        _signal(process, how)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)
        _signal(process, signal.SIGKILL)  # children that outlive their parent
        process.wait()


def _signal(process: subprocess.Popen, which: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, which)
