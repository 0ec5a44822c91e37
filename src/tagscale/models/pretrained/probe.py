"""A published encoder under an output for other tags; and the probe, in which the encoder stays as it is.

Source: Alain & Bengio 2016, "Understanding intermediate layers using linear classifier probes". `training.head` fits
the layer to the features of whole tracks; the network here is what is evaluated, registered and packaged.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tagscale.models.build import class_of
from tagscale.models.pretrained import ENCODERS
from tagscale.models.tagger import Tagger


class EncoderTagger(Tagger):
    """An encoder without its own output, and an output for other tags.

    Args:
        tags: number of outputs
        encoder: a key of `ENCODERS`
    """

    def __init__(self, tags: int, *, encoder: str) -> None:
        super().__init__()
        published = ENCODERS[encoder]
        network: Any = class_of(published.network)(len(published.tags), **published.capacity)
        self.output = nn.Linear(network.output.in_features, tags)
        network.output = nn.Identity()
        self.encoder: Tagger = network
        self.shortest_samples = network.shortest_samples

    def encode(self, wave: Tensor) -> Tensor:
        return self.encoder.encode(wave)

    @classmethod
    def natural(cls, **capacity: Any) -> int | None:
        published = ENCODERS[capacity["encoder"]]
        return class_of(published.network).natural(**published.capacity)

    @staticmethod
    def shortest(**capacity: Any) -> int:
        published = ENCODERS[capacity["encoder"]]
        return class_of(published.network).shortest(**published.capacity)


class Probe(EncoderTagger):
    """The encoder is frozen; only the output is fitted. Arguments as of `EncoderTagger`."""

    def __init__(self, tags: int, *, encoder: str) -> None:
        super().__init__(tags, encoder=encoder)
        self.encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Probe":
        """The encoder stays in evaluation."""
        super().train(mode)
        self.encoder.eval()
        return self


class JoinedProbes(nn.Module):
    """The weighted mean of the scores of probes on one encoder, which encodes a recording once, not once a probe.

    Args:
        probes: of the same encoder, with the same outputs
        weights: (probes,), of sum 1
    """

    def __init__(self, probes: Sequence[Probe], weights: Sequence[float]) -> None:
        super().__init__()
        self.encoder, self.weights = probes[0].encoder, list(weights)
        self.outputs = nn.ModuleList(probe.output for probe in probes)
        self.dims = probes[0].dims

    def forward(self, wave: Tensor) -> Tensor:
        """(batch, samples) -> (batch, tags), the logits of the mean scores."""
        return self.output(self.encode(wave))

    def encode(self, wave: Tensor) -> Tensor:
        """(batch, samples) -> (batch, features), as of each probe."""
        return self.encoder.encode(wave)

    def output(self, features: Tensor) -> Tensor:
        """(batch, features) -> (batch, tags), the logits of the mean scores."""
        means = [weight * output(features).sigmoid() for weight, output in zip(self.weights, self.outputs, strict=True)]
        return torch.stack(means).sum(dim=0).clamp(0, 1).logit()


def have_one_encoder(probes: Sequence[Probe]) -> bool:
    """Whether the encoders of all probes compute the same, their weights included."""
    first, *others = [probe.encoder.state_dict() for probe in probes]
    return all(
        other.keys() == first.keys() and all(torch.equal(other[key], first[key]) for key in first) for other in others
    )
