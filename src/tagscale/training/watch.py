"""What a training uses, and a clear word when it uses more than there is."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from tagscale.runtime.errors import TagscaleError

_CPU_IS_FULL = ("can't allocate memory", "not enough memory", "Cannot allocate memory")  # torch's CPU allocator


def reset_peak_memory() -> None:
    """Begin to look for the highest use of GPU memory anew."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> float:
    """Highest use of memory in MB: of the GPU since `reset_peak_memory`; without one, of the process since it began."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux counts in KiB


@contextmanager
def memory_explained(batch: int, patch_seconds: float, kept: Callable[[], str]) -> Iterator[None]:
    """Say of a lack of memory inside the block what to lower.

    Args:
        batch, patch_seconds: what the block works on at once
        kept: tells what is left of the training
    Raises:
        TagscaleError: the memory did not suffice.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        on_gpu = isinstance(error, torch.OutOfMemoryError)
        if not (on_gpu or isinstance(error, MemoryError) or any(sign in str(error) for sign in _CPU_IS_FULL)):
            raise
        place = "GPU" if on_gpu else "machine"
        raise TagscaleError(
            f"The {place} has not enough memory for batches of {batch} patches of {patch_seconds:g} s (train.batch, "
            f"train.patch_seconds). Halve train.batch; or lower train.patch_seconds or the model's width, or divide "
            f"the batch over more devices (train.devices). On a GPU, train.precision bf16-mixed takes less. {kept()}"
        ) from error
