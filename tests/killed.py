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
        "lightning.pytorch.strategies",
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


def train_slowly(folder: Path, params: Any, run: str, seconds: float, **options: Any) -> None:
    """The train stage on the study in `folder`, with a pause in every step, and a state saved in almost every one."""
    from tagscale.stages import train
    from tagscale.training import resume
    from tagscale.training.module import Training

    resume.SAVE_SECONDS = 0.05
    step = Training.training_step

    def slowed(self: Training, *arguments: Any) -> Any:
        time.sleep(seconds)
        (folder / "steps").open("a").write(f"{self.global_step}\n")
        return step(self, *arguments)

    Training.training_step = slowed
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.chdir(folder)
    train.run(
        params,
        **({"model": "waveform", "size": "all", "seed": 0} | options),
        catalog=folder / "catalog",
        partition=folder / "partition",
        inputs=folder / "store",
        run=folder / run,
    )
