"""One tagger's training step, validation step and optimiser, as Lightning wants them."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from tagscale.audio.patches import Batch, to_wave
from tagscale.errors import TagscaleError
from tagscale.training.losses import Loss, entry_losses, masked_loss

WARM_UP = 0.1  # share of the steps over which the learning rate rises
CHECK_EVERY = 25  # steps between two looks at the loss; each makes a GPU wait


@dataclass(frozen=True)
class Settings:
    """How to train; what params.yaml's `train` says about one run."""

    loss: Loss
    patches_per_track: int
    batch: int
    learning_rate: float  # section 4, Parameters: 0.001
    weight_decay: float  # on kernels alone, as in the authors' later training code
    max_epochs: int
    patience: int  # epochs without a better validation loss
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]


class Training(pl.LightningModule):
    """Random patches in, masked loss out; Adam.

    Args:
        model: wave (batch, samples) -> logits (batch, tags)
        regression: (tags,) bool
        steps: training steps until the last epoch ends, for the learning rate's course
    Raises:
        TagscaleError: the loss stops being a number.
    """

    regression: Tensor

    def __init__(self, model: nn.Module, regression: Tensor, settings: Settings, steps: int) -> None:
        super().__init__()
        self.model, self.settings, self.steps = model, settings, steps
        self.register_buffer("regression", regression)
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        self.norms = [(norm, norm.momentum) for norm in norms if norm.momentum is not None]
        self.sums: dict[str, Tensor] = {}  # of losses and of what they are divided by, over an epoch

    def training_step(self, batch: Batch, index: int) -> Tensor:
        patches, labels = batch
        for norm, slowest in self.norms:
            norm.momentum = statistics_momentum(self.global_step, slowest)
        loss = masked_loss(self.model(to_wave(patches)), labels, self.regression, self.settings.loss)
        if index % CHECK_EVERY == 0:
            self.refuse_nonfinite(loss)
        self._add("train_loss", loss.detach(), 1)
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        patches, labels = batch
        losses = entry_losses(self.model(to_wave(patches)), labels, self.regression, self.settings.loss)
        self._add("valid_loss", losses.sum(), (~labels.isnan()).sum())

    def on_validation_epoch_end(self) -> None:  # validation ends an epoch, so its training loss is complete too
        self.log_dict({name: self._mean(name) for name in ("train_loss", "valid_loss")})

    def on_fit_end(self) -> None:
        for norm, momentum in self.norms:
            norm.momentum = momentum

    def configure_optimizers(self) -> Any:
        kernels = [parameter for parameter in self.model.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in self.model.parameters() if parameter.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": kernels, "weight_decay": self.settings.weight_decay},
            {"params": others},
        ]
        optimizer = Adam(groups, lr=self.settings.learning_rate)
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def refuse_nonfinite(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise TagscaleError(
                f"Training diverged: the loss is {loss.item()} in epoch {self.current_epoch + 1} (train.learning_rate "
                f"{self.settings.learning_rate:g}, train.precision {self.settings.precision}). Lower "
                "train.learning_rate to a third"
                + ("." if self.settings.precision == "32-true" else ", or set train.precision to 32-true.")
            )

    def _add(self, name: str, value: Tensor, count: Tensor | int) -> None:
        self.sums[name] = self.sums.get(name, torch.zeros(2, device=value.device)) + torch.stack(
            [value, torch.as_tensor(count, dtype=value.dtype, device=value.device)]
        )

    def _mean(self, name: str) -> Tensor:
        total, count = self.sums.pop(name)
        self.refuse_nonfinite(total)
        return total / count.clamp(min=1)


def learning_rate_factor(step: int, steps: int) -> float:
    """Course of the learning rate: a linear rise over the first tenth, then half a cosine down to zero.

    The paper states the initial rate and no course. Trainings here are short, and falling to zero within
    `train.max_epochs` is what makes a short training good.

    >>> [round(learning_rate_factor(step, 100), 2) for step in (0, 5, 10, 55, 100)]
    [0.09, 0.55, 1.0, 0.5, 0.0]
    """
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))


def statistics_momentum(step: int, slowest: float) -> float:
    """Weight of a new batch in batch norm's running statistics: an average over about the last tenth of the steps.

    The models' own 0.01 holds from step 1,000 on. Before, it would still mix in the initial values and those of weights
    long gone, and a training on few tracks ends before.

    >>> [round(statistics_momentum(step, 0.01), 3) for step in (0, 10, 90, 5000)]
    [1.0, 0.5, 0.1, 0.01]
    """
    return max(slowest, 1 / (1 + step / 10))
