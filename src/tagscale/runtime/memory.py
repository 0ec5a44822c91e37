"""The memory of this process: freed memory is kept for what it does next, and the peak is measured."""

import ctypes
import resource

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h of glibc


def keep_freed_memory() -> None:
    """Let glibc's allocator reuse freed memory rather than return it to the kernel; halves a training step on a CPU.

    By default every large tensor is mapped anew and its pages are faulted in one by one, step after step. With another
    C library nothing happens. The process keeps its peak memory until it ends.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def reset_peak_memory() -> None:
    """Measure the peak of GPU memory from now on."""
    import torch  # here and below: few of those who keep freed memory have it loaded

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> float:
    """Peak memory in MB: of the GPU since `reset_peak_memory`; without a GPU, of the process since it started."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux counts in KiB
