"""What happens at the end of an epoch: numbers are noted and told, the best weights kept, a line printed."""

import time
from collections.abc import Callable

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import Progress as Bar
from torch import Tensor

from tagscale.training.module import Training

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


class Epochs(Callback):
    """One row of numbers an epoch, each told to `on_epoch` when the epoch ends.

    Columns: epoch (from 1), train_loss (with dropout, over the epoch's changing weights), valid_loss, learning_rate
    (at the end of the epoch), patches_per_second (of training alone), seconds (of training and validation).
    """

    def __init__(self, batch: int, on_epoch: OnEpoch | None = None) -> None:
        self.batch, self.on_epoch = batch, on_epoch
        self.rows: list[dict[str, float]] = []
        self.begin = self.trained = 0.0
        self.patches = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.begin, self.patches = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: list[Tensor], batch_idx: int
    ) -> None:
        self.patches += len(batch[0])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.trained = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        row = {
            "epoch": trainer.current_epoch + 1,
            "train_loss": float(trainer.callback_metrics["train_loss"]),
            "valid_loss": float(trainer.callback_metrics["valid_loss"]),
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "patches_per_second": self.patches / (self.trained - self.begin),
            "seconds": time.perf_counter() - self.begin,
        }
        self.rows.append(row)
        if self.on_epoch is not None:
            self.on_epoch({name: value for name, value in row.items() if name != "epoch"}, trainer.current_epoch + 1)


class Progress(Callback):
    """One line an epoch, and on a terminal a bar that counts the epoch's steps."""

    def __init__(self, epochs: Epochs, max_epochs: int, console: Console | None = None) -> None:
        self.epochs, self.max_epochs = epochs, max_epochs
        console = console or Console()
        self.bar = Bar(console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bar.add_task("", total=None)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.start()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.reset(
            self.task,
            total=trainer.num_training_batches,
            description=f"epoch {trainer.current_epoch + 1}/{self.max_epochs}",
        )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: list[Tensor], batch_idx: int
    ) -> None:
        self.bar.advance(self.task)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        row = self.epochs.rows[-1]
        best = row["valid_loss"] <= min(earlier["valid_loss"] for earlier in self.epochs.rows)
        self.bar.console.print(
            f"epoch {row['epoch']:>3}/{self.max_epochs}  train loss {row['train_loss']:.4f}  "
            f"valid loss {row['valid_loss']:.4f}{'*' if best else ' '}  "
            f"{row['patches_per_second']:,.0f} patches/s  {row['seconds']:.1f} s",
            highlight=False,
            soft_wrap=True,
        )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.bar.stop()
