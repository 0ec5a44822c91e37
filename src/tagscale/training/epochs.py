"""What happens at the end of an epoch: numbers are noted and told, the best weights kept, a line printed."""

import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import Progress as Bar
from torch import Tensor

from tagscale.audio.loading import TrainingLoader
from tagscale.training.module import Training
from tagscale.training.schedule import is_over
from tagscale.training.watch import peak_memory, reset_peak_memory

OnEpoch = Callable[[dict[str, float], int], None]  # numbers of an epoch, and which it was (from 1)


class BestWeights(Callback):
    """Keeps a copy of the model's weights from the epoch with the lowest validation loss."""

    def __init__(self) -> None:
        self.loss, self.epoch = float("inf"), 0
        self.weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        loss = float(trainer.callback_metrics["valid_loss"])
        if loss < self.loss:
            self.loss, self.epoch = loss, trainer.current_epoch + 1
            self.weights = {key: value.detach().cpu().clone() for key, value in pl_module.model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loss, self.epoch, self.weights = (state_dict[name] for name in ("loss", "epoch", "weights"))


class Epochs(Callback):
    """One row of numbers an epoch, each told to `on_epoch` when the epoch ends.

    Columns: epoch (from 1), train_loss (with dropout, over the epoch's changing weights), valid_loss, learning_rate
    (at the end of the epoch), patches_per_second (of training alone, over all processes), seconds (of training and
    validation), data_wait (share of the training's time in which the next batch was not there yet), peak_memory_mb (of
    the GPU in this epoch; without one, of the process since it began). Of an epoch that went on after the training was
    ended, the times are of its rest.
    """

    def __init__(self, world: int = 1, on_epoch: OnEpoch | None = None) -> None:
        self.world, self.on_epoch = world, on_epoch
        self.rows: list[dict[str, float]] = []
        self.begin = self.trained = self.waited = 0.0
        self.patches = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start(trainer)  # an epoch that goes on has no other start

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start(trainer)

    def start(self, trainer: pl.Trainer) -> None:
        self.begin, self.patches, self.waited = time.perf_counter(), 0, _waited(trainer)
        reset_peak_memory()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: list[Tensor], batch_idx: int
    ) -> None:
        self.patches += len(batch[0])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.trained = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        seconds = self.trained - self.begin
        row = {
            "epoch": trainer.current_epoch + 1,
            "train_loss": float(trainer.callback_metrics["train_loss"]),
            "valid_loss": float(trainer.callback_metrics["valid_loss"]),
            "learning_rate": pl_module.rate(trainer.global_step),
            "patches_per_second": self.patches * self.world / seconds,
            "seconds": time.perf_counter() - self.begin,
            "data_wait": (_waited(trainer) - self.waited) / seconds,
            "peak_memory_mb": peak_memory(),
        }
        self.rows.append(row)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.tell(self.rows[-1])

    def tell(self, row: dict[str, float]) -> None:
        if self.on_epoch is not None:
            self.on_epoch({name: value for name, value in row.items() if name != "epoch"}, int(row["epoch"]))

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the rows of the epochs before, and tell of them: the last one may not have been told of yet."""
        self.rows = list(state_dict["rows"])
        for row in self.rows:
            self.tell(row)


class EarlyEnd(Callback):
    """Ends the training after `patience` epochs without a better validation loss."""

    def __init__(self, max_epochs: int, patience: int) -> None:
        self.max_epochs, self.patience = max_epochs, patience

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        trainer.should_stop = is_over(pl_module.losses, self.max_epochs, self.patience)


class Progress(Callback):
    """One line an epoch, and on a terminal a bar that counts the epoch's steps."""

    def __init__(self, epochs: Epochs, max_epochs: int, name: str = "", console: Console | None = None) -> None:
        self.epochs, self.max_epochs, self.name = epochs, max_epochs, f"{name} " if name else ""
        console = console or Console()
        self.bar = Bar(console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bar.add_task("", total=None)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.start()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.reset(
            self.task,
            total=trainer.num_training_batches,
            description=f"{self.name}epoch {trainer.current_epoch + 1}/{self.max_epochs}",
        )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: list[Tensor], batch_idx: int
    ) -> None:
        self.bar.advance(self.task)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        row = self.epochs.rows[-1]
        best = row["valid_loss"] <= min(earlier["valid_loss"] for earlier in self.epochs.rows)
        self.bar.console.print(
            f"{self.name}epoch {row['epoch']:>3}/{self.max_epochs}  train loss {row['train_loss']:.4f}  "
            f"valid loss {row['valid_loss']:.4f}{'*' if best else ' '}  "
            f"{row['patches_per_second']:,.0f} patches/s  {row['seconds']:.1f} s",
            highlight=False,
            soft_wrap=True,
        )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.bar.stop()


def _waited(trainer: pl.Trainer) -> float:
    """Seconds that this process's training has waited for batches so far."""
    batches = trainer.train_dataloader
    return batches.waited if isinstance(batches, TrainingLoader) else 0.0
