"""Commands of tagscale and DVC, and tasks of kfp, without the seconds of imports with which each of them would begin.

A test that is about many commands one after another, as `dvc repro` starts them, pays little for a process by this: one
server imports everything, once, and forks for each command. The command has its own process, folder, environment, and
standard streams, and ends with its own exit status. `programs` is a folder for the front of PATH; its `tagscale`,
`dvc` and `python3` are small clients of the server.

All workers of pytest share a server. Should it have ended, the programs are the plain ones, and a warning at the end of
the tests says what it said.

What a fresh process does at its start is not tested by this: tests/containers and test_wheel.py start stages afresh.
"""

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagscale.runtime.lock import in_turn

HERE = Path(__file__).parent


@contextmanager
def serving(folder: Path, lock: Path) -> Iterator[Path]:
    """Serve inside the block; a server that another process started in this folder is taken.

    It lives as long as any process holds the pipe `users` open, and removes the folder at its end.

    The module server.py has the name that would come first to mind: once pytest imports it, the package has that name.

    Args:
        folder: not there, or made by this; of a short name, as addresses of sockets must be
        lock: file of the lock under which the server starts and ends
    Yields:
        the folder of programs
    """
    process = None
    with in_turn(lock):
        if not (folder / "users").exists():
            process = _start(folder, lock)
        users = os.open(folder / "users", os.O_RDWR)  # to read, too: else it fails where the server was killed
    try:
        yield folder / "programs"
    finally:
        if process and process.poll() is not None:
            text = (folder / "said").read_text()[-2000:]
            warnings.warn(f"the server of commands ended early with {process.returncode}: {text}", stacklevel=1)
            shutil.rmtree(folder)
        os.close(users)


def _start(folder: Path, lock: Path) -> "subprocess.Popen[bytes]":
    """Write the programs, and start their server."""
    programs, said = folder / "programs", folder / "said"
    programs.mkdir(parents=True)
    client = (
        (HERE / "client.py").read_text().replace("ADDRESS", str(folder / "server")).replace("PYTHON", sys.executable)
    )
    for name in ("tagscale", "dvc", "python3"):
        (programs / name).write_text(f"#!{sys.executable} -IS\n{client}")
        (programs / name).chmod(0o755)
    os.mkfifo(folder / "users")
    words = [sys.executable, str(HERE / "server.py"), str(folder), str(lock)]
    with open(said, "wb") as errors:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, cwd=folder)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n", said.read_text()
    process.stdout.close()
    return process
