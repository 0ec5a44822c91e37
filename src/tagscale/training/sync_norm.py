"""Batch norm over the whole batch when several processes share it, on CPU and GPU alike.

torch's own SyncBatchNorm does not run on a CPU, and putting it in place of a model's layers loses what subclasses do
(the back-end's `SingleChannelNorm`). Here a layer keeps its place, its subclass, its parameters and its state, and
gets another way to its statistics while the model trains.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from tagscale.training.distributed import together


class Synchronised(_BatchNorm):
    """A batch norm whose mean and variance are those of all processes' patches.

    Shape:
        x, returned: (batch, channels, ...), as the layer it stands in for; `batch` may differ between processes
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and together()):
            return super().forward(x)
        self._check_input_dim(x)
        mean, variance, count = whole_moments(x)
        if self.running_mean is not None and self.running_var is not None and self.momentum is not None:
            with torch.no_grad():
                self.running_mean.lerp_(mean.detach(), self.momentum)
                unbiased = variance.detach() * (count / (count - 1).clamp(min=1))
                self.running_var.lerp_(unbiased, self.momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        scale = torch.rsqrt(variance + self.eps)
        scale = scale if self.weight is None else scale * self.weight
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        along = (1, -1) + (1,) * (x.ndim - 2)
        return (x.float() * scale.view(along) + shift.view(along)).to(x.dtype)


@torch.compiler.disable
def whole_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, biased variance and number of values per channel over all processes, with gradients to all of them.

    Each process's mean and sum of squared deviations are put together as Chan et al. 1979 do: no difference of large
    sums, and one exchange.

    Shape:
        x:       (batch, channels, ...)
        returns: (channels,), (channels,), ()
    """
    axes = [axis for axis in range(x.ndim) if axis != 1]
    wide = x.float()
    count = torch.full((1,), x.numel() / x.shape[1], device=x.device)
    own_variance, own_mean = torch.var_mean(wide, dim=axes, correction=0)
    counts, means, variances = gathered(torch.cat([count, own_mean, own_variance])).split(
        [1, x.shape[1], x.shape[1]], dim=1
    )  # a row for every process
    total = counts.sum()
    mean = (means * counts).sum(dim=0) / total
    variance = ((variances + (means - mean).square()) * counts).sum(dim=0) / total
    return mean, variance, total.detach()


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        rows = torch.zeros(dist.get_world_size(), *own.shape, dtype=own.dtype, device=own.device)
        rows[dist.get_rank()] = own
        dist.all_reduce(rows)
        return rows

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (rows,) = gradients
        rows = rows.contiguous()
        dist.all_reduce(rows)  # every process's loss depends on this one's row
        return rows[dist.get_rank()]


def gathered(own: Tensor) -> Tensor:
    """The processes' vectors, one below the other: (n,) -> (processes, n); a gradient flows back to each."""
    rows: Tensor = _Gathered.apply(own)
    return rows


@contextmanager
def synchronised(model: nn.Module) -> Iterator[None]:
    """Let a model's batch norms see the whole batch while the block runs; afterwards they are what they were.

    The layer's class comes before `Synchronised` among the bases of its stand-in, so what the class does around the
    normalisation it still does: its `super().forward` finds the one above.
    """
    if not together():
        yield
        return
    layers = [(module, type(module)) for module in model.modules() if isinstance(module, _BatchNorm)]
    for layer, kind in layers:
        layer.__class__ = type(f"Synchronised{kind.__name__}", (kind, Synchronised), {})
    try:
        yield
    finally:
        for layer, kind in layers:
            layer.__class__ = kind
