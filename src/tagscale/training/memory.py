"""Peak memory of a training."""

import resource

import torch


def reset_peak_memory() -> None:
    """Measure the peak of GPU memory from now on."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> float:
    """Peak memory in MB: of the GPU since `reset_peak_memory`; without a GPU, of the process since it started."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux counts in KiB
