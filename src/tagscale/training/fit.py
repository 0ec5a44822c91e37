"""Fitting one tagger: its data, its first weights, and the trainings that make it."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tagscale.audio.loading import batches_per_epoch, loader
from tagscale.audio.logmel import LogMel
from tagscale.audio.patches import Batch, Patches, RandomPatches, Samples, SpacedPatches, to_wave
from tagscale.models.build import Architecture, build
from tagscale.models.tagger import Tagger
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.machine import cores
from tagscale.training.distributed import World, lost_processes_explained
from tagscale.training.epochs import OnEpoch
from tagscale.training.losses import balanced_weights
from tagscale.training.module import Settings, Training
from tagscale.training.resume import Unfinished
from tagscale.training.sync_norm import synchronised
from tagscale.training.trainer import run_step
from tagscale.training.two_step import Step, heard_patches, steps_of

VALIDATION_PATCHES = 3  # of each validation track, always the same: enough to choose the epoch by
NORMALISATION_TRACKS = 500  # the log-mel statistics of more do not differ
MOST_WORKERS = 8
HALF = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class Labelled:
    """Tracks and their labels: (tracks, tags) float32 in [0, 1], NaN = not annotated."""

    tracks: list[str]
    labels: np.ndarray


@dataclass(frozen=True)
class Fitted:
    """A trained model, with the weights of its best epoch, and how training went.

    history: epoch (from 1), train_loss, valid_loss, learning_rate, patches_per_second, seconds, data_wait,
        peak_memory_mb; of the last step where the model is trained in several
    earlier: histories of the steps before, by their names
    seconds: what training took, in all processes one after another
    """

    model: Tagger
    history: pd.DataFrame
    best_epoch: int
    earlier: dict[str, pd.DataFrame] = field(default_factory=dict)
    seconds: float = 0.0


def fit(
    architecture: Architecture,
    store: Samples,
    training: Labelled,
    validation: Labelled,
    settings: Settings,
    seed: int,
    on_epoch: OnEpoch | None = None,
    unfinished: Unfinished | None = None,
    workers: int | None = None,
) -> Fitted:
    """Train a fresh model on the training tracks until the validation loss stops falling.

    Initial weights, dropout, patches and their order follow from the seed: on the same CPU with the same number of
    threads the same weights come out, bit by bit. A GPU is used where there is one; sums are then not bit-exact.
    As one process of several (torchrun) this one takes its share of every batch, and all come out alike.

    Args:
        on_epoch: told of every epoch, also of those before where the training goes on; names of curves begin with the
            step's (`part_1/valid_loss`) where a model is trained in several
        unfinished: where the training's states are kept until it is complete, so that it can go on after it was ended
        workers: processes that read patches; by the machine when not given
    Raises:
        TagscaleError: nothing to learn or to validate from, a loss that is not a number, a precision that the
            machine cannot do, patches too short for the model, not enough memory, a full disk, another process of the
            training that failed.
    """
    _check(training, validation, settings)
    world = World.current()
    share = world.share_of(settings.batch)
    torch.manual_seed(seed)
    model = build(architecture)
    on_gpu = torch.cuda.is_available()
    if workers is None:  # a CPU has better things to do than to copy
        workers = min(MOST_WORKERS, cores() // world.local_size) if on_gpu else 0
    regression = np.array([kind == "regression" for kind in architecture.kinds])
    weights = balanced_weights(training.labels, regression) if settings.class_weights == "balanced" else None

    histories: dict[str, pd.DataFrame] = {}
    best_epoch, seconds = 0, 0.0
    with lost_processes_explained(world):
        world.connect()
        for number, step in enumerate(steps_of(model, architecture.patch_samples)):
            patches = RandomPatches(
                store, training.tracks, training.labels, step.patch_samples, settings.patches_per_track, seed
            )
            fixed = SpacedPatches(store, validation.tracks, validation.labels, step.patch_samples, VALIDATION_PATCHES)
            states = unfinished.states(step.name or "model") if unfinished else None
            state = states.newest() if states else None
            if state is None:  # otherwise they are in it
                fit_normalisation(step.network, patches)
                start_at_prevalence(step.output, training.labels, weights)
            module = Training(
                step.network,
                torch.from_numpy(regression),
                settings,
                steps=settings.max_epochs * batches_per_epoch(patches, share, world.size),
                weights=weights,
                seed=(seed, number),
            )
            loaders = partial(_loaders, step, patches, fixed, share, workers, settings)
            with synchronised(step.network):
                histories[step.name], best_epoch = run_step(step, module, loaders, states, state, on_epoch)
            seconds += module.seconds
    history = histories.pop("")
    return Fitted(model.cpu().eval(), history, best_epoch, histories, seconds)


def _loaders(
    step: Step, patches: RandomPatches, fixed: SpacedPatches, share: int, workers: int, settings: Settings
) -> list[DataLoader[Batch]]:
    """What a step trains with and validates with; features are heard first, where the step wants them."""
    world, on_gpu = World.current(), torch.cuda.is_available()
    data: list[Patches] = [patches, fixed]
    if step.listener is not None:
        data = heard_patches(step, patches, fixed, share, workers, HALF[settings.precision])
        workers = 0  # they are in memory
    return [loader(part, share, workers, on_gpu, world.rank, world.size) for part in data]


def fit_normalisation(model: nn.Module, patches: RandomPatches) -> None:
    """Give a model's log-mel layers the statistics of the training tracks; a model without any stays as it is."""
    items = list(range(0, len(patches), patches.per_track))[:NORMALISATION_TRACKS]  # one patch of each track
    for layer in model.modules():
        if isinstance(layer, LogMel):
            layer.fit_normalisation(
                to_wave(patches.__getitems__(items[first : first + 32])[0]) for first in range(0, len(items), 32)
            )


@torch.no_grad()
def start_at_prevalence(output: nn.Linear, labels: np.ndarray, weights: Tensor | None = None) -> None:
    """Let a fresh model give every tag its mean training label, whatever it hears.

    With random weights there, most of a short training would go into learning that tags are rare.

    Args:
        labels: (tracks, tags) in [0, 1], NaN = not annotated
        weights: (2, tags), with which labels of 0 and of 1 count in the loss
    """
    known = ~np.isnan(labels)
    # One imagined track at 0.5 more: no tag starts at a logit that is infinite, or none at all
    means = (np.nansum(labels, axis=0) + 0.5) / (known.sum(axis=0) + 1)
    bias = np.log(means / (1 - means))
    if weights is not None:
        bias = bias + np.log(weights[1].numpy() / weights[0].numpy())
    output.weight.zero_()
    output.bias.copy_(torch.from_numpy(bias))


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
