"""From a model's description, as params.yaml and checkpoints carry it, to the model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from typing import Any

from pydantic import ValidationError
from torch import nn

from tagscale import SAMPLE_RATE
from tagscale.models.spec import ENCODER_NETWORKS, NETWORKS, EncoderNetwork, Entry
from tagscale.models.tagger import Tagger, refuse_short
from tagscale.runtime.errors import TagscaleError


@dataclass(frozen=True)
class Architecture:
    """Everything that, with the weights, makes a tagger: what a checkpoint's JSON holds.

    >>> capacity = {"width": 0.5, "filters": 64, "units": 200, "dropout": 0.5}
    >>> architecture = Architecture("spectrogram", capacity, ("jazz", "energy"), ("classification", "regression"), 3.0)
    >>> Architecture.from_dict(architecture.as_dict()) == architecture
    True
    """

    model: str  # a key of spec.NETWORKS or spec.ENCODER_NETWORKS
    capacity: dict[str, Any]  # keys of the model's block; values as JSON can hold them
    tags: tuple[str, ...]  # one output each, in this order
    kinds: tuple[str, ...]  # classification | regression, per tag
    patch_seconds: float  # length of the patches that the model is trained on and predicts from
    sample_rate: int = SAMPLE_RATE

    @property
    def patch_samples(self) -> int:
        return round(self.patch_seconds * self.sample_rate)

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self) | {"tags": list(self.tags), "kinds": list(self.kinds)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Architecture":
        """The inverse of `as_dict`. Raises TagscaleError naming missing and unknown keys."""
        known = {field.name for field in fields(cls)}
        if set(content) != known:
            raise TagscaleError(
                f"Model description: missing keys {sorted(known - set(content))}, unknown keys "
                f"{sorted(set(content) - known)}. It was written by another version of tagscale, or edited."
            )
        return cls(**dict(content) | {"tags": tuple(content["tags"]), "kinds": tuple(content["kinds"])})


def build(architecture: Architecture) -> Tagger:
    """A fresh model; its weights are drawn from torch's global generator.

    Shape of the model's forward:
        wave (batch, samples) float32 in [-1, 1] at 16 kHz -> (batch, tags), logits
    Raises:
        TagscaleError: unknown model, a capacity that its block refuses, another sample rate than 16 kHz, or patches
            shorter than the model can take.
    """
    if architecture.sample_rate != SAMPLE_RATE:
        raise TagscaleError(f"The models listen at {SAMPLE_RATE} Hz, not at {architecture.sample_rate} Hz.")
    capacity = checked(architecture.model, architecture.capacity)
    model: Any = class_of(architecture.model)
    refuse_short(architecture.patch_samples, model.shortest(**capacity))
    tagger: Tagger = model(len(architecture.tags), **capacity)
    return tagger


def shortest_samples(architecture: Architecture) -> int:
    """The fewest samples that the model of this description can take. Raises TagscaleError as `build`."""
    return class_of(architecture.model).shortest(**checked(architecture.model, architecture.capacity))


def class_of(model: str) -> type[Tagger]:
    """The class that computes a model, imported now. Raises TagscaleError where no network has this name."""
    module, _, name = str(_entry(model).implementation).partition(":")
    network: type[Tagger] = getattr(import_module(f"tagscale.models.{module}"), name)
    return network


def checked(model: str, capacity: Mapping[str, Any]) -> dict[str, Any]:
    """The capacity as the model's class takes it: it may come from an edited file, or from before a key existed.

    Raises:
        TagscaleError: unknown model; a key that is missing or unknown; a value of the wrong type or out of range.
    """
    entry = _entry(model)
    try:
        return entry.capacity.model_validate(capacity).model_dump()
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}, found {problem['input']!r}"
            for problem in error.errors()
        ]
        raise TagscaleError(f"Capacity of the {model} model: {'; '.join(problems)}.") from None


def parameter_count(model: nn.Module) -> int:
    """Trainable parameters: weights, biases, gammas and betas; no running statistics."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _entry(model: str) -> Entry | EncoderNetwork:
    known = NETWORKS | ENCODER_NETWORKS
    if model not in known:
        raise TagscaleError(f"Unknown model {model!r}; there are {', '.join(known)}.")
    return known[model]
