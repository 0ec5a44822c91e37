"""The moving average of a network's weights over the steps of its training.

Source: Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging". At a rate that does not fall,
weights wander around a minimum; their average lies nearer to it than any of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def decay(step: int, slowest: float) -> float:
    """Share of the earlier average that stays after a step: it reaches over about the last tenth of the steps.

    >>> [round(decay(step, 0.999), 3) for step in (0, 10, 90, 1000, 100_000)]
    [0.1, 0.55, 0.91, 0.991, 0.999]
    """
    return min(slowest, (1 + step) / (10 + step))


class WeightAverage:
    """The average of a network's weights and of the running statistics of its norms.

    The statistics are averaged, not computed anew from training patches with the averaged weights: that costs as much
    as a validation, and the scores are the same (benchmarks/results/recipe.md).

    Attributes:
        tensors: by their keys in the network's state dict, on its device
    """

    def __init__(self, network: nn.Module, slowest: float) -> None:
        self.network, self.slowest = network, slowest
        self.tensors = {key: tensor.clone() for key, tensor in self._own().items()}

    def _own(self) -> dict[str, Tensor]:
        return {key: tensor for key, tensor in self.network.state_dict().items() if tensor.is_floating_point()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After the optimiser's step of this number, from 0."""
        get_ema_multi_avg_fn(decay(step, self.slowest))([*self.tensors.values()], [*self._own().values()], step)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network has the averaged weights while the block runs."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for key, own in self._own().items():
            held = own.clone()
            own.copy_(self.tensors[key])
            self.tensors[key].copy_(held)
