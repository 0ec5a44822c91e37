"""The state of a training: all that decides what comes next."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric.plugins.precision import Precision
from torch import Tensor, nn
from torch.optim import Optimizer

from tagscale.training.averaging import WeightAverage
from tagscale.training.budget import kept_step
from tagscale.training.distributed import World, summed


@dataclass
class State:
    """What one training has reached. Random draws follow from seed and step, so no generator belongs to it.

    step: optimiser steps taken
    loss_sum: of the steps since the last validation; of several processes each has its share
    keep: which validated weights are kept (`train.keep`)
    average: of the weights over the steps; None: the weights themselves are validated and kept
    rows: one row of numbers for each validation; the keys are the columns of the history
    kept_weights: on the CPU
    seconds: what the training took until it was saved, in all processes one after another
    """

    network: nn.Module
    optimizer: Optimizer
    precision: Precision  # holds the scale of the gradients at 16-mixed
    loss_sum: Tensor
    keep: str
    average: WeightAverage | None = None
    step: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    kept_weights: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def validated(self) -> int:
        """The number of steps before the last validation; 0 before the first."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def history(self) -> list[tuple[int, float]]:
        """Of each validation the number of steps before it, and its loss."""
        return [(int(row["step"]), row["valid_loss"]) for row in self.rows]

    def end_validation(self, row: dict[str, float]) -> None:
        """Note a validation, and keep the weights if `train.keep` wants them."""
        self.rows.append(row)
        self.loss_sum = torch.zeros_like(self.loss_sum)
        if kept_step(self.history, self.keep) == self.step:
            weights = self.network.state_dict() | (self.average.tensors if self.average else {})
            self.kept_weights = {key: value.cpu().clone() for key, value in weights.items()}

    def validated_weights(self) -> AbstractContextManager[None]:
        """The network has the weights that are validated and kept while the block runs."""
        return self.average.applied() if self.average else nullcontext()

    def restore_kept(self) -> None:
        """Give the network the weights that are kept."""
        self.network.load_state_dict(self.kept_weights)

    def as_dict(self) -> dict[str, Any]:
        """What `load` takes, for torch.save. Of several processes all must call it."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.precision.state_dict(),
            "loss_sum": summed(self.loss_sum.clone()).cpu(),
            "step": self.step,
            "average": self.average.tensors if self.average else {},
            "rows": self.rows,
            "kept_weights": self.kept_weights,
            "seconds": self.seconds,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Continue from a saved state, whatever the number of processes that saved it."""
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.precision.load_state_dict(saved["precision"])
        if self.average:
            for key, tensor in self.average.tensors.items():
                tensor.copy_(saved["average"][key])
        if World.current().first:  # the sum is that of all processes
            self.loss_sum = saved["loss_sum"].to(self.loss_sum)
        self.step, self.seconds = saved["step"], saved["seconds"]
        self.rows, self.kept_weights = saved["rows"], saved["kept_weights"]
