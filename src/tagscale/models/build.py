"""From a model's description, as params.yaml and checkpoints carry it, to the model."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import nn

from tagscale import SAMPLE_RATE
from tagscale.models.crnn import CRNN
from tagscale.models.dieleman import Dieleman
from tagscale.models.multiscale import Multiscale, SampleCNNMultiscale
from tagscale.models.samplecnn import SampleCNN
from tagscale.models.short_chunk import ShortChunkTagger
from tagscale.models.spectrogram import SpectrogramTagger
from tagscale.models.tagger import Tagger, refuse_short
from tagscale.models.timbre_cnn import TimbreCNN
from tagscale.models.transformer import TransformerTagger
from tagscale.models.vgg import VGG
from tagscale.models.waveform import WaveformTagger
from tagscale.runtime.errors import TagscaleError

MODELS: dict[str, type[Tagger]] = {
    "waveform": WaveformTagger,
    "spectrogram": SpectrogramTagger,
    "short_chunk": ShortChunkTagger,  # this and the next came after the paper
    "transformer": TransformerTagger,
    "samplecnn": SampleCNN,  # from here on the baselines of its tables 2 to 4
    "dieleman": Dieleman,
    "vgg": VGG,
    "timbre_cnn": TimbreCNN,
    "crnn": CRNN,
    "multiscale": Multiscale,
    "samplecnn_multiscale": SampleCNNMultiscale,
}


@dataclass(frozen=True)
class Architecture:
    """Everything that, with the weights, makes a tagger: what a checkpoint's JSON holds.

    >>> capacity = {"width": 0.5, "filters": 64, "units": 200, "dropout": 0.5}
    >>> architecture = Architecture("spectrogram", capacity, ("jazz", "energy"), ("classification", "regression"), 3.0)
    >>> Architecture.from_dict(architecture.as_dict()) == architecture
    True
    """

    model: str  # a key of MODELS
    capacity: dict[str, Any]  # what the model's class takes as keywords; values as JSON can hold them
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
        TagscaleError: unknown model, wrong capacity keys, another sample rate than 16 kHz, or patches shorter than
            the model can take.
    """
    refuse_short(architecture.patch_samples, shortest_samples(architecture))
    model: Any = MODELS[architecture.model]
    tagger: Tagger = model(len(architecture.tags), **architecture.capacity)
    return tagger


def shortest_samples(architecture: Architecture) -> int:
    """The fewest samples that the model of this description can take. Raises TagscaleError as `build`."""
    _check(architecture)
    return MODELS[architecture.model].shortest(**architecture.capacity)


def capacity_keys(model: str) -> dict[str, bool]:
    """The capacity that a model takes, in its own order, and whether each key must be given.

    >>> capacity_keys("spectrogram")
    {'width': True, 'filters': True, 'units': True, 'dropout': True, 'pooling': False}
    """
    parameters = inspect.signature(MODELS[model]).parameters.values()
    return {p.name: p.default is p.empty for p in parameters if p.kind is p.KEYWORD_ONLY}


def parameter_count(model: nn.Module) -> int:
    """Trainable parameters: weights, biases, gammas and betas; no running statistics."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _check(architecture: Architecture) -> None:
    """Refuse a description that no model fits: it may come from an edited file."""
    if architecture.model not in MODELS:
        raise TagscaleError(f"Unknown model {architecture.model!r}; there are {', '.join(MODELS)}.")
    keys, given = capacity_keys(architecture.model), set(architecture.capacity)
    if not {key for key, needed in keys.items() if needed} <= given <= set(keys):
        raise TagscaleError(
            f"Capacity of the {architecture.model} model: expected {sorted(keys)}, found {sorted(given)}."
        )
    if architecture.sample_rate != SAMPLE_RATE:
        raise TagscaleError(f"The models listen at {SAMPLE_RATE} Hz, not at {architecture.sample_rate} Hz.")
