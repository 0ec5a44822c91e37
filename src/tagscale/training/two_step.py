"""The steps of a training: one for most models; for models of parts, every part alone and then the head over them.

Source: Lee & Nam 2017, "Multi-level and multi-scale feature aggregation" [13], and Lee et al. 2017 [15]: taggers of
several input lengths are trained first, each by itself; their features, frozen, are what a second network tags from.
As there, features are taken once: of `train.patches_per_track` patches of a track, the same in every epoch.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from tagscale.audio.loading import loader
from tagscale.audio.patches import Batch, Patches, RandomPatches, SpacedPatches, to_wave
from tagscale.models.tagger import Tagger
from tagscale.training.distributed import World, summed

PART = "part_{}"
EXCHANGED = 1 << 24  # numbers of a table that processes exchange at a time: 64 MB


@dataclass(frozen=True)
class Step:
    """One training among those that a model needs."""

    name: str  # before the names of its curves and of its files: "part_1"; "" for the model itself
    network: nn.Module  # (batch, samples), or (batch, features) that `listener` hears -> logits (batch, tags)
    output: nn.Linear
    patch_samples: int
    listener: Any = None  # the model whose parts, trained before, hear for the network

    @property
    def inputs(self) -> int:
        """Numbers that the network gets of a patch."""
        return self.listener.features if self.listener is not None else self.patch_samples


def steps_of(model: Tagger, patch_samples: int) -> list[Step]:
    """The trainings that a model needs, in their order; the last one completes it."""
    if not hasattr(model, "parts"):
        return [Step("", model, model.output, patch_samples)]
    whole: Any = model
    parts = [
        Step(PART.format(number), part, part.output, samples)
        for number, (part, samples) in enumerate(zip(whole.parts, whole.part_samples, strict=True), start=1)
    ]
    return [*parts, Step("", whole.head, whole.head.output, patch_samples, listener=whole)]


class Heard(Patches):
    """Features, (patches, features), in place of the waveforms of a dataset with `per_track` patches of each track."""

    features: Tensor
    per_track: int

    def __getitems__(self, items: list[int]) -> Batch:
        within = np.asarray(items, np.int64) % len(self)
        return self.features[torch.from_numpy(within)], torch.from_numpy(self.targets[within // self.per_track])


class HeardShuffled(Heard, RandomPatches):
    """To train with: every epoch has them in another order."""


class HeardInOrder(Heard, SpacedPatches):
    """To validate with."""


def heard_patches(
    step: Step, training: RandomPatches, validation: SpacedPatches, batch: int, workers: int, half: torch.dtype | None
) -> list[Patches]:
    """The datasets of a step whose network gets features: those of the same tracks, heard by the parts.

    Args:
        batch: patches that are heard at once
        half: precision at which they are heard; None: float32
    """
    fixed = SpacedPatches(training.store, training.tracks, training.targets, training.patch_samples, training.per_track)
    shuffled = HeardShuffled(
        training.store, training.tracks, training.targets, training.patch_samples, training.per_track, training.seed
    )
    in_order = HeardInOrder(
        validation.store, validation.tracks, validation.targets, validation.patch_samples, validation.per_track
    )
    shuffled.features = heard(step, fixed, batch, workers, half)
    in_order.features = heard(step, validation, batch, workers, half)
    return [shuffled, in_order]


@torch.no_grad()
def heard(step: Step, patches: SpacedPatches, batch: int, workers: int, half: torch.dtype | None) -> Tensor:
    """(patches, features) float32 on the CPU. Each of several processes hears its share, and all get the whole."""
    world, on_gpu, console, begin = World.current(), torch.cuda.is_available(), Console(), time.perf_counter()
    device = torch.device("cuda" if on_gpu else "cpu")
    step.listener.to(device).parts.eval()  # they predict, without dropout
    table = torch.zeros(len(patches), step.inputs)
    place = world.rank * len(patches) // world.size  # as `loader` shares them out
    batches = loader(patches, batch, workers, on_gpu, world.rank, world.size)
    seen = world.first and console.is_terminal
    with torch.autocast(device.type, half, enabled=half is not None):
        for waves, _ in track(batches, "features", console=console, transient=True, disable=not seen):
            features = step.listener.head_input(to_wave(waves.to(device, non_blocking=True)))
            table[place : place + len(waves)] = features.float().cpu()
            place += len(waves)
    for rows in table.split(max(1, EXCHANGED // step.inputs)):
        rows.copy_(summed(rows.to(device)))
    if world.first:
        rate = len(patches) / (time.perf_counter() - begin)
        console.print(f"features of {len(patches):,} patches, {rate:,.0f} patches/s", highlight=False, soft_wrap=True)
    return table
