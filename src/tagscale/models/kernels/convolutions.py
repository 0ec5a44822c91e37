"""Convolutions whose maps hold the channels of a place side by side in memory ("channels last").

With few channels and many moments, as in the first layers of a model that listens to samples, convolutions, norms and
pooling are about twice as fast that way on a CPU, and the tensor cores of a GPU need not transpose every map first.
PyTorch has the layout for maps of two dimensions ("Channels Last Memory Format" among its tutorials), so a map over
time alone is one of height 1 inside these layers. Shapes do not change with the layout.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.models.kernels.switch import fast, fast_on_cpu

TOGETHER = range(6, 13)  # moments of a filter that a window may hold, on a CPU
LONG = 16  # taps from which on a filter with one input channel is multiplied with windows of the signal


class MapConv(nn.Conv2d):
    """nn.Conv2d on maps with channels last."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(channels_last(x) if fast() else x)


class TimeConv(nn.Conv1d):
    """nn.Conv1d, neither dilated nor grouped.

    Args:
        same: as many moments come out as go in (with a stride of 1); an even filter gets the odd zero at the end
    Shape:
        x:       (batch, inputs, length)
        returns: (batch, outputs, length), or (length - taps) // stride + 1 moments unless `same`
    """

    def __init__(self, inputs: int, outputs: int, taps: int, *, stride: int = 1, same: bool = False) -> None:
        zeros = (taps - 1) // 2 if same else 0
        super().__init__(inputs, outputs, taps, stride, zeros)
        self.zeros = (zeros, zeros)  # before and after, by the convolution itself
        self.odd_zero = same and taps % 2 == 0

    def forward(self, x: Tensor) -> Tensor:
        outputs, inputs, taps = self.weight.shape
        before, after = self.zeros
        if fast() and inputs == 1 and taps >= LONG:
            zeros = (before, after + self.odd_zero)
            return self._of_windows((F.pad(x, zeros) if any(zeros) else x).squeeze(1))  # padding copies, by 0 as well
        if not fast():
            return super().forward(F.pad(x, (0, 1)) if self.odd_zero else x)
        x = x.unsqueeze(2)  # (B, inputs, 1, length)
        x = channels_last(F.pad(x, (0, 1)) if self.odd_zero else x)
        weight = self.weight.view(outputs, inputs, 1, taps)
        return F.conv2d(x, weight, self.bias, (1, *self.stride), (0, before)).squeeze(2)

    def _of_windows(self, signal: Tensor) -> Tensor:
        """A product with every window of the signal: (batch, length) -> (batch, outputs, moments).

        On a CPU a window is longer than a filter and holds it at several moments: fewer windows to copy, more columns.
        """
        outputs, _, taps = self.weight.shape
        moments = (signal.shape[1] - taps) // self.stride[0] + 1
        sets = sets_of(moments, TOGETHER) if self.stride == (1,) and fast_on_cpu(signal) else 1
        if sets == 1:
            windows = signal.unfold(1, taps, *self.stride)  # (B, moments, taps)
            return F.linear(windows, self.weight.squeeze(1), self.bias).transpose(1, 2)
        assert self.bias is not None
        height, past = taps + sets - 1, -moments % sets
        windows = (F.pad(signal, (0, past)) if past else signal).unfold(1, height, sets)  # (B, rows, height)
        weight = at_bands(self.weight.transpose(1, 2), sets, height).unsqueeze(2)
        rows = windows.contiguous().unsqueeze(1).permute(0, 3, 1, 2)  # (B, height, 1, rows), channels last
        values = F.conv2d(rows, weight, self.bias.repeat(sets))  # a moment's outputs follow those of the moment before
        values = values.permute(0, 2, 3, 1).reshape(len(signal), moments + past, outputs)
        return values[:, :moments].contiguous().transpose(1, 2)


def pool_time(x: Tensor, size: int) -> Tensor:
    """The maximum of every `size` moments: (batch, channels, length) -> (batch, channels, length // size).

    In evaluation on a CPU, `F.max_pool1d` would transpose a map with channels last.
    """
    return F.max_pool2d(x.unsqueeze(2), (1, size)).squeeze(2)


def at_bands(filters: Tensor, sets: int, height: int) -> Tensor:
    """Filters as they are, then one band higher, and so on, between zeros. The bands may be moments.

    Shape:
        filters: (filters, bands, frames)
        returns: (sets * filters, height, frames)
    """
    count, bands, frames = filters.shape
    column = F.pad(filters.transpose(1, 2), (0, height + 1 - bands))  # (filters, frames, height + 1)
    columns = column.unsqueeze(2).expand(-1, -1, sets, -1).reshape(count, frames, -1)
    rows = columns[..., : sets * height].view(count, frames, sets, height)  # each begins one zero earlier
    return rows.permute(2, 0, 3, 1).reshape(sets * count, height, frames)


def channels_last(x: Tensor) -> Tensor:
    """The same map (batch, channels, height, width) with channels last in memory; a view where it is so.

    A map of one channel does not move, but PyTorch, which goes by the strides, sees channels last. On the meta device,
    where costs are counted, maps have no place in memory.
    """
    if x.is_meta:
        return x
    batch, channels, height, width = x.shape
    values = x.permute(0, 2, 3, 1).flatten()
    return values.view(batch, height, width, channels).permute(0, 3, 1, 2)


def sets_of(places: int, choices: range) -> int:
    """How many places of a filter a window holds: one of these numbers, so that few places of the last are left over.

    >>> sets_of(187, range(6, 13)), sets_of(5, range(6, 13))
    (11, 1)
    """
    return min((sets for sets in choices if sets < places), key=lambda sets: -places % sets, default=1)
