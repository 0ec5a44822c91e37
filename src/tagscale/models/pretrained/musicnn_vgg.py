"""The VGG that was released with MusiCNN, as its baseline: five layers of 3 x 3 filters on a log-mel spectrogram.

Source: Pons & Serra 2019, "musicnn: pre-trained convolutional neural networks for music audio tagging", and the sizes
of the released checkpoints. `models/vgg.py` is an older design: four layers, other pooling.

The two checkpoints were trained with different pooling, as the graphs that were saved beside them say. The code of the
package has one network for both, that of MagnaTagATune's; so it computes other tags from MSD's weights than were
published (benchmarks/tensorflow_encoders.py runs the saved graphs).
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.audio.logmel import LogMel, samples_of
from tagscale.models.backend import BN_EPS, BN_MOMENTUM, he_initialise, norm_of_map
from tagscale.models.kernels import MapConv, NormPool
from tagscale.models.tagger import Tagger, scaled

FILTERS = 128  # of each of the five layers
PLACES = 2  # in time, of what a patch of 3 s leaves; one in frequency
RELEASED = {"input_norm": "batch_normalization", "output": "dense"} | {
    f"{kind}.{layer}": name
    for layer in range(5)
    for kind, name in (("convs", f"{layer + 1}CNN"), ("norms", f"batch_normalization_{layer + 1}"))
}  # layer here -> layer of the released checkpoints


# Bands and frames that each layer's pooling takes together. `overlapping` pools after its first layer by itself: a
# window of 4 frames moves by 2, and every second band is left out.
POOLS: dict[str, list[tuple[int, int]]] = {
    "overlapping": [(1, 1), (2, 2), (2, 2), (2, 2), (4, 4)],
    "separate": [(1, 4), (4, 1), (2, 2), (2, 2), (4, 4)],
}


class MusiCNNVGG(Tagger):
    """Five layers of 3 x 3 filters, each with max-pooling, and a dense layer on the two places that 3 s leave.

    A longer excerpt leaves more places: each half of them is averaged.

    Args:
        tags: number of outputs
        width: factor on the filters of every layer
        pooling: `overlapping` as of MagnaTagATune's checkpoint, or `separate` as of MSD's
        conv_dropout: after each layer but the last
        dropout: before the dense layer
    Raises:
        TagscaleError: no filter left at this width.
    """

    NATURAL_SAMPLES = 48_000  # 187 frames
    RELEASED = RELEASED
    shortest_samples = samples_of(4 + 2 * (8 * 2 * 4 - 1))  # 130 frames, which leave two places

    def __init__(
        self,
        tags: int,
        *,
        width: float = 1.0,
        pooling: Literal["overlapping", "separate"] = "overlapping",
        conv_dropout: float = 0.25,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        filters = scaled(FILTERS, width, "musicnn_vgg")
        self.log_mel = LogMel()
        self.input_norm = norm_of_map()
        self.convs = nn.ModuleList(MapConv(filters if layer else 1, filters, 3, padding=1) for layer in range(5))
        norm = partial(NormPool, relu=True, eps=BN_EPS, momentum=BN_MOMENTUM)
        self.norms = nn.ModuleList(norm(filters, pool) for pool in POOLS[pooling])
        self.overlapping = pooling == "overlapping"
        self.conv_dropout, self.dropout = nn.Dropout(conv_dropout), nn.Dropout(dropout)
        self.output = nn.Linear(PLACES * filters, tags)
        he_initialise(self)

    def encode(self, wave: Tensor) -> Tensor:
        """(batch, samples) -> (batch, 2 filters): the last layer, first half of the time and second half."""
        frames = self.layers(wave)["pool5"].mean(dim=2)  # (B, filters, frames): one band is left
        count = frames.shape[2]
        places = [frames[:, :, : (count + 1) // PLACES], frames[:, :, count // PLACES :]]  # both have a middle frame
        return self.dropout(torch.cat([place.mean(dim=2) for place in places], dim=1))

    def layers(self, wave: Tensor) -> dict[str, Tensor]:
        """What every layer makes of (batch, samples): pool1 ... pool5, (batch, filters, bands, frames)."""
        x = self.input_norm(self.log_mel(wave)).unsqueeze(1)  # (B, 1, 96, T)
        layers = {}
        for depth, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True), start=1):
            x = norm(conv(x))  # ReLU, batch norm, max-pool
            if depth == 1 and self.overlapping:
                x = F.max_pool2d(x, (1, 4), (2, 2))
            layers[f"pool{depth}"] = x
            x = self.conv_dropout(x)
        return layers
