"""The program `tagscale`, `dvc`, `mlflow` or `python3` of a test; the server's address and Python's path complete it.

It hands words, folder, environment and open files to the server, and ends as the command ends. `python3` does so for
kfp's tasks, for pipelines, for MLflow's server, for pytest's workers and for processes of multiprocessing; whatever
else it is to run, a fresh Python runs. It imports little, so that it starts at once.
"""

import json
import os
import signal
import socket
import sys

MODULES = (["-m", "kfp.dsl.executor_main"], ["-m", "pipelines"], ["-m", "uvicorn"])
WORKER = ["-u", "-c", "import sys;exec(eval(sys.stdin.readline()))"]  # as execnet starts pytest's workers
SPAWNED = "from multiprocessing.spawn import spawn_main;"


def plain(program: str, words: list[str]) -> None:
    """Run the program as it is without a server."""
    path = "PYTHON" if program == "python3" else f"{'PYTHON'.rpartition('/')[0]}/{program}"
    os.execv(path, [path, *words])


def inherited() -> list[int]:
    """Numbers of the files that whoever started this process has handed on."""
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 (pathlib is slow to import)
    return [number for number in numbers if number > 2 and os.path.exists(f"/proc/self/fd/{number}")]  # noqa: PTH110


def main(program: str, words: list[str]) -> None:
    given, module, code = words, "", ""
    if words == WORKER or (words[-1:] == ["--multiprocessing-fork"] and words[-2].startswith(SPAWNED)):
        place = words.index("-c") + 1
        code, words = words[place], words[place + 1 :]
    elif program == "python3":
        if words[:2] not in MODULES:
            plain(program, words)
        _, module, *words = words
    request = {"program": program, "module": module, "code": code, "words": words}
    request |= {"folder": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109 (pathlib is slow to import)
    request["files"] = files = [0, 1, 2, *inherited()]
    content = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect("ADDRESS")
        except ConnectionRefusedError:  # the server has ended
            plain(program, given)
        socket.send_fds(connection, [b"%08d" % len(content)], files)
        connection.sendall(content)
        answers = connection.makefile()
        command = int(answers.readline())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda signum, _: os.kill(command, signum))
        status = int(answers.readline())
    if status < 0:  # a signal ended the command
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[0].rpartition("/")[2], sys.argv[1:])
