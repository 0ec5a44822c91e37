"""Filters that span many bands of a spectrogram, as convolutions over time whose channels are the bands.

A filter that slides over time and over frequency is multiplied with windows of neighbouring bands. A convolution with
one input channel does that slowly: neither the vector units of a CPU nor the tensor cores of a GPU find channels to
work on. Cut into windows, the bands are the channels and the windows the rows of the map.
"""

from torch import Tensor
from torch.nn import functional as F

CHANNELS = 8  # tensor cores take so many at once


def band_windows(spectrogram: Tensor, bands: int, together: int, multiple: int | None = None) -> Tensor:
    """All windows in which filters of so many bands stand at `together` places, each one band above the last.

    The highest windows may reach past the spectrogram, into zeros.

    Args:
        multiple: what a window's height is made up to a multiple of; None: as the device likes it
    Shape:
        spectrogram: (batch, mels, frames)
        returns:     (batch, height, rows, frames), channels last in memory; height at least bands + together - 1
    """
    rows = -(-(spectrogram.shape[1] - bands + 1) // together)
    multiple = multiple or (CHANNELS if spectrogram.is_cuda else 1)
    height = multiple * -(-(bands + together - 1) // multiple)
    padded = F.pad(spectrogram, (0, 0, 0, (rows - 1) * together + height - spectrogram.shape[1]))
    return padded.unfold(1, height, together).contiguous().permute(0, 3, 1, 2)


def at_bands(filters: Tensor, together: int, height: int) -> Tensor:
    """Filters as they are, then one band higher, and so on, between zeros.

    Shape:
        filters: (filters, bands, frames)
        returns: (together * filters, height, frames)
    """
    count, bands, frames = filters.shape
    column = F.pad(filters.transpose(1, 2), (0, height + 1 - bands))  # (filters, frames, height + 1)
    columns = column.unsqueeze(2).expand(-1, -1, together, -1).reshape(count, frames, -1)
    rows = columns[..., : together * height].view(count, frames, together, height)  # each begins one zero earlier
    return rows.permute(2, 0, 3, 1).reshape(together * count, height, frames)
