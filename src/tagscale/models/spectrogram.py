"""The spectrogram model: one layer of filters shaped like timbres and like rhythms, on a log-mel spectrogram.

Source: Pons et al. 2018, section 4, "Spectrogram front-end", footnotes 5 and 6.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.audio.logmel import HOP, MELS, LogMel
from tagscale.models.backend import (
    SHORTEST_FRAMES,
    Backend,
    FrontEndTagger,
    Pooling,
    batch_norm2d,
    he_initialise,
)
from tagscale.models.kernels.maps import conv_of_windows
from tagscale.models.kernels.norm_max import Groups, at_once, norm_max, shortcut
from tagscale.models.kernels.tall_filters import at_bands, band_windows
from tagscale.models.tagger import scaled

TIMBRAL = ((7, 86, 16), (3, 86, 32), (1, 86, 64), (7, 38, 16), (3, 38, 32), (1, 38, 64))  # frames, mel bands, filters
TEMPORAL = ((165, 16), (128, 32), (64, 64), (32, 128))  # frames, filters
SHORTEST_SAMPLES = SHORTEST_FRAMES * HOP  # 2,048
HEIGHTS = {bands for _, bands, _ in TIMBRAL}
TOGETHER = 4  # places in frequency of a filter that a window holds, on a CPU


class SpectrogramTagger(FrontEndTagger):
    """Log-mel spectrogram, front-end of vertical and horizontal filters, shared back-end.

    Args:
        tags: number of outputs
        width: factor on the filters of every shape (table 3)
        filters, units, dropout, pooling: of the back-end
    Raises:
        TagscaleError: no filter left at this width, another pooling.
    """

    shortest_samples = SHORTEST_SAMPLES

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

    @staticmethod
    def shortest(**capacity: Any) -> int:
        return SHORTEST_SAMPLES

    def front_end(self, wave: Tensor) -> Tensor:
        """(batch, samples) -> (batch, 464 width, samples // 256): all filter shapes side by side."""
        spectrogram = self.log_mel(wave)  # (B, 96, T)
        envelope = spectrogram.mean(dim=1)  # (B, T): all frequencies together
        branches: list[Any] = list(self.timbral)
        together = TOGETHER if all(shortcut(branch.norm, spectrogram, ordered=True) for branch in branches) else 1
        if together > 1 or spectrogram.is_cuda:
            windows = {bands: band_windows(spectrogram, bands, together) for bands in HEIGHTS}
        else:
            windows = dict.fromkeys(HEIGHTS, spectrogram.unsqueeze(1))  # layer by layer, as it is written
        timbral = [branch(windows[branch.bands], together) for branch in branches]
        temporal = [branch(envelope) for branch in self.temporal]
        return torch.cat(timbral + temporal, dim=1).squeeze(2)


class TimbralBranch(nn.Module):
    """Tall filters that slide over time and frequency, then the maximum over frequency: timbre whatever the pitch.

    A filter is multiplied with windows of neighbouring bands, all their frames: so the bands can be the channels of a
    convolution over time, and the windows the rows of its map, which suits tensor cores. A CPU does better with more
    channels than there are filters, and gets each filter at several bands of a window that is so much taller.

    Shape:
        windows: (batch, height, rows, frames), from `band_windows`; or (batch, 1, 96, frames), the spectrogram
        returns: (batch, filters, 1, frames)
    """

    def __init__(self, frames: int, bands: int, filters: int) -> None:
        super().__init__()
        self.bands = bands
        self.conv = nn.Conv2d(1, filters, (bands, frames), padding=(0, frames // 2))  # 'same' in time only
        self.norm = batch_norm2d(filters)

    def forward(self, windows: Tensor, together: int) -> Tensor:
        weight, bias = self.conv.weight, self.conv.bias.repeat(together)  # type: ignore[union-attr]
        if windows.shape[1] > 1:
            weight = at_bands(weight.squeeze(1), together, windows.shape[1]).unsqueeze(2)
        x = F.conv2d(windows, weight, bias, padding=(0, self.conv.kernel_size[1] // 2))
        if together == 1:
            return self.norm(F.relu(x)).amax(dim=2, keepdim=True)
        left_out = together * x.shape[2] - (MELS - self.bands + 1)
        x = at_once(x, self.norm, (x.shape[2], 1), True, Groups(together, left_out))  # (B, together * filters, 1, T)
        return x.unflatten(1, (together, -1)).amax(dim=1)


class TemporalBranch(nn.Module):
    """Long filters over the energy envelope: rhythm.

    Shape:
        envelope: (batch, frames)
        returns:  (batch, filters, 1, frames)
    """

    def __init__(self, frames: int, filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, filters, frames)
        self.norm = batch_norm2d(filters)
        self.padding = ((frames - 1) // 2, frames // 2)  # 'same'; an even filter gets the odd zero at the end

    def forward(self, envelope: Tensor) -> Tensor:
        return norm_max(conv_of_windows(self.conv, F.pad(envelope, self.padding)), self.norm, rectify=True)
