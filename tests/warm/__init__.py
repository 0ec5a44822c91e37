"""Commands of tagscale and DVC, and tasks of kfp, without the seconds of imports with which each of them would begin.

A test that is about many commands one after another, as `dvc repro` starts them, pays little for a process by this: one
server imports everything, once, and forks for each command. The command has its own process, folder, environment, and
standard streams, and ends with its own exit status. `programs` is a folder for the front of PATH; its `tagscale`,
`dvc` and `python3` are small clients of the server.

Should the server have ended, the programs are the plain ones, and a warning at the end of the tests says what it said.

What a fresh process does at its start is not tested by this. So the first `dvc repro` of test_orchestrators.py, with
every stage in it, does without.
"""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent


@contextmanager
def serving(folder: Path) -> Iterator[Path]:
    """Serve inside the block. Yields the folder of programs.

    The module server.py has the name that would come first to mind: once pytest imports it, the package has that name.
    """
    programs, address = folder / "programs", folder / "server"
    programs.mkdir(parents=True)
    client = (HERE / "client.py").read_text().replace("ADDRESS", str(address)).replace("PYTHON", sys.executable)
    for name in ("tagscale", "dvc", "python3"):
        (programs / name).write_text(f"#!{sys.executable} -IS\n{client}")
        (programs / name).chmod(0o755)
    words = [sys.executable, str(HERE / "server.py"), str(address), str(programs / "python3")]
    said = folder / "said"
    with (
        open(said, "wb") as errors,
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=folder) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", said.read_text()
        yield programs
        if process.poll() is not None:
            text = f"the server of commands ended early with {process.returncode}: {said.read_text()[-2000:]}"
            warnings.warn(text, stacklevel=1)
        process.stdin.close()  # it ends with this
        process.wait()
