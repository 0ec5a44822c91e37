"""Batch norm while a model trains: the momentum of its running statistics, and its whole batch over all processes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm

from tagscale.training.distributed import together


def statistics_momentum(step: int, slowest: float) -> float:
    """Weight of a new batch in the running statistics: an average over about the last tenth of the steps.

    The models' own 0.01 holds from step 1,000 on. Before that it would still mix in the initial values and those of
    much earlier weights, and a training on few tracks ends before.

    >>> [round(statistics_momentum(step, 0.01), 3) for step in (0, 10, 90, 5000)]
    [1.0, 0.5, 0.1, 0.01]
    """
    return max(slowest, 1 / (1 + step / 10))


def freeze_norms(network: nn.Module) -> None:
    """Freeze the batch norms of a network, until the network is next set to training: weights and statistics stay."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.requires_grad_(False).eval()


class RunningStatistics:
    """Updates the running statistics of a network's batch norms with `statistics_momentum`, inside a `with` block.

    torch.compile would compile a network anew for every momentum, and give up after eight. In a compiled network each
    layer therefore keeps its last batch's statistics, and the average is taken here; it differs by rounding alone.
    """

    def __init__(self, network: nn.Module, compiled: bool) -> None:
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        self.norms = [(norm, norm.momentum) for norm in norms if norm.momentum is not None]
        self.compiled = compiled
        self.previous: list[list[Tensor]] = []

    def __enter__(self) -> "RunningStatistics":
        if self.compiled:
            for norm, _ in self.norms:
                norm.momentum = 1.0  # of the last batch alone
        return self

    def __exit__(self, *_: object) -> None:
        for norm, momentum in self.norms:
            norm.momentum = momentum

    def before(self, step: int) -> None:
        """Before the forward pass of a training step."""
        if self.compiled:
            self.previous = [[buffer.clone() for buffer in _buffers(norm)] for norm, _ in self.norms]
            return
        for norm, slowest in self.norms:
            norm.momentum = statistics_momentum(step, slowest)

    @torch.no_grad()
    def after(self, step: int) -> None:
        """After the backward pass, which still needs the statistics of the forward pass."""
        if not self.compiled:
            return
        for (norm, slowest), previous in zip(self.norms, self.previous, strict=True):
            if norm.training:
                for old, new in zip(previous, _buffers(norm), strict=True):
                    new.copy_(old.lerp_(new, statistics_momentum(step, slowest)))


def _buffers(norm: _BatchNorm) -> list[Tensor]:
    return [buffer for buffer in (norm.running_mean, norm.running_var) if buffer is not None]


class Synchronised(_BatchNorm):
    """A batch norm whose mean and variance are those of all processes' patches, on CPU and GPU alike.

    torch's SyncBatchNorm does not run on a CPU, and replacing a model's layers by it loses what their subclasses do
    (the back-end's `SingleChannelNorm`). Here a layer keeps its subclass, its parameters and its state.

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

    The processes' means and sums of squared deviations are combined after Chan et al. 1979: no difference of large
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


def gathered(own: Tensor) -> Tensor:
    """The processes' vectors, one below the other: (n,) -> (processes, n); a gradient flows back to each."""
    rows = torch.zeros(dist.get_world_size(), *own.shape, dtype=own.dtype, device=own.device)
    rows[dist.get_rank()] = own
    summed: Tensor = all_reduce(rows)
    return summed


@contextmanager
def synchronised(model: nn.Module) -> Iterator[None]:
    """Give a model's batch norms the statistics of the whole batch while the block runs.

    Each layer gets a class whose bases are its own class and then `Synchronised`: `super().forward` in its own class
    finds the synchronised one.
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
