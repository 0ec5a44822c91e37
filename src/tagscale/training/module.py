"""One tagger's training step, validation step and optimiser, as Lightning wants them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from tagscale.audio.patches import Batch, to_wave
from tagscale.runtime.errors import TagscaleError
from tagscale.training.distributed import summed
from tagscale.training.losses import ClassWeights, Loss, annotated, entry_losses, masked_loss
from tagscale.training.schedule import Schedule, halvings, learning_rate_factor
from tagscale.training.statistics import RunningStatistics

CHECK_EVERY = 25  # steps between two looks at the loss; each makes a GPU wait
OPTIMIZERS: dict[str, Any] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}
SGD_MOMENTUM = 0.9


@dataclass(frozen=True)
class Settings:
    """How to train; what params.yaml's `train` says about one run."""

    loss: Loss
    patches_per_track: int
    batch: int  # of all processes together
    learning_rate: float  # section 4, Parameters: 0.001
    weight_decay: float  # on kernels alone, as in the authors' later training code
    max_epochs: int
    patience: int  # epochs without a better validation loss
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    class_weights: ClassWeights = "none"
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    schedule: Schedule = "cosine"
    compile: bool = False  # changes the speed alone

    def deciding(self) -> dict[str, Any]:
        """The settings that decide what comes out."""
        return {name: value for name, value in asdict(self).items() if name != "compile"}


