"""Multi-level and multi-scale taggers: features of a whole clip from several networks, and a head on them.

Source: Lee & Nam 2017, "Multi-level and multi-scale feature aggregation using pretrained convolutional neural networks
for music auto-tagging" [13]: the activations of the last three layers, the maximum within a segment, the mean over
segments, concatenated over layers and scales, and dense layers on that. The parts train first, each as a tagger of its
own; then their weights are frozen, and the head trains.

The segments of a part lie next to each other. Where they do not fill the patch, they spread evenly from its first
sample to its last and overlap a little, as in the authors' released code. Its head has two hidden layers of 8,192
units, 151M weights for eight scales, and no dropout; here `units` is 1,024 by default, with dropout.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.models.samplecnn import SingleScale
from tagscale.models.tagger import Tagger

CLIP = 464_000  # 29 s: the features are of a whole clip, and the clips of MTT and MSD are 29 to 30 s long
UNITS = 1024


class MultiscaleTagger(Tagger):
    """Parts of one time scale each, and a head on the features of all.

    Attributes:
        parts: single-scale taggers, each trained on patches of its own length
        part_samples: those lengths
        features: length of `head_input`
        head: dense layers on that
    """

    NATURAL_SAMPLES = CLIP
    parts: nn.ModuleList  # of SingleScale
    part_samples: tuple[int, ...]
    features: int
    head: "Head"

    @property
    def output(self) -> nn.Linear:  # type: ignore[override]  # the base's is a layer of its own
        return self.head.output

    def head_input(self, wave: Tensor) -> Tensor:
        """(batch, samples) -> (batch, features): part by part, the levels of each from the lowest to the last."""
        longest = max(self.part_samples)
        scales = [
            aggregate(part, segments(wave, samples), at_once=longest // samples)
            for part, samples in zip(self._parts(), self.part_samples, strict=True)
        ]
        return torch.cat(scales, dim=1)

    def encode(self, wave: Tensor) -> Tensor:
        return self.head.encode(self.head_input(wave))

    def _parts(self) -> Iterator[SingleScale]:
        return (part for part in self.parts if isinstance(part, SingleScale))

    def _assemble(self, parts: Sequence[SingleScale], tags: int, units: int, dropout: float) -> None:
        self.parts = nn.ModuleList(parts)
        self.part_samples = tuple(part.shortest_samples for part in parts)
        self.shortest_samples = max(self.part_samples)
        self.features = sum(sum(part.level_filters) for part in parts)
        self.head = Head(self.features, tags, units, dropout)


class Head(nn.Module):
    """Two hidden dense layers with ReLU, and the output.

    Shape:
        features: (batch, features)
        returns:  (batch, tags), logits
    """

    def __init__(self, features: int, tags: int, units: int, dropout: float) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(features, units)
        self.hidden2 = nn.Linear(units, units)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(units, tags)
        for layer in (self.hidden1, self.hidden2):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
        nn.init.xavier_uniform_(self.output.weight)
        for layer in (self.hidden1, self.hidden2, self.output):
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.output(self.encode(features))

    def encode(self, features: Tensor) -> Tensor:
        """(batch, features) -> (batch, units): what the output sees."""
        x = self.dropout(F.relu(self.hidden1(features)))
        return self.dropout(F.relu(self.hidden2(x)))


def segments(wave: Tensor, samples: int) -> Tensor:
    """(batch, length) -> (batch, segments, samples): as few as cover the wave, evenly spread from its start to its end.

    >>> segments(torch.arange(7)[None], 3)
    tensor([[[0, 1, 2],
             [2, 3, 4],
             [4, 5, 6]]])
    """
    spare = wave.shape[1] - samples
    count = (wave.shape[1] + samples - 1) // samples  # ONNX rounds a negative quotient towards 0
    starts = spare * torch.arange(count, device=wave.device) // torch.sym_max(count - 1, 1)
    return wave[:, starts[:, None] + torch.arange(samples, device=wave.device)]


def aggregate(part: SingleScale, pieces: Tensor, at_once: int) -> Tensor:
    """Features of one scale: of each of a part's levels the maximum within a segment, and the mean over segments.

    Args:
        pieces: (batch, segments, samples)
        at_once: segments of a wave that the part computes together; it bounds the memory and does not change the result
    Returns:
        (batch, sum of the part's `level_filters`)
    """
    total = torch.zeros((), device=pieces.device)  # float32 also where the part runs at half precision
    groups = (pieces,) if torch.compiler.is_exporting() else pieces.split(at_once, dim=1)  # whatever the wave's length
    for group in groups:
        maxima = torch.cat([level.amax(dim=2) for level in part.levels(group.flatten(0, 1))], dim=1)
        total = total + maxima.float().view(*group.shape[:2], -1).sum(dim=1)  # (B, features)
    return total / pieces.shape[1]


def prime_factors(number: int) -> list[int]:
    """Ascending.

    >>> prime_factors(108), prime_factors(12_288) == [2] * 12 + [3]
    ([2, 2, 3, 3, 3], True)
    """
    factors, factor = [], 2
    while number > 1:
        while number % factor == 0:
            factors.append(factor)
            number //= factor
        factor += 1
    return factors
