"""One switch for all fast paths."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_fast = True


@contextmanager
def plain() -> Iterator[None]:
    """Compute every layer as it is written, in standard PyTorch, while the block runs. For tests and benchmarks."""
    global _fast
    before, _fast = _fast, False
    try:
        yield
    finally:
        _fast = before


def fast() -> bool:
    """Whether layers may take a fast path."""
    return _fast


def fast_on_cpu(x: Tensor) -> bool:
    """Whether a layer may take the path that only a CPU gains from; torch.compile fuses the layers as written."""
    return _fast and x.device.type == "cpu" and not torch.compiler.is_compiling()
