"""A trained tagger as an encoder: what its last layer sees of a waveform, with weights that stay as they are."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tagscale.models.build import Architecture
from tagscale.models.pretrained import PATCH_SECONDS, Published
from tagscale.models.tagger import Tagger


class Encoder(nn.Module):
    """A tagger that is not trained: no gradients, always in evaluation.

    Attributes:
        architecture: description of the tagger
        tags: its own, one output of `forward` each
        patch_samples: length of the excerpts that it was trained on
        features: numbers that `encode` gives
    Shape:
        wave:    (batch, samples), mono 16 kHz in [-1, 1]
        encode:  (batch, features)
        forward: (batch, tags), logits
    """

    def __init__(self, tagger: Tagger, architecture: Architecture) -> None:
        super().__init__()
        self.tagger, self.architecture = tagger, architecture
        self.tags, self.patch_samples = architecture.tags, architecture.patch_samples
        self.features: int = tagger.output.in_features
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "Encoder":
        """Stay in evaluation, also inside a network that is trained."""
        return super().train(False)

    def encode(self, wave: Tensor) -> Tensor:
        features: Tensor = self.tagger.encode(wave)
        return features

    def forward(self, wave: Tensor) -> Tensor:
        logits: Tensor = self.tagger(wave)
        return logits


def architecture_of_published(published: Published) -> Architecture:
    """The description of a published encoder, as its checkpoint carries it."""
    kinds = ("classification",) * len(published.tags)
    return Architecture(published.network, dict(published.capacity), published.tags, kinds, PATCH_SECONDS)


def released_weights(tagger: Any, tensors: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The state dict of a network from the tensors of its released checkpoint.

    TensorFlow's kernels are (time, bands, inputs, outputs) and (inputs, outputs), PyTorch's the other way round.

    Args:
        tagger: a network with `RELEASED`
        tensors: by the names of `released_names`
    """
    names, state = released_names(tagger), {}
    for key, value in tagger.state_dict().items():
        name = names.get(key)
        if name is None:
            state[key] = value  # what the checkpoint does not hold: two numbers of the log-mel, counters of batches
            continue
        state[key] = torch.from_numpy(np.array(tensors[name].transpose(), order="C")).reshape(value.shape)
    return state


def released_names(tagger: Any) -> dict[str, str]:
    """Key of the state dict -> name of the tensor in the released checkpoint."""
    norm = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    dense = {"weight": "kernel", "bias": "bias"}
    names: dict[str, str] = {}
    for ours, theirs in tagger.RELEASED.items():
        parts = norm if theirs.startswith("batch_normalization") else dense
        names |= {f"{ours}.{part}": f"{theirs}/{name}" for part, name in parts.items()}
    return names
