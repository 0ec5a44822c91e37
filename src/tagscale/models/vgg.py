"""VGG: 3 x 3 convolutions and max-pooling on a log-mel spectrogram, until one place is left.

Source: the fully convolutional network FCN-4 of Choi et al. 2016, "Automatic tagging using deep convolutional neural
networks" [5], as the paper reproduces it with 450k parameters: 128 filters in each of the four layers, on 3 s of the
paper's own spectrogram. Batch norms without gamma and beta make it 450,482; the order conv -> ReLU -> batch norm ->
pool -> dropout is that of the authors' later training code.

The original has 128, 384, 768 and 2,048 filters on 29 s at 12 kHz: `filters: [128, 384, 768, 2048]` and
`time_pools: [4, 5, 8, 8]`, with 17,359,282 parameters (17,365,938 with gammas and betas). The paper prints 22M for it;
we do not know what else it counts. One more layer of 2,048 filters of 1 x 1 would give 21.6M.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tagscale.audio.logmel import LogMel, samples_of
from tagscale.models.backend import BN_EPS, BN_MOMENTUM, he_initialise
from tagscale.models.kernels import MapConv, NormPool
from tagscale.models.tagger import Tagger, scaled
from tagscale.runtime.errors import TagscaleError

FILTERS = (128, 128, 128, 128)
BAND_POOLS = (2, 4, 3, 4)  # as published: 96 bands to one
TIME_POOLS = (4, 5, 3, 3)  # the first two as published; all four leave one of 187 frames


class VGG(Tagger):
    """Four layers of 3 x 3 filters, each with max-pooling; the mean over the places that are left of a longer patch.

    Args:
        tags: number of outputs
        width: factor on the filters of every layer
        filters: of each layer at width 1
        time_pools: frames that each layer's pooling takes together
        conv_dropout: after each layer but the last
        dropout: before the dense layer
    Raises:
        TagscaleError: no filter left at this width, not four layers.
    """

    NATURAL_SAMPLES = 48_000  # 3 s: section 5.2

    def __init__(
        self,
        tags: int,
        *,
        width: float = 1.0,
        filters: Sequence[int] = FILTERS,
        time_pools: Sequence[int] = TIME_POOLS,
        conv_dropout: float = 0.25,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.shortest_samples = self.shortest(time_pools=time_pools)
        if len(filters) != len(BAND_POOLS):
            raise TagscaleError(f"model.vgg.filters: found {list(filters)}; expected one number for each of 4 layers.")
        counts = [scaled(count, width, "vgg") for count in filters]
        self.log_mel = LogMel()
        self.convs = nn.ModuleList(
            MapConv(inputs, outputs, 3, padding=1) for inputs, outputs in zip([1, *counts[:-1]], counts, strict=True)
        )
        self.norms = nn.ModuleList(
            NormPool(count, pool, relu=True, eps=BN_EPS, momentum=BN_MOMENTUM, affine=False)
            for count, pool in zip(counts, zip(BAND_POOLS, time_pools, strict=True), strict=True)
        )
        self.conv_dropout, self.dropout = nn.Dropout(conv_dropout), nn.Dropout(dropout)
        self.output = nn.Linear(counts[-1], tags)
        he_initialise(self)

    @staticmethod
    def shortest(time_pools: Sequence[int] = TIME_POOLS, **capacity: Any) -> int:
        """The fewest samples that leave one place: 2.88 s.

        >>> VGG.shortest(), VGG.shortest(time_pools=[4, 5, 8, 8])
        (46080, 327680)
        """
        if len(time_pools) != len(BAND_POOLS) or min(time_pools) < 1:
            raise TagscaleError(
                f"model.vgg.time_pools: found {list(time_pools)}; expected one factor from 1 up for each of 4 layers."
            )
        return samples_of(math.prod(time_pools))

    def encode(self, wave: Tensor) -> Tensor:
        x = self.log_mel(wave).unsqueeze(1)  # (B, 1, 96, T)
        for depth, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = norm(conv(x))  # ReLU, batch norm, max-pool
            if depth < len(self.convs) - 1:
                x = self.conv_dropout(x)
        return self.dropout(x.mean(dim=(2, 3)))  # (B, filters, 1, places) -> (B, filters)
