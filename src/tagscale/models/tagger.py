"""What all taggers have in common: a waveform in, a logit per tag out."""

import math
from typing import Any, ClassVar

from torch import Tensor, nn

from tagscale import SAMPLE_RATE
from tagscale.runtime.errors import TagscaleError


class Tagger(nn.Module):
    """A model of a waveform. Subclasses take (tags, *, capacity as keywords) and define `encode`.

    Attributes:
        shortest_samples: the fewest samples that it can take
        output: the last layer, one output a tag
        NATURAL_SAMPLES: patch length of the published design; None where it takes any
    Shape:
        wave:    (batch, samples), mono 16 kHz in [-1, 1], samples >= `shortest_samples`
        returns: (batch, tags), logits
    Raises:
        TagscaleError: excerpt too short for the model.
    """

    NATURAL_SAMPLES: ClassVar[int | None] = None
    shortest_samples: int
    output: nn.Linear

    def forward(self, wave: Tensor) -> Tensor:
        refuse_short(wave.shape[-1], self.shortest_samples)
        logits: Tensor = self.output(self.encode(wave))
        return logits

    @property
    def dims(self) -> int:
        """Numbers that `encode` gives for an excerpt."""
        return self.output.in_features

    def encode(self, wave: Tensor) -> Tensor:
        """(batch, samples) -> (batch, features): what the last layer sees of an excerpt that is long enough."""
        raise NotImplementedError

    @classmethod
    def natural(cls, **capacity: Any) -> int | None:
        """The published patch length in samples, or more where this capacity needs it; None: the design takes any."""
        return cls.NATURAL_SAMPLES and max(cls.NATURAL_SAMPLES, cls.shortest(**capacity))

    @classmethod
    def shortest(cls, **capacity: Any) -> int:
        """`shortest_samples` of a model of this capacity, without building it."""
        return cls.shortest_samples


def scaled(filters: int, width: float, model: str) -> int:
    """Number of filters of a layer at a width factor, rounded.

    >>> [scaled(filters, 1 / 8, "spectrogram") for filters in (16, 32, 64)]
    [2, 4, 8]

    Raises:
        TagscaleError: no filter is left.
    """
    count = round(filters * width)
    if count < 1:
        raise TagscaleError(
            f"model.{model}.width: {width:g} leaves none of the {filters} filters of a layer; "
            f"give at least {1 / filters:g}."
        )
    return count


def refuse_short(samples: int, shortest: int) -> None:
    """Raise TagscaleError when an excerpt has fewer samples than a model needs.

    >>> refuse_short(160_000, 177_144)
    Traceback (most recent call last):
    tagscale.runtime.errors.TagscaleError: This model needs at least 11.0715 s of audio ...
    """
    if samples < shortest:
        at_least = math.ceil(shortest * 10_000 / SAMPLE_RATE) / 10_000  # rounded up to what still suffices
        raise TagscaleError(
            f"This model needs at least {at_least:g} s of audio ({shortest} samples), found "
            f"{samples / SAMPLE_RATE:g} s. Raise train.patch_seconds; or, with nine waveform layers, set "
            "model.waveform.layers to 7 (1.23 s)."
        )
