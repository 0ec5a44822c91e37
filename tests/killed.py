"""Trainings in processes of their own that a test can kill: forked from one server that has imported everything."""

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(
    [
        "tagscale.stages.train",
        "tagscale.training.fit",
        "mlflow.store.tracking.sqlalchemy_store",
        "sounds",
        "killed",
    ]
)


def start(work: Callable[..., Any], *arguments: Any) -> Any:
    """Begin `work(*arguments)` in another process; its output goes nowhere."""
    process = FORKING.Process(target=_quietly, args=(work, *arguments))
    process.start()
    return process


def _quietly(work: Callable[..., Any], *arguments: Any) -> None:
    import torch

    torch.set_num_threads(1)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        work(*arguments)


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
