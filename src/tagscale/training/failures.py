"""What can end a training early, and the message that tells the user what was kept and what to change."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch import distributed as dist

from tagscale.params.blocks import TrainParams
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.signals import Interrupted, answered
from tagscale.training.distributed import World

_CPU_MEMORY_FULL = ("can't allocate memory", "not enough memory", "Cannot allocate memory")  # torch's CPU allocator

Kept = Callable[[], str]  # says which state of the training is on disk


def refuse_nonfinite(value: Tensor, step: int, settings: TrainParams, kept: Kept) -> None:
    """Raise TagscaleError when a loss, or a sum of weights, is not a number."""
    if not torch.isfinite(value):
        raise TagscaleError(
            f"Training diverged: the loss is {value.item()} at step {step} (train.learning_rate "
            f"{settings.learning_rate:g}, train.precision {settings.precision}). Lower train.learning_rate to a third"
            + ("." if settings.precision == "32-true" else ", or set train.precision to 32-true.")
            + f" {kept()}".rstrip()
        )


@contextmanager
def memory_explained(batch: int, patch_seconds: float, kept: Kept) -> Iterator[None]:
    """Turn a lack of memory inside the block into a TagscaleError that says what to lower.

    Args:
        batch, patch_seconds: number and length of the patches that one process works on at once
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        on_gpu = isinstance(error, torch.OutOfMemoryError)
        if not (on_gpu or isinstance(error, MemoryError) or any(sign in str(error) for sign in _CPU_MEMORY_FULL)):
            raise
        place = "GPU" if on_gpu else "machine"
        raise TagscaleError(
            f"The {place} has not enough memory for batches of {batch} patches of {patch_seconds:g} s (train.batch, "
            f"train.patch_seconds). Halve train.batch; or lower train.patch_seconds or the model's width, or divide "
            f"the batch over more devices (train.devices). On a GPU, train.precision bf16-mixed takes less. {kept()}"
        ) from error


@contextmanager
def lost_process_explained(world: World) -> Iterator[None]:
    """Turn an error in the exchange with the other processes into a TagscaleError: one of them ended."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if world.size == 1 or not (isinstance(error, dist.DistError) or "gloo" in text or "NCCL" in text):
            raise
        raise TagscaleError(
            f"Process {world.rank} of {world.size} lost another process of this training, which failed or was ended "
            f"({text.splitlines()[0][:200]}). Read that one's message. Started again, training resumes from its last "
            "state."
        ) from error


@contextmanager
def interruption_explained(world: World, kept: Kept) -> Iterator[None]:
    """Print what is kept when Ctrl-C or SIGTERM ends the block."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as interruption:
        if world.first:
            print(f"Training was interrupted. {kept()}".rstrip(), file=sys.stderr, flush=True)
        interruption.add_note("")  # all is said
        raise


@contextmanager
def sigterm_noted(world: World) -> Iterator[threading.Event]:
    """An event that SIGTERM sets, so that the training can save its state first; a second SIGTERM exits at once.

    One of several processes exits at once: torchrun sends SIGTERM when another one has failed, and saving needs all.
    """
    noted = threading.Event()

    def note(number: int) -> None:
        if world.size > 1 or noted.is_set():
            raise Interrupted(number)
        noted.set()

    with answered(note, signal.SIGTERM):
        yield noted
