"""The steps of a training: one for most models; for models of parts one for each part, and then one for the head.

Source: Lee & Nam 2017, "Multi-level and multi-scale feature aggregation" [13], and Lee et al. 2017 [15]: taggers of
several input lengths are trained first, each by itself; their features, frozen, are the input of a second network. As
there, features are computed once: of `train.patches_per_track` patches of a track, the same in every epoch.
"""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tagscale.audio.loading import loader
from tagscale.audio.patches import Batch, RandomPatches, SpacedPatches, to_wave
from tagscale.models.tagger import Tagger
from tagscale.training.distributed import World, summed

PART = "part_{}"
EXCHANGED = 1 << 24  # numbers of a table that processes exchange at a time: 64 MB


@dataclass(frozen=True)
class Step:
    """One training among those that a model needs."""

    name: str  # prefix of its curves, and name of its files: "part_1"; "" for the model itself
    network: Any  # module with `output`, its last layer: (batch, samples or features) -> logits (batch, tags)
    patch_samples: int
    encoder: Any = None  # the model whose trained parts compute the network's input
    body_rate: float = 1.0  # rate of all layers but the output, as a share of the output's
    frozen_norms: bool = False  # batch norms keep their weights and statistics

    @property
    def inputs(self) -> int:
        """Length of the network's input for one patch."""
        return self.encoder.features if self.encoder is not None else self.patch_samples


def steps_of(model: Tagger, patch_samples: int, **options: Any) -> list[Step]:
    """The trainings that a model needs, in their order; the last one completes it.

    Args:
        options: body_rate and frozen_norms of all of them
    """
    if not hasattr(model, "parts"):
        return [Step("", model, patch_samples, **options)]
    whole: Any = model
    parts = [
        Step(PART.format(number), part, samples, **options)
        for number, (part, samples) in enumerate(zip(whole.parts, whole.part_samples, strict=True), start=1)
    ]
    return [*parts, Step("", whole.head, patch_samples, encoder=whole, **options)]


class ShuffledFeatures(RandomPatches):
    """Features, (patches, features), in place of the waveforms of random patches; in another order in every epoch."""

    def __init__(self, patches: RandomPatches, features: Tensor) -> None:
        super().__init__(
            patches.store, patches.tracks, patches.targets, patches.patch_samples, patches.per_track, patches.seed
        )
        self.features = features

    def __getitems__(self, items: list[int]) -> Batch:
        return _rows(self, self.features, items)


class SpacedFeatures(SpacedPatches):
    """Features, (patches, features), in place of the waveforms of spaced patches."""

    def __init__(self, patches: SpacedPatches, features: Tensor) -> None:
        super().__init__(patches.store, patches.tracks, patches.targets, patches.patch_samples, patches.per_track)
        self.features = features

    def __getitems__(self, items: list[int]) -> Batch:
        return _rows(self, self.features, items)


def _rows(patches: RandomPatches | SpacedPatches, features: Tensor, items: list[int]) -> Batch:
    within = np.asarray(items, np.int64) % len(patches)
    return features[torch.from_numpy(within)], torch.from_numpy(patches.targets[within // patches.per_track])


def feature_patches(
    step: Step, training: RandomPatches, validation: SpacedPatches, batch: int, workers: int, half: torch.dtype | None
) -> tuple[ShuffledFeatures, SpacedFeatures]:
    """The training and validation data of a step whose network takes features.

    Args:
        batch: patches in one forward pass of the encoder
        half: precision of the forward pass; None: float32
    """
    spaced = SpacedPatches(
        training.store, training.tracks, training.targets, training.patch_samples, training.per_track
    )
    return (
        ShuffledFeatures(training, features_of(step, spaced, batch, workers, half)),
        SpacedFeatures(validation, features_of(step, validation, batch, workers, half)),
    )


@torch.no_grad()
def features_of(step: Step, patches: SpacedPatches, batch: int, workers: int, half: torch.dtype | None) -> Tensor:
    """(patches, features) float32 on the CPU. Each of several processes computes its share, and all get the whole."""
    world, on_gpu, begin = World.current(), torch.cuda.is_available(), time.perf_counter()
    device = torch.device("cuda" if on_gpu else "cpu")
    step.encoder.to(device).parts.eval()  # they predict, without dropout
    table = torch.zeros(len(patches), step.inputs)
    place = world.rank * len(patches) // world.size  # as `loader` shares them out
    batches: Iterable[Batch] = loader(patches, batch, workers, on_gpu, world.rank, world.size)
    if world.first and sys.stdout.isatty():
        from tagscale.runtime.progress import counted  # rich, which only a terminal needs

        batches = counted(batches, "batches", "features")
    with torch.autocast(device.type, half, enabled=half is not None):
        for waves, _ in batches:
            features = step.encoder.head_input(to_wave(waves.to(device, non_blocking=True)))
            table[place : place + len(waves)] = features.float().cpu()
            place += len(waves)
    for rows in table.split(max(1, EXCHANGED // step.inputs)):
        rows.copy_(summed(rows.to(device)))
    if world.first:
        rate = len(patches) / (time.perf_counter() - begin)
        print(f"features of {len(patches):,} patches, {rate:,.0f} patches/s", flush=True)
    return table
