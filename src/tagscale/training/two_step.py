"""The steps of a training: one for most models; for models of parts, every part alone and then the head over them.

Source: Lee & Nam 2017, "Multi-level and multi-scale feature aggregation" [13], and Lee et al. 2017 [15]: taggers of
several input lengths are trained first, each by itself; their features, frozen, are what a second network tags from.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tagscale.models.tagger import Tagger

PART = "part_{}"


@dataclass(frozen=True)
class Step:
    """One training among those that a model needs."""

    name: str  # before the names of its curves and of its files: "part_1"; "" for the model itself
    network: nn.Module  # wave (batch, samples) -> logits (batch, tags)
    trained: nn.Module  # the part of it that learns
    output: nn.Linear
    patch_samples: int


def steps_of(model: Tagger, patch_samples: int) -> list[Step]:
    """The trainings that a model needs, in their order; the last one completes it."""
    if not hasattr(model, "parts"):
        return [Step("", model, model, model.output, patch_samples)]
    whole: Any = model
    parts = [
        Step(PART.format(number), part, part, part.output, samples)
        for number, (part, samples) in enumerate(zip(whole.parts, whole.part_samples, strict=True), start=1)
    ]
    return [*parts, Step("", Head(model), whole.head, whole.head.output, patch_samples)]


class Head(nn.Module):
    """A model of parts whose head alone learns: the parts are heard as they predict, without dropout or gradient.

    Shape:
        wave:    (batch, samples)
        returns: (batch, tags), logits
    """

    whole: Any

    def __init__(self, model: Tagger) -> None:
        super().__init__()
        self.whole = model

    def train(self, mode: bool = True) -> "Head":
        super().train(mode)
        self.whole.parts.eval()
        return self

    def forward(self, wave: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.whole.head_input(wave)
        logits: Tensor = self.whole.head(features)
        return logits


@contextmanager
def only_trained(step: Step) -> Iterator[None]:
    """Let gradients reach what the step trains, and nothing else of its network, while the block runs."""
    frozen = {id(parameter) for parameter in step.network.parameters()} - {
        id(parameter) for parameter in step.trained.parameters()
    }
    held = [parameter for parameter in step.network.parameters() if id(parameter) in frozen and parameter.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)
