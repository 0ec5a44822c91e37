"""Processes that a test can kill: forked from the server of tests/warm, which has imported everything."""

import atexit
import os
import pickle
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import warm


class Started:
    """A process that calls a function of a module, as one of multiprocessing does. What it prints goes nowhere."""

    def __init__(self, work: Callable[..., Any], *arguments: Any) -> None:
        call = pickle.dumps((work, arguments))
        code = f"import pickle, sys, torch; sys.path[:] = {sys.path!r}; torch.set_num_threads(1)\n"
        code += f"work, arguments = pickle.loads({call!r})\nwork(*arguments)"
        with open(os.devnull, "r+b") as nowhere:
            self.pid, self.answers = warm.fork(_programs(), code, [nowhere.fileno(), nowhere.fileno(), 2])
        self.exitcode: int | None = None  # -9 where signal 9 ended it

    def join(self, seconds: float | None = None) -> None:
        """Wait for the end, for so long at most."""
        if self.exitcode is None and select.select([self.answers], [], [], seconds)[0]:
            self.exitcode = int(self.answers.readline())

    def is_alive(self) -> bool:
        self.join(0)
        return self.exitcode is None

    def kill(self) -> None:
        if self.is_alive():
            os.kill(self.pid, signal.SIGKILL)


start = Started


@cache
def _programs() -> Path:
    """Those of a server, which ends with this process unless another one has begun it."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(warm.serving())


def train_slowly(folder: Path, params: dict[str, Any], run: str, seconds: float, **options: Any) -> None:
    """The train stage on the study in `folder`, with a pause in every step, and a state saved in almost every one."""
    from tagscale.params.load import parse
    from tagscale.stages import train
    from tagscale.training import loop

    loop.SAVE_SECONDS = 0.05
    step_loss = loop.step_loss

    def slowed(state: Any, *arguments: Any) -> Any:
        time.sleep(seconds)
        (folder / "steps").open("a").write(f"{state.step}\n")
        return step_loss(state, *arguments)

    loop.step_loss = slowed
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.chdir(folder)
    train.run(
        parse(params),
        **({"model": "waveform", "size": "all", "seed": 0} | options),
        catalog=folder / "catalog",
        partition=folder / "partition",
        inputs=folder / "store",
        run=folder / run,
    )


def run_command(folder: Path, *words: str) -> None:
    """A command of tagscale in a folder, with MLflow's store there."""
    from tagscale.cli import main

    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.chdir(folder)
    main([*words])
