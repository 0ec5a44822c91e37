"""Fitting one tagger: its data, its first weights, and the trainings that make it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tagscale.audio.augmentation import read_samples
from tagscale.audio.loading import TrainingLoader, loader
from tagscale.audio.logmel import LogMel
from tagscale.audio.patches import Batch, RandomPatches, Samples, SpacedPatches, to_wave
from tagscale.models.build import Architecture, build
from tagscale.models.tagger import Tagger
from tagscale.params.blocks import TrainParams
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.machine import cores
from tagscale.training.budget import Budget, kept_step
from tagscale.training.distributed import World
from tagscale.training.failures import lost_process_explained
from tagscale.training.loop import OnRow, train
from tagscale.training.recipe import balanced_weights, with_precision
from tagscale.training.resume import Unfinished
from tagscale.training.start import Start, start_at_probe
from tagscale.training.state import State
from tagscale.training.steps import Step, feature_patches, steps_of

VALIDATION_PATCHES = 3  # of each validation track, always the same: enough to choose the weights by
PROBED_TRACKS = 2000  # that the output is fitted to before a training that starts from another
NORMALISATION_TRACKS = 500  # the log-mel statistics of more do not differ
MOST_WORKERS = 8
HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

Report = Callable[[dict[str, float], int], None]  # takes numbers of the training, and the steps before them


@dataclass(frozen=True)
class Labelled:
    """Tracks and their labels: (tracks, tags) float32 in [0, 1], NaN = not annotated."""

    tracks: list[str]
    labels: np.ndarray


@dataclass(frozen=True)
class Fitted:
    """A trained model, with the weights of the validation that `train.keep` names, and how training went.

    history: a row for each validation, with the columns of `training.loop.train`; of the last step of the training,
        where the model has several
    kept_step: the number of steps before the validation whose weights the model has
    earlier: histories of the steps before, by their names
    seconds: what training took, in all processes one after another
    """

    model: Tagger
    history: pd.DataFrame
    kept_step: int
    earlier: dict[str, pd.DataFrame] = field(default_factory=dict)
    seconds: float = 0.0


def fit(
    architecture: Architecture,
    store: Samples,
    training: Labelled,
    validation: Labelled,
    settings: TrainParams,
    seed: int,
    report: Report | None = None,
    unfinished: Unfinished | None = None,
    start: Start | None = None,
) -> Fitted:
    """Train a model on the training tracks until the validation loss stops falling.

    Initial weights, dropout, patches and their order follow from the seed: on the same CPU with the same number of
    threads the same weights come out, bit by bit. On a GPU, which is used where there is one, sums are not bit-exact.
    As one of several processes (torchrun) this one takes its share of every batch, and all get equal weights.

    Args:
        report: called with the numbers of every validation, also of those from before the training was resumed, and
            with the loss and the learning rate between two of them; their names begin with the step's
            (`part_1/valid_loss`) where the model is trained in several steps
        unfinished: the folder of the training's states, from which it resumes
        start: weights that the model begins with, in place of random ones
    Raises:
        TagscaleError: nothing to learn or to validate from, a loss that is not a number, a precision that the
            machine cannot do, patches too short for the model, not enough memory, a full disk, another process of the
            training that failed.
    """
    settings = with_precision(settings)
    _check(training, validation, settings)
    world = World.current()
    world.share_of(settings.batch)
    torch.manual_seed(seed)
    model, further = build(architecture), {}
    if start is not None:
        model.load_state_dict(start.weights, strict=False)  # all but the output's
        further = {"body_rate": settings.body_rate, "frozen_norms": settings.freeze_norms}
    regression = np.array([kind == "regression" for kind in architecture.kinds])
    weights = balanced_weights(training.labels, regression) if settings.class_weights == "balanced" else None
    objective = {"loss": settings.loss, "regression": torch.from_numpy(regression), "weights": weights}

    finished: dict[str, State] = {}
    with lost_process_explained(world):
        world.connect()
        for number, step in enumerate(steps_of(model, architecture.patch_samples, **further)):
            samples = step.patch_samples if step.encoder else read_samples(step.patch_samples, settings.augment)
            random = RandomPatches(store, training.tracks, training.labels, samples, settings.patches_per_track, seed)
            spaced = SpacedPatches(store, validation.tracks, validation.labels, step.patch_samples, VALIDATION_PATCHES)
            states = unfinished.states(step.name or "model") if unfinished else None
            saved = states.newest() if states else None
            if saved is None:
                if start is None:
                    fit_normalisation(step.network, random)
                start_at_prevalence(step.network.output, training.labels, weights)
                if start is not None and step.encoder is None:
                    known = SpacedPatches(
                        store, training.tracks[:PROBED_TRACKS], training.labels[:PROBED_TRACKS], step.patch_samples,
                        VALIDATION_PATCHES,
                    )  # fmt: skip
                    start_at_probe(step.network, known, spaced, architecture.kinds, settings.class_weights)
            budget = Budget.of(settings, len(random), len(spaced))
            loaders = partial(_loaders, step, random, spaced, settings)
            on_row = _named(report, step.name) if report and world.first else None
            finished[step.name] = train(
                step, settings, budget, (seed, number), objective, loaders, states, saved, on_row, on_point=on_row
            )
    if start is not None:
        model.requires_grad_(True)  # norms were frozen for this training alone
    histories = {name: pd.DataFrame(state.rows) for name, state in finished.items()}
    seconds = sum(state.seconds for state in finished.values())
    kept = kept_step(finished[""].history, settings.keep)
    return Fitted(model.cpu().eval(), histories.pop(""), kept, histories, seconds)


def _loaders(
    step: Step, random: RandomPatches, spaced: SpacedPatches, settings: TrainParams
) -> tuple[TrainingLoader, DataLoader[Batch]]:
    """The batches of a step's training and validation; of features, which are computed first, where it takes those."""
    world, on_gpu, workers = World.current(), torch.cuda.is_available(), settings.workers
    share = world.share_of(settings.batch)
    if workers is None:  # on a CPU they would take its cores from the training
        workers = min(MOST_WORKERS, cores() // world.local_size) if on_gpu else 0
    if step.encoder is not None:
        random, spaced = feature_patches(step, random, spaced, share, workers, HALF.get(settings.precision or ""))
        workers = 0  # they are in memory
    training, validation = (loader(part, share, workers, on_gpu, world.rank, world.size) for part in (random, spaced))
    assert isinstance(training, TrainingLoader)
    return training, validation


def _named(report: Report, step: str) -> OnRow:
    """A row's numbers under the name of the step of the training, and the number of optimiser steps by itself."""
    prefix = f"{step}/" if step else ""

    def on_row(row: dict[str, float]) -> None:
        report({f"{prefix}{name}": value for name, value in row.items() if name != "step"}, int(row["step"]))

    return on_row


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
    """Let a fresh model give every tag its mean training label, whatever the input.

    With random weights there, most of a short training would go into learning that tags are rare.

    Args:
        labels: (tracks, tags) in [0, 1], NaN = not annotated
        weights: (2, tags), with which labels of 0 and of 1 count in the loss
    """
    known = ~np.isnan(labels)
    # One imagined track at 0.5 more: no tag starts at an infinite logit, or at none
    means = (np.nansum(labels, axis=0) + 0.5) / (known.sum(axis=0) + 1)
    bias = np.log(means / (1 - means))
    if weights is not None:
        bias = bias + np.log(weights[1].numpy() / weights[0].numpy())
    output.weight.zero_()
    output.bias.copy_(torch.from_numpy(bias))


def _check(training: Labelled, validation: Labelled, settings: TrainParams) -> None:
    """Refuse what cannot be trained before anything is computed."""
    for part, data in (("training", training), ("validation", validation)):
        if not (~np.isnan(data.labels)).any():
            raise TagscaleError(
                f"The {part} part has {len(data.tracks)} tracks and no annotated label among them: nothing to "
                f"{'learn from' if part == 'training' else 'choose the best weights by'}. Look at data/partition."
            )
    if len(training.tracks) * settings.patches_per_track < 2:
        raise TagscaleError("One patch per epoch: batch norm needs at least two. Raise train.patches_per_track.")
    if settings.precision == "16-mixed" and not torch.cuda.is_available():
        raise TagscaleError("train.precision 16-mixed needs a GPU; on this machine take 32-true or bf16-mixed.")
