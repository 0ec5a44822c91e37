"""Commands of tagscale, DVC and MLflow, tasks of kfp, pytest's and commands' workers, without their seconds of imports.

One server imports everything, once, and forks for each. A test that is about many commands one after another, as
`dvc repro` starts them, pays little for a process by this. The command has its own process, folder, environment, and
standard streams, and ends with its own exit status. `programs` is a folder for the front of PATH; its `tagscale`,
`dvc`, `mlflow` and `python3` are small clients of the server. A command ends with its client, even one that is killed.

Should the server have ended early, the programs are the plain ones, and a warning at the end says what it said.

What a fresh process does at its start is not tested by this: tests/containers and test_wheel.py start stages afresh,
runtime/test_processes.py workers.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

HERE = Path(__file__).parent
PLACE = "TAGSCALE_WARM_PROGRAMS"  # the folder of programs of a server that another process has begun


@contextmanager
def serving() -> Iterator[Path]:
    """Serve inside the block, and give the folder of programs. A server that another process has begun is taken.

    The module server.py has the name that would come first to mind: once pytest imports it, the package has that name.
    """
    if PLACE in os.environ:
        yield Path(os.environ[PLACE])
        return
    # a folder of its own: pytest's names are too long for a socket's address
    with tempfile.TemporaryDirectory(prefix="warm-") as place:
        folder = Path(place)
        process = _start(folder)
        os.environ[PLACE] = str(folder / "programs")
        try:
            yield folder / "programs"
        finally:
            del os.environ[PLACE]
            if process.poll() is not None:
                text = (folder / "said").read_text()[-2000:]
                warnings.warn(f"the server of commands ended early with {process.returncode}: {text}", stacklevel=1)
            assert process.stdin is not None
            process.stdin.close()  # at which the server ends
            process.wait()


def fork(programs: Path, code: str, streams: list[int]) -> tuple[int, TextIO]:
    """Let the server fork a process that runs this code with these streams.

    Returns:
        the process's number, and where its exit status can be read in the end
    """
    request = {"program": "python3", "module": "", "code": code, "words": [], "files": [0, 1, 2]}
    content = json.dumps(request | {"folder": str(Path.cwd()), "environment": dict(os.environ)}).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(programs.parent / "server"))
        socket.send_fds(connection, [b"%08d" % len(content)], streams)
        connection.sendall(content)
        answers = connection.makefile()
    return int(answers.readline()), answers


def _start(folder: Path) -> "subprocess.Popen[bytes]":
    """Write the programs, and start their server."""
    programs = folder / "programs"
    programs.mkdir()
    client = (
        (HERE / "client.py").read_text().replace("ADDRESS", str(folder / "server")).replace("PYTHON", sys.executable)
    )
    for name in ("tagscale", "dvc", "mlflow", "python3"):
        (programs / name).write_text(f"#!{sys.executable} -IS\n{client}")
        (programs / name).chmod(0o755)
    words = [sys.executable, str(HERE / "server.py"), str(folder)]
    with open(folder / "said", "wb") as errors:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=folder)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n", (folder / "said").read_text()
    process.stdout.close()
    return process
