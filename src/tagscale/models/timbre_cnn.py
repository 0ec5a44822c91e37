"""Timbre CNN: one layer of filters as tall as timbres, then the back half of Dieleman & Schrauwen's model.

Source: Pons et al. 2017, "Timbre analysis of music audio signals with convolutional neural networks" [21], and its
released code. 128 bands and 3 s have 191,006 parameters, as printed. The paper reproduces it with 96 bands (footnote
14) and 220k parameters: 220,870 come out with heights of 0.8, 0.6 and 0.2 of the bands, half the filters and 15 s.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.audio.logmel import LogMel, samples_of
from tagscale.models.backend import initialise
from tagscale.models.dieleman import POOL, TAPS, SlidingDense, frames_before
from tagscale.models.kernels import Bands, TallConv, TimeConv, pool_time
from tagscale.models.tagger import Tagger, scaled
from tagscale.runtime.errors import TagscaleError

# bands -> heights of the filters in bands, factor on all filters, frames that the dense layer sees, natural samples
DESIGNS = {128: ((100, 75, 25), 2, 9, 48_000), 96: ((76, 57, 19), 1, 56, 240_000)}
WIDTHS = (1, 3, 5, 7)  # frames
FILTERS = ((10, 6, 3, 3), (15, 10, 5, 5), (15, 10, 5, 5))  # for each height, of each width


class TimbreCNN(Tagger):
    """Log-mel spectrogram, twelve shapes of filters, one convolution over the frames, two dense layers. ELU.

    Args:
        tags: number of outputs
        mels: 128 as published, 96 as the paper reproduces it
        width: factor on the filters of every convolution
        units: of the dense layer
        dropout: before every dense layer
    Raises:
        TagscaleError: no filter left at this width, another number of bands.
    """

    NATURAL_SAMPLES = 48_000  # 3 s, of the published 128 bands

    def __init__(
        self, tags: int, *, mels: int = 128, width: float = 1.0, units: int = 100, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.shortest_samples = self.shortest(mels=mels)
        heights, factor, frames, _ = DESIGNS[mels]
        self.log_mel = LogMel(mels=mels)
        shapes = [
            (height, span, scaled(factor * count, width, "timbre_cnn"))
            for height, counts in zip(heights, FILTERS, strict=True)
            for span, count in zip(WIDTHS, counts, strict=True)
        ]
        self.shapes = nn.ModuleList(TallConv(count, height, span) for height, span, count in shapes)
        channels = sum(count for _, _, count in shapes)  # 184, or 92
        filters = scaled(32 * factor, width, "timbre_cnn")
        self.conv = TimeConv(channels, filters, TAPS)
        self.dense = SlidingDense(filters, frames, units)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(units, tags)
        # As the released code: He's uniform rule with a gain of 1, the output by Glorot's
        initialise(self, partial(nn.init.kaiming_uniform_, nonlinearity="linear"))
        nn.init.xavier_uniform_(self.output.weight)

    @staticmethod
    def shortest(mels: int = 128, **capacity: Any) -> int:
        """The fewest samples that leave the dense layer its frames: 2.752 s, or 14.784 s with 96 bands.

        >>> TimbreCNN.shortest(), TimbreCNN.shortest(mels=96)
        (44032, 236544)
        """
        if mels not in DESIGNS:
            raise TagscaleError(f"model.timbre_cnn.mels: expected 96 or 128, found {mels!r}.")
        return samples_of(POOL * frames_before(DESIGNS[mels][2]))

    @staticmethod
    def natural(mels: int = 128, **capacity: Any) -> int:
        """3 s with 128 bands, 15 s with 96."""
        TimbreCNN.shortest(mels=mels)  # refuses other numbers of bands
        return DESIGNS[mels][3]

    def encode(self, wave: Tensor) -> Tensor:
        bands = Bands(self.log_mel(wave))  # of (B, mels, T)
        x = torch.cat([shape(bands).max() for shape in self.shapes], dim=1)  # (B, 184, T): the best place in frequency
        x = pool_time(F.elu(x), POOL)  # (B, 184, T // 4)
        x = pool_time(F.elu(self.conv(x)), POOL)  # (B, 64, frames)
        x = F.elu(self.dense(self.dropout(x))).mean(dim=1)  # (B, units)
        return self.dropout(x)
