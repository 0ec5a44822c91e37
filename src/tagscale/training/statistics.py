"""Batch norm's running statistics while a model trains: averages over about the last tenth of the steps."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tagscale.training.schedule import statistics_momentum


class RunningStatistics:
    """Updates the running statistics of a network's batch norms, with a momentum that changes from step to step.

    A compiled network must not see the momentum change: torch.compile would make it anew in each of the first steps,
    and give up after eight. There the layers note each batch's own statistics, and the averaging is done here; apart
    from rounding it is the same.
    """

    def __init__(self, network: nn.Module) -> None:
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        self.norms = [(norm, norm.momentum) for norm in norms if norm.momentum is not None]
        self.compiled = False
        self.step, self.olds = 0, list[list[Tensor]]()

    def begin(self, compiled: bool) -> None:
        self.compiled = compiled
        if compiled:
            for norm, _ in self.norms:
                norm.momentum = 1.0  # of the last batch alone

    def before(self, step: int) -> None:
        """Before the forward pass of a training step."""
        if self.compiled:
            self.step, self.olds = step, [[buffer.clone() for buffer in _buffers(norm)] for norm, _ in self.norms]
            return
        for norm, slowest in self.norms:
            norm.momentum = statistics_momentum(step, slowest)

    @torch.no_grad()
    def after(self) -> None:
        """After its backward pass, which still needs the statistics as the forward pass left them."""
        if not self.compiled:
            return
        for (norm, slowest), olds in zip(self.norms, self.olds, strict=True):
            if norm.training:
                for old, new in zip(olds, _buffers(norm), strict=True):
                    new.copy_(old.lerp_(new, statistics_momentum(self.step, slowest)))

    def end(self) -> None:
        """Give the layers the momentum that they had."""
        for norm, momentum in self.norms:
            norm.momentum = momentum


def _buffers(norm: _BatchNorm) -> list[Tensor]:
    return [buffer for buffer in (norm.running_mean, norm.running_var) if buffer is not None]
