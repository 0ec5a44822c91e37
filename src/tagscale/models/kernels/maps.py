"""Convolutions over time on maps that hold the channels of a moment side by side in memory ("channels last").

With few channels and many moments, as in the first layers of a model that listens to samples, convolutions, norms and
pooling are about twice as fast that way on a CPU, and the tensor cores of a GPU need not turn every map around before
they begin. PyTorch has the layout for maps of two dimensions ("Channels Last Memory Format" among its tutorials), so
what goes along time alone is a map of height 1 here. Shapes mean what they always mean, and results are a layer's own
but for rounding.
"""

from torch import Tensor, nn
from torch.nn import functional as F


def conv1d(layer: nn.Module, x: Tensor) -> Tensor:
    """What the layer computes, neither dilated nor grouped: (batch, inputs, 1, length) -> (batch, outputs, 1, ...)."""
    assert isinstance(layer, nn.Conv1d)
    outputs, inputs, taps = layer.weight.shape
    weight = layer.weight.view(outputs, inputs, 1, taps)
    stride, padding = (1, layer.stride[0]), (0, int(layer.padding[0]))
    return F.conv2d(channels_last(x), weight, layer.bias, stride, padding)


def conv_of_windows(layer: nn.Conv1d, signal: Tensor) -> Tensor:
    """A layer with one input and many taps: a product with every window of the signal.

    Shape:
        signal:  (batch, length)
        returns: (batch, outputs, 1, length - taps + 1)
    """
    windows = signal.unfold(1, layer.kernel_size[0], 1)  # (B, places, taps)
    return F.linear(windows, layer.weight.squeeze(1), layer.bias).unsqueeze(1).permute(0, 3, 1, 2)


def channels_last(x: Tensor) -> Tensor:
    """The same map (batch, channels, height, width) with channels last in memory; a view where it is so.

    That of a single channel lies as it did, but PyTorch, which goes by the strides, is told. On the meta device, where
    costs are counted, maps have no place in memory.
    """
    if x.is_meta:
        return x
    batch, channels, height, width = x.shape
    values = x.permute(0, 2, 3, 1).flatten()
    return values.view(batch, height, width, channels).permute(0, 3, 1, 2)
