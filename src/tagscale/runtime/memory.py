"""Freed memory of this process, kept for what it does next."""

import ctypes

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
