"""The server of commands: `server.py FOLDER`. It ends when its standard input does."""

import atexit
import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
import types
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

PACKAGES = ("tagscale.cli", "tagscale.stages", "tagscale.registry", "tagscale.training", "tagscale.models")
OTHERS = (
    *("tagscale.validation.expectations", "tagscale.evaluation.predict", "tagscale.cluster.pipeline"),
    *("tagscale.cluster.trainjob", "tagscale.cluster.volume", "tagscale.study.roc", "tagscale.fetch.archives"),
    *("mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"),
    *("alembic.script", "sklearn.metrics", "xgboost", "lightning_fabric", "safetensors.torch", "torchaudio"),
    *("scipy.signal", "scipy.special", "scipy.sparse", "scipy.optimize", "matplotlib.backends.backend_svg"),
    *("matplotlib.backends.backend_agg", "symusic", "kfp.local", "kfp.dsl.executor", "pipelines.run"),
    *("dvc.cli.parser", "dvc.repo", "dvc.config", "dvc.stage.run", "mlflow.store.db.utils"),
    *("kubeflow.trainer", "moto.server", "psycopg", "sklearn.linear_model", "hypothesis"),  # tests
)


def serve(folder: Path) -> dict[str, Any] | None:
    """Fork for each request. Returns the request in the process that is to run it; None at the end."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "server"))
        listener.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the guardians
        print("ready", flush=True)
        while True:
            if sys.stdin in select.select([listener, sys.stdin], [], [])[0]:
                return None
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return guard(connection)
            connection.close()


def guard(connection: socket.socket) -> dict[str, Any]:
    """Start a process for the request, and tell the client its number and its end. Returns in that process alone.

    The process has a group of its own, which is killed when the client is.
    """
    head, files, _, _ = socket.recv_fds(connection, 8, 250)
    content = b""
    while len(content) < int(head):
        content += connection.recv(1 << 16)
    command = os.fork()
    if command == 0:
        connection.close()
        os.setpgid(0, 0)
        request = dict(json.loads(content))
        above = [fcntl.fcntl(file, fcntl.F_DUPFD, max(request["files"]) + 1) for file in files]
        for file in files:
            os.close(file)
        for file, number in zip(above, request["files"], strict=True):
            os.dup2(file, number)
            os.close(file)
        return request
    for file in files:
        os.close(file)
    connection.sendall(b"%d\n" % command)
    if connection in select.select([connection, os.pidfd_open(command)], [], [])[0]:
        os.killpg(command, signal.SIGKILL)
    _, status = os.waitpid(command, 0)
    with suppress(OSError):  # nobody listens
        connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def run(request: dict[str, Any], python: str) -> None:
    """Be the command."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["imported"] | request["environment"])
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    multiprocessing.set_executable(python)
    if code := request["code"]:
        sys.argv, sys.path[0] = ["-c", *request["words"]], ""
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(code, vars(main))
        return
    program = request["program"]
    if program in ("python3", "mlflow"):
        sys.executable = python  # by which kfp starts its tasks, and MLflow its server
    if module := request["module"]:
        sys.path[0] = request["folder"]
        sys.argv = [module, *request["words"]]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    sys.argv = [program, *request["words"]]
    commands = importlib.import_module(f"{program}.cli")
    sys.exit(commands.cli() if program == "mlflow" else commands.main())


def end(code: str | int | None) -> NoReturn:
    """End the process as the interpreter does, but for tidying its memory, which takes longer than many commands."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, and tells those of pools to end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def load() -> None:
    """Import what commands import."""
    for package in PACKAGES:
        for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            with suppress(ImportError):  # of an extra that is not installed
                importlib.import_module(found.name)
    for name in OTHERS:
        importlib.import_module(name)
    gc.freeze()  # what the processes share stays shared


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])
    given = set(os.environ)
    load()
    imported = {name: value for name, value in os.environ.items() if name not in given}  # that imports have set
    place = Path(sys.argv[1])
    if work := serve(place):
        try:
            run(work | {"imported": imported}, str(place / "programs" / "python3"))
            end(0)
        except SystemExit as exit:
            end(exit.code)
        except BaseException:
            traceback.print_exc()
            end(1)
