"""The waveform model: a deep stack of 3-sample convolutions, with no assumption about music.

Source: Pons et al. 2018, section 4, "Waveform front-end", after the sample-level front-end of Lee et al. 2017.
"""

from typing import Any

from torch import Tensor, nn

from tagscale.models.backend import SHORTEST_FRAMES, Backend, FrontEndTagger, Pooling, he_initialise, relu_norm
from tagscale.models.kernels import TimeConv
from tagscale.models.tagger import scaled
from tagscale.runtime.errors import TagscaleError

FILTERS = {
    7: (64, 64, 64, 128, 128, 128, 256),
    9: (64, 64, 64, 128, 128, 128, 128, 128, 256),  # for the 1.2M-songs data
}


class WaveformTagger(FrontEndTagger):
    """Sample-level front-end and shared back-end.

    Args:
        tags: number of outputs
        layers: 7, or 9 as for the paper's 1.2M songs
        width: factor on the filters of every layer of the front-end (table 2)
        filters, units, dropout, pooling: of the back-end
    Raises:
        TagscaleError: no filter left at this width, another number of layers, another pooling.
    """

    def __init__(
        self,
        tags: int,
        *,
        layers: int,
        width: float,
        filters: int,
        units: int,
        dropout: float,
        pooling: Pooling = "max_mean",
    ) -> None:
        super().__init__()
        self.shortest_samples = self.shortest(layers=layers)
        counts = [scaled(count, width, "waveform") for count in FILTERS[layers]]
        self.convs = nn.ModuleList(
            TimeConv(inputs, outputs, 3, stride=3 if depth == 0 else 1)
            for depth, (inputs, outputs) in enumerate(zip([1, *counts[:-1]], counts, strict=True))
        )
        self.norms = nn.ModuleList(relu_norm(count, pool=3 if depth > 0 else 1) for depth, count in enumerate(counts))
        self.backend = Backend(counts[-1], tags, filters, units, dropout, pooling)
        he_initialise(self)

    @staticmethod
    def shortest(layers: int = 7, **capacity: Any) -> int:
        """The fewest samples that leave the back-end the frames it needs: 1.23 s, or 11.0715 s with nine layers.

        >>> WaveformTagger.shortest(layers=7), WaveformTagger.shortest(layers=9)
        (19680, 177144)
        """
        if layers not in FILTERS:
            raise TagscaleError(f"model.waveform.layers: expected 7 or 9, found {layers!r}.")
        length = SHORTEST_FRAMES
        for _ in range(layers - 1):
            length = 3 * length + 2  # a max-pool of 3, after a convolution that takes 2
        return 3 * length  # the first convolution strides by 3

    def front_end(self, wave: Tensor) -> Tensor:
        """(batch, samples) -> (batch, 256 width, frames): 20 frames for 3 s and 108 for 15 s with seven layers."""
        x = wave.unsqueeze(1)  # (B, 1, samples)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x))  # (B, filters, a third of the length)
        return x
