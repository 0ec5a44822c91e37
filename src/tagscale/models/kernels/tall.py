"""Filters that span many bands of a spectrogram, as convolutions over time whose channels are the bands.

A tall filter slides over time and over frequency. A convolution with one input channel computes that slowly: neither
the vector units of a CPU nor the tensor cores of a GPU find channels to work on. Cut into windows of neighbouring
bands, the bands are the channels and the windows the rows of the map. A CPU does better with more channels than there
are filters, so its windows are taller and hold each filter at several places, one band apart.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.models.kernels.convolutions import at_bands, sets_of
from tagscale.models.kernels.norms import NormPool, fill_left_out, largest_of_sets, norm_max, of_rows, shortcut
from tagscale.models.kernels.switch import fast, fast_on_cpu

CHANNELS = 8  # a GPU's tensor cores take so many at once
TOGETHER = range(4, 8)  # places in frequency of a filter that a window may hold, on a CPU


class Places(NamedTuple):
    """The values of tall filters at all their places in frequency.

    Row r of set k is place r * sets + k; so the last `left_out` sets have no place in the last row.

    Shape:
        values: (batch, sets * filters, rows, frames), one set of filters after the other
    """

    values: Tensor
    sets: int
    left_out: int

    def in_order(self) -> Tensor:
        """(batch, filters, places, frames), the map that the filters are written to have."""
        batch, _, rows, frames = self.values.shape
        places = self.sets * rows - self.left_out
        by_set = self.values.view(batch, self.sets, -1, rows, frames)
        return by_set.permute(0, 2, 3, 1, 4).flatten(2, 3)[:, :, :places]

    def max(self) -> Tensor:
        """The maximum over frequency: (batch, filters, frames). Writes to `values` where there is no place."""
        fill_left_out(self.values, self.sets, self.left_out, -torch.inf)
        if fast_on_cpu(self.values) and not torch.is_grad_enabled():
            return largest_of_sets(of_rows(self.values, torch.amax), self.sets)
        return largest_of_sets(F.max_pool2d(self.values, (self.values.shape[2], 1)), self.sets)

    def min(self) -> Tensor:
        """The minimum over frequency, without gradients; as `max`."""
        fill_left_out(self.values, self.sets, self.left_out, torch.inf)
        return of_rows(self.values, torch.amin).squeeze(2).unflatten(1, (self.sets, -1)).amin(dim=1)


class Bands:
    """A spectrogram as tall filters see it: filters of one height share its windows.

    Shape:
        spectrogram: (batch, mels, frames)
    """

    def __init__(self, spectrogram: Tensor) -> None:
        self.spectrogram = spectrogram
        self.places_together = fast_on_cpu(spectrogram)
        self._windows: dict[int, Tensor] = {}

    def sets(self, bands: int) -> int:
        """The places of a filter that a window holds: so many that few places of the last row are left out."""
        return sets_of(self.spectrogram.shape[1] - bands + 1, TOGETHER) if self.places_together else 1

    def windows(self, bands: int) -> Tensor:
        """As `band_windows`, of filters of this height."""
        if bands not in self._windows:
            multiple = CHANNELS if self.spectrogram.is_cuda else 1
            self._windows[bands] = band_windows(self.spectrogram, bands, self.sets(bands), multiple)
        return self._windows[bands]


class TallConv(nn.Conv2d):
    """Filters of many bands and few frames that slide over frequency and time; as many frames come out as go in.

    Args:
        frames: odd
    """

    def __init__(self, filters: int, bands: int, frames: int) -> None:
        super().__init__(1, filters, (bands, frames), padding=(0, frames // 2))

    def forward(self, x: Bands) -> Places:  # type: ignore[override]  # one layer of two, with `NormMax` or `max`
        if not (x.places_together or (fast() and x.spectrogram.is_cuda)):
            return Places(super().forward(x.spectrogram.unsqueeze(1)), 1, 0)
        _, _, bands, frames = self.weight.shape
        windows, sets = x.windows(bands), x.sets(bands)
        assert self.bias is not None
        weight = at_bands(self.weight.squeeze(1), sets, windows.shape[1]).unsqueeze(2)
        values = F.conv2d(windows, weight, self.bias.repeat(sets), padding=(0, frames // 2))
        places = x.spectrogram.shape[1] - bands + 1
        return Places(values, sets, sets * values.shape[2] - places)


class NormMax(NormPool):
    """ReLU, batch norm, and the maximum over all places of tall filters in frequency: timbre whatever the pitch.

    Shape:
        x:       `Places`
        returns: (batch, filters, frames)
    """

    def forward(self, x: Places) -> Tensor:  # type: ignore[override]  # of what tall filters give
        values, sets, left_out = x
        if type(self) is NormMax and shortcut(self, values, ordered=True):
            pool = (values.shape[2], 1)
            return largest_of_sets(norm_max(values, self, pool, relu=True, sets=sets, left_out=left_out), sets)
        if type(self) is NormMax and not self.training and shortcut(self, values):
            return self.normalise(F.relu(self.extremes(x)).unsqueeze(2)).squeeze(2)
        if type(self) is NormMax and not self.training and fast_on_cpu(values):  # frozen, in a network that is trained
            return self.normalise(self.rectified_extremes(x).unsqueeze(2)).squeeze(2)
        return self.normalise(F.relu(x.in_order())).amax(dim=2)

    def rectified_extremes(self, x: Places) -> Tensor:
        """As `extremes`, of the rectified values and with gradients: a minimum is the maximum of the negative."""
        sign = torch.where(self.weight.detach() < 0, -1.0, 1.0)
        signed = F.relu(x.values) * sign.repeat(x.sets).view(1, -1, 1, 1)
        return x._replace(values=signed).max() * sign.view(1, -1, 1)

    def extremes(self, x: Places) -> Tensor:
        """The values that the norm makes largest: the maxima, or the minima of a filter with a negative gamma."""
        return torch.where(self.weight.view(1, -1, 1) < 0, x.min(), x.max())


def band_windows(spectrogram: Tensor, bands: int, sets: int, multiple: int) -> Tensor:
    """All windows in which filters of so many bands stand at `sets` places, each one band above the last.

    The highest windows may reach past the spectrogram, into zeros.

    Args:
        multiple: a window's height is made up to a multiple of it
    Shape:
        spectrogram: (batch, mels, frames)
        returns:     (batch, height, rows, frames), channels last in memory; height at least bands + sets - 1
    """
    rows = -(-(spectrogram.shape[1] - bands + 1) // sets)
    height = multiple * -(-(bands + sets - 1) // multiple)
    padded = F.pad(spectrogram, (0, 0, 0, (rows - 1) * sets + height - spectrogram.shape[1]))
    return padded.unfold(1, height, sets).contiguous().permute(0, 3, 1, 2)
