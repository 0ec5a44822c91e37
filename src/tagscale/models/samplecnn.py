"""SampleCNN: filters of a few samples, from the waveform up; every layer shortens it by the same factor.

Source: Lee et al. 2017, "Sample-level deep convolutional neural networks for music auto-tagging using raw waveforms"
[14], and the authors' released code: conv -> batch norm -> ReLU -> max-pool, Keras' constants, He's uniform
initialisation. The paper's table 2 gives 2.4M parameters; the released code has a last convolution of one tap and
1,869,874, and three taps make 2,394,162, which is 2.4M. Both are the same function of a patch of the natural length,
where one frame is left at the end, and the outer taps see nothing but zeros.

The published audio is at 22,050 Hz. Lengths here are those numbers of samples, at 16 kHz: 59,049 are 3.69 s, not 2.68.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.models.backend import initialise
from tagscale.models.kernels import NormPool, TimeConv, pool_time
from tagscale.models.tagger import Tagger, scaled
from tagscale.runtime.errors import TagscaleError

LEVELS = 3  # "the last three hidden layers" that Lee & Nam 2017 [13] take as features
POOLS = (3,) * 9  # the model 3^9
FIRST, MIDDLE, LAST = 128, 256, 512  # filters: the strided layer and two pooled ones, the next ones, the last two


class SingleScale(Tagger):
    """A tagger whose last layers serve as features of one time scale (`multiscale`).

    Attributes:
        level_filters: channels of each of `levels`
    """

    level_filters: tuple[int, ...]
    dropout: nn.Dropout

    def levels(self, wave: Tensor) -> list[Tensor]:
        """(batch, samples) -> the activations of the last three layers, each (batch, filters, frames)."""
        raise NotImplementedError

    def encode(self, wave: Tensor) -> Tensor:
        # The mean over the frames that a longer patch leaves: of the logits, the output being linear
        last = self.levels(wave)[-1].mean(dim=2)  # (B, filters)
        return self.dropout(last)


class SampleCNN(SingleScale):
    """One strided convolution, then one convolution and max-pooling by the same factor for each entry of `pools`.

    The model m^n is `pools: [m] * n`: n pooled layers after a convolution of m samples with stride m, filters of m
    taps throughout. Unequal factors are the models between the powers, which [15] adds (557 and 627 ms).

    Args:
        tags: number of outputs
        width: factor on the filters of every layer
        pools: factor by which each layer shortens the waveform; the first one is also the stride of the first layer
        last_taps: of the last convolution: 1 as in the released code, 3 for the printed number of parameters
        dropout: before the dense layer
    Raises:
        TagscaleError: no filter left at this width, fewer than three layers, factors under 2.
    """

    NATURAL_SAMPLES = 59_049

    def __init__(
        self,
        tags: int,
        *,
        width: float = 1.0,
        pools: Sequence[int] = POOLS,
        last_taps: int = 3,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.shortest_samples = self.shortest(pools=pools)
        first, middle, last = (scaled(count, width, "samplecnn") for count in (FIRST, MIDDLE, LAST))
        counts = [first, first, *[middle] * (len(pools) - 3), last]
        self.strided = ConvBlock(1, first, pools[0], stride=pools[0])
        self.stack = Stack(first, counts, pools, last, last_taps)
        self.level_filters = self.stack.level_filters
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(last, tags)
        keras_initialise(self)

    @staticmethod
    def shortest(pools: Sequence[int] = POOLS, **capacity: Any) -> int:
        """The samples that leave one frame: the natural length.

        >>> SampleCNN.shortest(), SampleCNN.shortest(pools=[2] * 13), SampleCNN.shortest(pools=[5] * 6)
        (59049, 16384, 78125)
        """
        if len(pools) < LEVELS or any(pool < 2 for pool in pools):
            raise TagscaleError(
                f"model.samplecnn.pools: found {list(pools)}; expected at least three factors, each at least 2, as "
                "[3, 3, 3, 3, 3, 3, 3, 3, 3] for the published model."
            )
        return pools[0] * math.prod(pools)

    @staticmethod
    def natural(pools: Sequence[int] = POOLS, **capacity: Any) -> int:
        """The published input length of this variant."""
        return SampleCNN.shortest(pools=pools)

    def levels(self, wave: Tensor) -> list[Tensor]:
        return self.stack.levels(self.strided(wave.unsqueeze(1)))


class ConvBlock(nn.Module):
    """Convolution, batch norm, max-pooling, ReLU. The published order pools last, with the same result.

    Shape:
        x:       (batch, inputs, length)
        returns: (batch, outputs, length // pool), or length // stride with a stride (as many taps as it strides)
    """

    def __init__(self, inputs: int, outputs: int, taps: int, *, stride: int = 1, pool: int = 1) -> None:
        super().__init__()
        self.conv = TimeConv(inputs, outputs, taps, stride=stride, same=stride == 1)
        self.norm = NormPool(outputs, (1, pool), eps=1e-5, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Stack(nn.Module):
    """Convolutions with as many taps as the pooling after them takes frames; a last one without pooling.

    Shape:
        x: (batch, inputs, frames), frames at least the product of `pools`
    """

    def __init__(self, inputs: int, counts: Sequence[int], pools: Sequence[int], last: int, last_taps: int) -> None:
        super().__init__()
        shapes = list(zip([inputs, *counts[:-1]], counts, pools, strict=True))
        self.below = len(pools) + 1 - LEVELS  # layers that are no level
        self.last_pools = tuple(pools[self.below :])
        self.blocks = nn.ModuleList(
            ConvBlock(before, after, pool, pool=pool if depth < self.below else 1)
            for depth, (before, after, pool) in enumerate(shapes)
        )
        self.last = ConvBlock(counts[-1], last, last_taps)
        self.level_filters = (*counts, last)[-LEVELS:]

    def levels(self, x: Tensor) -> list[Tensor]:
        """The activations of the last three layers, before pooling: each (batch, filters, frames)."""
        for block in self.blocks[: self.below]:
            x = block(x)
        levels = []
        for block, pool in zip(self.blocks[self.below :], self.last_pools, strict=True):
            levels.append(block(x))
            x = pool_time(levels[-1], pool)
        return [*levels, self.last(x)]


def keras_initialise(model: nn.Module) -> None:
    """As the released code: convolutions by He's uniform rule, dense layers by Glorot's; biases are zero."""
    initialise(model, partial(nn.init.kaiming_uniform_, nonlinearity="relu"), nn.init.xavier_uniform_)
