"""The back-end that both front-ends share, and the conventions that all layers of the paper's models share.

Source: Pons et al. 2018, section 4, "Shared back-end" and figure 2; the order conv -> ReLU -> batch norm, the
batch norms over a single channel and their constants are those of the authors' released model definition.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.models.tagger import Tagger

BN_EPS = 1e-3
BN_MOMENTUM = 0.01  # 0.99 in TensorFlow's sense
KERNEL = 7  # frames that each convolution of the back-end sees: "7 x M' filters", section 4
SHORTEST_FRAMES = KERNEL - 1 + 2  # the first convolution takes 6 frames, and the pooling needs 2


class FrontEndTagger(Tagger):
    """A front-end that listens to a waveform, and the shared back-end."""

    backend: "Backend"

    @property
    def output(self) -> nn.Linear:  # type: ignore[override]  # the base's is a layer of its own
        return self.backend.output

    def logits(self, wave: Tensor) -> Tensor:
        return self.backend(self.front_end(wave))

    def front_end(self, wave: Tensor) -> Tensor:
        """(batch, samples) -> (batch, channels, frames)."""
        raise NotImplementedError


class Backend(nn.Module):
    """Three 1-D convolutions over time with two residual sums, global pooling over time, one dense layer.

    Shape:
        features: (batch, channels, frames), frames >= 8
        returns:  (batch, tags), logits
    """

    def __init__(self, channels: int, tags: int, filters: int, units: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, filters, KERNEL)
        self.norm1 = batch_norm(filters)
        self.conv2 = nn.Conv1d(filters, filters, KERNEL, padding=KERNEL // 2)
        self.norm2 = SingleChannelNorm()
        self.conv3 = nn.Conv1d(filters, filters, KERNEL, padding=KERNEL // 2)
        self.norm3 = SingleChannelNorm()
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(2 * filters, units)
        self.dense_norm = batch_norm(units)
        self.output = nn.Linear(units, tags)

    def forward(self, features: Tensor) -> Tensor:
        x = self.norm1(F.relu(self.conv1(features)))  # (B, filters, T - 6)
        x = self.norm2(F.relu(self.conv2(x))) + x  # no ReLU after the sum
        x = F.max_pool1d(x, 2)  # (B, filters, (T - 6) // 2)
        x = self.norm3(F.relu(self.conv3(x))) + x
        x = torch.cat([x.amax(dim=2), x.mean(dim=2)], dim=1)  # (B, 2 filters): whatever the length, section 4
        x = self.dense_norm(F.relu(self.dense(self.dropout(x))))  # (B, units)
        return self.output(self.dropout(x))  # (B, tags)


class SingleChannelNorm(nn.BatchNorm1d):
    """Batch norm of a whole feature map by one mean, one variance, one gamma and one beta.

    The reference transposes its maps before the second and the third batch norm, so these two see a map with a single
    channel. The published parameter counts come out only with this.

    Shape:
        x, returned: (batch, channels, frames)
    """

    def __init__(self) -> None:
        super().__init__(1, eps=BN_EPS, momentum=BN_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1).unsqueeze(1)).view_as(x)  # as (B, 1, channels * frames)


def batch_norm(channels: int) -> nn.BatchNorm1d:
    """Batch norm per channel, for (batch, channels) and (batch, channels, frames)."""
    return nn.BatchNorm1d(channels, eps=BN_EPS, momentum=BN_MOMENTUM)


def he_initialise(model: nn.Module) -> None:
    """Draw all convolution and dense weights by He's rule (normal, variance 2 / fan-in); biases are zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
