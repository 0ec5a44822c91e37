"""The spectrogram model: one layer of filters shaped like timbres and like rhythms, on a log-mel spectrogram.

Source: Pons et al. 2018, section 4, "Spectrogram front-end", footnotes 5 and 6.
"""

import torch
from torch import Tensor, nn

from tagscale.audio.logmel import HOP, LogMel
from tagscale.models.backend import (
    BN_EPS,
    BN_MOMENTUM,
    SHORTEST_FRAMES,
    Backend,
    FrontEndTagger,
    Pooling,
    he_initialise,
    relu_norm,
)
from tagscale.models.kernels import Bands, NormMax, TallConv, TimeConv
from tagscale.models.tagger import scaled

TIMBRAL = ((7, 86, 16), (3, 86, 32), (1, 86, 64), (7, 38, 16), (3, 38, 32), (1, 38, 64))  # frames, mel bands, filters
TEMPORAL = ((165, 16), (128, 32), (64, 64), (32, 128))  # frames, filters


class SpectrogramTagger(FrontEndTagger):
    """Log-mel spectrogram, front-end of vertical and horizontal filters, shared back-end.

    Args:
        tags: number of outputs
        width: factor on the filters of every shape (table 3)
        filters, units, dropout, pooling: of the back-end
    Raises:
        TagscaleError: no filter left at this width, another pooling.
    """

    shortest_samples = SHORTEST_FRAMES * HOP  # 2,048

    def __init__(
        self, tags: int, *, width: float, filters: int, units: int, dropout: float, pooling: Pooling = "max_mean"
    ) -> None:
        super().__init__()
        self.log_mel = LogMel()
        self.timbral = nn.ModuleList(
            TimbralBranch(frames, bands, scaled(count, width, "spectrogram")) for frames, bands, count in TIMBRAL
        )
        self.temporal = nn.ModuleList(
            TemporalBranch(frames, scaled(count, width, "spectrogram")) for frames, count in TEMPORAL
        )
        channels = sum(branch.conv.out_channels for branch in [*self.timbral, *self.temporal])  # 464 at width 1
        self.backend = Backend(channels, tags, filters, units, dropout, pooling)
        he_initialise(self)

    def front_end(self, wave: Tensor) -> Tensor:
        """(batch, samples) -> (batch, 464 width, samples // 256): all filter shapes side by side."""
        spectrogram = self.log_mel(wave)  # (B, 96, T)
        envelope = spectrogram.mean(dim=1, keepdim=True)  # (B, 1, T): all frequencies together
        bands = Bands(spectrogram)
        timbral = [branch(bands) for branch in self.timbral]
        temporal = [branch(envelope) for branch in self.temporal]
        return torch.cat(timbral + temporal, dim=1)


class TimbralBranch(nn.Module):
    """Tall filters that slide over time and frequency, then the maximum over frequency: timbre whatever the pitch.

    Shape:
        bands:   the spectrogram (batch, 96, frames)
        returns: (batch, filters, frames)
    """

    def __init__(self, frames: int, bands: int, filters: int) -> None:
        super().__init__()
        self.conv = TallConv(filters, bands, frames)
        self.norm = NormMax(filters, eps=BN_EPS, momentum=BN_MOMENTUM)

    def forward(self, bands: Bands) -> Tensor:
        return self.norm(self.conv(bands))  # ReLU, batch norm, the maximum over 97 - bands places


class TemporalBranch(nn.Module):
    """Long filters over the energy envelope: rhythm.

    Shape:
        envelope: (batch, 1, frames)
        returns:  (batch, filters, frames)
    """

    def __init__(self, frames: int, filters: int) -> None:
        super().__init__()
        self.conv = TimeConv(1, filters, frames, same=True)
        self.norm = relu_norm(filters)

    def forward(self, envelope: Tensor) -> Tensor:
        return self.norm(self.conv(envelope))
