"""Fitting one tagger: Lightning's trainer with what tagscale wants around it, and no folders left behind."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn

from tagscale.audio.loading import batches_per_epoch, loader
from tagscale.audio.logmel import LogMel
from tagscale.audio.patches import RandomPatches, Samples, SpacedPatches, to_wave
from tagscale.errors import TagscaleError
from tagscale.models.build import Architecture, build
from tagscale.models.tagger import Tagger
from tagscale.training.epochs import BestWeights, Epochs, OnEpoch, Progress
from tagscale.training.module import Settings, Training

VALIDATION_PATCHES = 3  # of each validation track, always the same: enough to choose the epoch by
NORMALISATION_TRACKS = 500  # the log-mel statistics of more do not differ
MOST_WORKERS = 8


@dataclass(frozen=True)
class Labelled:
    """Tracks and their labels: (tracks, tags) float32 in [0, 1], NaN = not annotated."""

    tracks: list[str]
    labels: np.ndarray


@dataclass(frozen=True)
class Fitted:
    """A trained model, with the weights of its best epoch, and how training went.

    history: epoch (from 1), train_loss, valid_loss, learning_rate, patches_per_second, seconds
    """

    model: Tagger
    history: pd.DataFrame
    best_epoch: int


def fit(
    architecture: Architecture,
    store: Samples,
    training: Labelled,
    validation: Labelled,
    settings: Settings,
    seed: int,
    on_epoch: OnEpoch | None = None,
) -> Fitted:
    """Train a fresh model on the training tracks until the validation loss stops falling.

    Initial weights, dropout, patches and their order follow from the seed: on the same CPU with the same number of
    threads the same weights come out, bit by bit. A GPU is used where there is one; sums are then not bit-exact.

    Raises:
        TagscaleError: nothing to learn or to validate from, a loss that is not a number, a precision that the
            machine cannot do, patches too short for the model.
    """
    _check(training, validation, settings)
    torch.manual_seed(seed)
    model = build(architecture)
    on_gpu = torch.cuda.is_available()
    patches = RandomPatches(
        store, training.tracks, training.labels, architecture.patch_samples, settings.patches_per_track, seed
    )
    fixed = SpacedPatches(store, validation.tracks, validation.labels, architecture.patch_samples, VALIDATION_PATCHES)
    workers = min(MOST_WORKERS, os.cpu_count() or 1) if on_gpu else 0  # a CPU has better things to do than to copy
    fit_normalisation(model, patches)
    start_at_prevalence(model.output, training.labels)

    module = Training(
        model,
        torch.tensor([kind == "regression" for kind in architecture.kinds]),
        settings,
        steps=settings.max_epochs * batches_per_epoch(patches, settings.batch),
    )
    best, epochs = BestWeights(), Epochs(settings.batch, on_epoch)
    stop = EarlyStopping("valid_loss", patience=settings.patience, mode="min", check_finite=False)
    with quiet_lightning():
        trainer = pl.Trainer(
            accelerator="gpu" if on_gpu else "cpu",
            devices=1,
            precision=settings.precision,
            max_epochs=settings.max_epochs,
            callbacks=[best, epochs, Progress(epochs, settings.max_epochs), stop],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(
            module, loader(patches, settings.batch, workers, on_gpu), loader(fixed, settings.batch, workers, on_gpu)
        )
    model.load_state_dict(best.weights)
    return Fitted(model.cpu().eval(), pd.DataFrame(epochs.rows), best.epoch)


def fit_normalisation(model: nn.Module, patches: RandomPatches) -> None:
    """Give a model's log-mel layers the statistics of the training tracks; a model without any stays as it is."""
    items = list(range(0, len(patches), patches.per_track))[:NORMALISATION_TRACKS]  # one patch of each track
    for layer in model.modules():
        if isinstance(layer, LogMel):
            layer.fit_normalisation(
                to_wave(patches.__getitems__(items[first : first + 32])[0]) for first in range(0, len(items), 32)
            )


@torch.no_grad()
def start_at_prevalence(output: nn.Linear, labels: np.ndarray) -> None:
    """Let a fresh model give every tag its mean training label, whatever it hears.

    With random weights there, most of a short training would go into learning that tags are rare.

    Args:
        labels: (tracks, tags) in [0, 1], NaN = not annotated
    """
    known = ~np.isnan(labels)
    # One imagined track at 0.5 more: no tag starts at a logit that is infinite, or none at all
    means = (np.nansum(labels, axis=0) + 0.5) / (known.sum(axis=0) + 1)
    output.weight.zero_()
    output.bias.copy_(torch.from_numpy(np.log(means / (1 - means))))


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's greetings and advice out of the log; its errors come through."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            warnings.filterwarnings("ignore", message=".*(num_workers|lr_scheduler.step|pin_memory).*")
            yield
    finally:
        logger.setLevel(level)


def _check(training: Labelled, validation: Labelled, settings: Settings) -> None:
    """Refuse what cannot be trained before anything is computed."""
    for part, data in (("training", training), ("validation", validation)):
        if not (~np.isnan(data.labels)).any():
            raise TagscaleError(
                f"The {part} part has {len(data.tracks)} tracks and no annotated label among them: nothing to "
                f"{'learn from' if part == 'training' else 'choose the best epoch by'}. Look at data/partition."
            )
    if len(training.tracks) * settings.patches_per_track < 2:
        raise TagscaleError("One patch per epoch: batch norm needs at least two. Raise train.patches_per_track.")
    if settings.precision == "16-mixed" and not torch.cuda.is_available():
        raise TagscaleError("train.precision 16-mixed needs a GPU; on this machine take 32-true or bf16-mixed.")
