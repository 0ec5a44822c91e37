"""The back-end that both front-ends share, and the conventions that all layers of the paper's models share.

Source: Pons et al. 2018, section 4, "Shared back-end" and figure 2; the order conv -> ReLU -> batch norm, the
batch norms over a single channel and their constants are those of the authors' released model definition. The paper
pools over time by maximum and mean, and names other ways of temporal aggregation as future work (section 5.1):
`pooling: attention` is one.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.models.kernels import NormPool, SingleChannelNorm, TimeConv, pool_time
from tagscale.models.tagger import Tagger
from tagscale.runtime.errors import TagscaleError

BN_EPS = 1e-3
BN_MOMENTUM = 0.01  # 0.99 in TensorFlow's sense
KERNEL = 7  # frames that each convolution of the back-end sees: "7 x M' filters", section 4
SHORTEST_FRAMES = KERNEL - 1 + 2  # the first convolution takes 6 frames, and the pooling needs 2
ATTENTION_UNITS = 64  # hidden units of the attention
SPREAD_FLOOR = 1e-5  # of a variance whose root is taken: a constant map would have an infinite gradient

Pooling = Literal["max_mean", "attention"]


class FrontEndTagger(Tagger):
    """A front-end that listens to a waveform, and the shared back-end."""

    backend: "Backend"

    @property
    def output(self) -> nn.Linear:  # type: ignore[override]  # the base's is a layer of its own
        return self.backend.output

    def encode(self, wave: Tensor) -> Tensor:
        return self.backend.encode(self.front_end(wave))

    def front_end(self, wave: Tensor) -> Tensor:
        """(batch, samples) -> (batch, channels, frames)."""
        raise NotImplementedError


class Backend(nn.Module):
    """Three 1-D convolutions over time with two residual sums, global pooling over time, one dense layer.

    Args:
        pooling: over time; `max_mean` as in the paper, or `attention`, after it. Both give 2 * filters values.
    Shape:
        features: (batch, channels, frames), frames >= 8
        returns:  (batch, tags), logits
    Raises:
        TagscaleError: another pooling.
    """

    def __init__(
        self, channels: int, tags: int, filters: int, units: int, dropout: float, pooling: Pooling = "max_mean"
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise TagscaleError(f"model.backend.pooling: expected {' or '.join(POOLINGS)}, found {pooling!r}.")
        self.conv1 = TimeConv(channels, filters, KERNEL)
        self.norm1 = relu_norm(filters)
        self.conv2 = TimeConv(filters, filters, KERNEL, same=True)
        self.norm2 = norm_of_map()
        self.conv3 = TimeConv(filters, filters, KERNEL, same=True)
        self.norm3 = norm_of_map()
        self.pooling = POOLINGS[pooling](filters)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(2 * filters, units)
        self.dense_norm = nn.BatchNorm1d(units, BN_EPS, BN_MOMENTUM)
        self.output = nn.Linear(units, tags)

    def forward(self, features: Tensor) -> Tensor:
        return self.output(self.encode(features))  # (B, tags)

    def encode(self, features: Tensor) -> Tensor:
        """(batch, channels, frames) -> (batch, units): what the output layer sees."""
        x = self.norm1(self.conv1(features))  # (B, filters, T - 6)
        x = self.norm2(F.relu(self.conv2(x))) + x  # no ReLU after the sum
        x = pool_time(x, 2)  # (B, filters, (T - 6) // 2)
        x = self.norm3(F.relu(self.conv3(x))) + x
        x = self.pooling(x)  # (B, 2 filters): whatever the length, section 4
        x = self.dense_norm(F.relu(self.dense(self.dropout(x))))  # (B, units)
        return self.dropout(x)


class MaxMean(nn.Module):
    """Maximum and mean over time, as in the paper. Nothing to learn.

    Shape:
        x:       (batch, filters, frames)
        returns: (batch, 2 filters)
    """

    def __init__(self, filters: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.amax(dim=2), x.mean(dim=2)], dim=1)


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation over time, both weighted by what the model attends to.

    Every frame gets a score from one hidden layer, and a softmax over time turns the scores into weights. The maximum
    of `MaxMean` takes each filter from another frame; here all filters look at the same moments.

    Source: Okabe, Koshinaka & Shinoda 2018, "Attentive statistics pooling for deep speaker embedding", equations 3 to
    6, with tanh.

    Shape:
        x:       (batch, filters, frames)
        returns: (batch, 2 filters)
    """

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(filters, ATTENTION_UNITS)
        self.score = nn.Linear(ATTENTION_UNITS, 1, bias=False)  # a bias would shift all scores: no effect

    def forward(self, x: Tensor) -> Tensor:
        score = self.score(torch.tanh(self.hidden(x.transpose(1, 2))))  # (B, T, 1)
        weight = score.softmax(dim=1).transpose(1, 2)  # (B, 1, T), adds up to 1
        mean = (weight * x).sum(dim=2, keepdim=True)  # (B, filters, 1)
        variance = (weight * (x - mean).square()).sum(dim=2)  # (B, filters)
        return torch.cat([mean.squeeze(2), variance.clamp(min=SPREAD_FLOOR).sqrt()], dim=1)


POOLINGS: dict[str, type[MaxMean] | type[AttentiveStatistics]] = {
    "max_mean": MaxMean,
    "attention": AttentiveStatistics,
}


def relu_norm(channels: int, pool: int = 1) -> NormPool:
    """ReLU, batch norm per channel, and a max-pool over so many moments."""
    return NormPool(channels, (1, pool), relu=True, eps=BN_EPS, momentum=BN_MOMENTUM)


def norm_of_map() -> SingleChannelNorm:
    """Batch norm over a whole map.

    The reference transposes its maps before the second and the third batch norm, so these two see a map with a single
    channel. The published parameter counts come out only with this.
    """
    return SingleChannelNorm(BN_EPS, BN_MOMENTUM)


def he_initialise(model: nn.Module) -> None:
    """Draw all convolution and dense weights by He's rule (normal, variance 2 / fan-in); biases are zero."""
    initialise(model, partial(nn.init.kaiming_normal_, nonlinearity="relu"))


def initialise(
    model: nn.Module, convolution: Callable[[Tensor], Tensor], dense: Callable[[Tensor], Tensor] | None = None
) -> None:
    """Draw the weights of all layers by a rule, those of dense layers by one of their own if any; biases are zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            (dense if dense and isinstance(module, nn.Linear) else convolution)(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