class Training(pl.LightningModule):
    """Random patches in, masked loss out; the optimiser's steps.

    Dropout is drawn anew from seed, step and process in every step, so that a training that goes on after it was
    ended draws what it would have drawn.

    Args:
        model: wave (batch, samples), or features of it -> logits (batch, tags)
        regression: (tags,) bool
        steps: training steps until the last epoch ends, for the learning rate's course
        weights: (2, tags), of labels 0 and 1 in the loss; see `losses.balanced_weights`
        seed: numbers that no other training of the same study has
    Raises:
        TagscaleError: the loss stops being a number.
    """

    regression: Tensor
    weights: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        regression: Tensor,
        settings: Settings,
        steps: int,
        weights: Tensor | None = None,
        seed: Sequence[int] = (0,),
    ) -> None:
        super().__init__()
        self.model, self.settings, self.steps, self.seed = model, settings, steps, tuple(seed)
        self.register_buffer("regression", regression)
        self.register_buffer("weights", weights)
        self.statistics = RunningStatistics(model)
        self.sums: dict[str, Tensor] = {}  # of losses and of what they are divided by, over an epoch
        self.losses: list[float] = []  # of validation, one an epoch
        self.begin = time.perf_counter()  # minus what the training took before this process
        self.kept: Callable[[], str] = str  # tells where the last good state is

    def training_step(self, batch: Batch, index: int) -> Tensor:
        patches, labels = batch
        torch.manual_seed(step_seed(self.seed, self.global_step, self.global_rank))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.global_step)
        known = summed(annotated(labels))
        self.statistics.before(self.global_step)
        logits = self.model(network_input(patches))
        # Gradients are averaged over the processes, and this process's losses are divided by the whole batch's labels
        loss = self.trainer.world_size * masked_loss(
            logits, labels, self.regression, self.settings.loss, self.weights, known
        )
        if index % CHECK_EVERY == 0:
            self.refuse_nonfinite(loss)
        world = self.trainer.world_size  # over all processes, every step counts as one
        self._add("train_loss", loss.detach() / world, torch.tensor(1 / world))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        patches, labels = batch
        logits = self.model(network_input(patches))
        losses = entry_losses(logits, labels, self.regression, self.settings.loss, self.weights)
        self._add("valid_loss", losses.sum(), annotated(labels))

    def on_validation_epoch_end(self) -> None:  # validation ends an epoch, so its training loss is complete too
        means = {name: self._mean(name) for name in ("train_loss", "valid_loss")}
        self.losses.append(float(means["valid_loss"]))
        self.log_dict(means)

    def on_fit_start(self) -> None:
        self.statistics.begin(compiled=self.model._compiled_call_impl is not None)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.statistics.after()

    def on_fit_end(self) -> None:
        self.statistics.end()

    def rate(self, step: int) -> float:
        """The learning rate of a step, from what is known when it begins."""
        schedule, start = self.settings.schedule, self.settings.learning_rate
        if schedule == "cosine":
            return start * learning_rate_factor(step, self.steps)
        if schedule == "halving":
            return start * 0.5 ** halvings(self.losses, halving_wait(self.settings.patience))
        return start

    @property
    def seconds(self) -> float:
        """What the training has taken so far, in all processes one after another."""
        return time.perf_counter() - self.begin

    @property
    def optimizer(self) -> Optimizer:
        return self.trainer.optimizers[0]

    def configure_optimizers(self) -> Optimizer:
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups: list[dict[str, Any]] = [
            {
                "params": [parameter for parameter in trained if parameter.ndim > 1],
                "weight_decay": self.settings.weight_decay,
            },
            {"params": [parameter for parameter in trained if parameter.ndim <= 1], "weight_decay": 0.0},
        ]
        options: dict[str, Any] = {"fused": True} if trained[0].is_cuda else {}  # one kernel for all parameters
        if self.settings.optimizer == "sgd":
            options["momentum"] = SGD_MOMENTUM
        optimizer: Optimizer = OPTIMIZERS[self.settings.optimizer](groups, lr=self.settings.learning_rate, **options)
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for total, _ in self.sums.values():
            self.refuse_nonfinite(total)
        for parameter in self.model.parameters():
            self.refuse_nonfinite(parameter.detach().sum())  # what is not a number must not replace what is
        sums = {name: summed(pair.clone()).cpu() for name, pair in self.sums.items()}
        checkpoint["tagscale"] = {"sums": sums, "losses": list(self.losses), "seconds": self.seconds}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        own = checkpoint["tagscale"]
        self.losses, self.begin = list(own["losses"]), self.begin - own["seconds"]
        if self.global_rank == 0:  # they are sums over all processes
            self.sums = {name: pair.to(self.device) for name, pair in own["sums"].items()}

    def refuse_nonfinite(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise TagscaleError(
                f"Training diverged: the loss is {loss.item()} in epoch {self.current_epoch + 1} (train.learning_rate "
                f"{self.settings.learning_rate:g}, train.precision {self.settings.precision}). Lower "
                "train.learning_rate to a third"
                + ("." if self.settings.precision == "32-true" else ", or set train.precision to 32-true.")
                + f" {self.kept()}".rstrip()
            )

    def _add(self, name: str, value: Tensor, count: Tensor) -> None:
        self.sums[name] = self.sums.get(name, torch.zeros(2, device=value.device)) + torch.stack(
            [value, count.to(value)]
        )

    def _mean(self, name: str) -> Tensor:
        total, count = summed(self.sums.pop(name, torch.zeros(2, device=self.device)))
        self.refuse_nonfinite(total)
        return total / count.clamp(min=1)


def network_input(patches: Tensor) -> Tensor:
    """Waveforms of int16 patches; features, which are float32, as they are."""
    return to_wave(patches) if patches.dtype == torch.int16 else patches


def halving_wait(patience: int) -> int:
    """Epochs without a better loss after which `halving` halves: half of `train.patience`, so once before the end.

    With a patience of 150 it is the 75 of the authors' later training code.
    """
    return max(1, patience // 2)


def step_seed(seed: Sequence[int], step: int, rank: int) -> int:
    """Seed of the random draws of one step in one process.

    >>> step_seed([0], 0, 0) == step_seed([0], 0, 0) != step_seed([0], 1, 0)
    True
    """
    return int(np.random.SeedSequence([*seed, step, rank]).generate_state(1, np.uint64)[0])
