"""Running Lightning's trainer on one network, with what tagscale wants around it and no folders left behind."""

import logging
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from tagscale import SAMPLE_RATE
from tagscale.training.compilation import compiled
from tagscale.training.distributed import EndedFromOutside, World
from tagscale.training.epochs import BestWeights, EarlyEnd, Epochs, OnEpoch, Progress
from tagscale.training.module import Settings, Training
from tagscale.training.resume import Saver, States
from tagscale.training.schedule import is_over
from tagscale.training.two_step import Step
from tagscale.training.watch import memory_explained


def run_step(
    step: Step,
    module: Training,
    loaders: Callable[[], list[Any]],
    states: States | None,
    state: dict[str, Any] | None,
    on_epoch: OnEpoch | None,
) -> tuple[pd.DataFrame, int]:
    """Train one network, from `state` on where there is one; it has its best epoch's weights afterwards.

    Args:
        loaders: gives those of training and validation; asked only where there is something to train
    Gives its history and the number of its best epoch.
    """
    world, settings = World.current(), module.settings
    best = BestWeights()
    epochs = Epochs(world.size, _with_prefix(on_epoch, step.name) if world.first else None)
    if state is not None and is_over(state["tagscale"]["losses"], settings.max_epochs, settings.patience):
        for callback in (best, epochs):
            callback.load_state_dict(state["callbacks"][callback.state_key])
        module.begin -= state["tagscale"]["seconds"]
    else:
        callbacks: list[Callback] = [best, epochs, EarlyEnd(settings.max_epochs, settings.patience), EndedFromOutside()]
        if states is not None:
            callbacks.insert(0, Saver(states))  # before it is told of, an epoch is saved
            module.kept = states.describe
        if world.first:
            callbacks.append(Progress(epochs, settings.max_epochs, step.name))
        share = world.share_of(settings.batch)
        step.network.train()
        with (
            quiet_lightning(),
            ended_by_signal(),
            memory_explained(share, step.patch_samples / SAMPLE_RATE, module.kept),
            compiled(step.network, step.inputs, settings.compile),
        ):
            batches = loaders()
            trainer = _trainer(settings, world, callbacks, [states] if states else [])
            trainer.fit(module, *batches, ckpt_path=str(states.folder) if states and state is not None else None)
    step.network.load_state_dict(best.weights)
    return pd.DataFrame(epochs.rows), best.epoch


def _trainer(settings: Settings, world: World, callbacks: list[Callback], plugins: list[Any]) -> pl.Trainer:
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.set_float32_matmul_precision("high")  # TF32, as convolutions have it anyway
    spread = world.trainer_settings()
    return pl.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        precision=settings.precision,
        max_epochs=settings.max_epochs,
        benchmark=on_gpu,  # the patches of all steps have one shape
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **spread | {"plugins": plugins + spread.get("plugins", [])},
    )


def _with_prefix(on_epoch: OnEpoch | None, step: str) -> OnEpoch | None:
    """Tell of a step's numbers under its name."""
    if on_epoch is None or not step:
        return on_epoch
    return lambda numbers, epoch: on_epoch({f"{step}/{name}": value for name, value in numbers.items()}, epoch)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's greetings and advice out of the log; its errors come through."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            warnings.filterwarnings("ignore", message=".*(num_workers|lr_scheduler.step|pin_memory).*")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the process as they always do, rather than as Lightning does: SIGTERM with success."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SIGTERMException:
        sys.exit(128 + signal.SIGTERM)
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, handler)  # Lightning shuts its ears
            raise KeyboardInterrupt from None
        raise
