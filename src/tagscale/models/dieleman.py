"""The end-to-end model of Dieleman & Schrauwen: a strided convolution stands in for the spectrogram.

Source: Dieleman & Schrauwen 2014, "End-to-end learning for music audio" [9]: best with 256 samples per frame. The paper
reproduces it with 194k parameters and does not say how. The design below has 194,270, and is the plainest that has
194k: 128 filters of 256 samples, two convolutions of 32 filters over 8 frames, each pooled by 4, a dense layer of 100
on all 36 frames that are left of 10 s. The same layers on 3 s (9 frames left, `frames: 9`) have 107,870.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from tagscale import SAMPLE_RATE
from tagscale.models.backend import he_initialise
from tagscale.models.kernels import TimeConv, pool_time
from tagscale.models.tagger import Tagger, scaled

STRIDE = 256  # samples per frame, and the length of the filters on the waveform
FRAMES = 36  # left of 10 s
TAPS, POOL = 8, 4  # frames


class Dieleman(Tagger):
    """Strided convolution, two pooled convolutions over the frames, two dense layers. ReLU throughout.

    Args:
        tags: number of outputs
        width: factor on the filters of every convolution
        units: of the dense layer
        frames: pooled frames that the dense layer sees at once: 36 are 10 s, 9 are 3 s. A longer patch has several such
            windows; the model takes the mean over them.
    Raises:
        TagscaleError: no filter left at this width.
    """

    NATURAL_SAMPLES = 160_000  # 10 s

    def __init__(self, tags: int, *, width: float = 1.0, units: int = 100, frames: int = FRAMES) -> None:
        super().__init__()
        self.shortest_samples = self.shortest(frames=frames)
        bands, filters = scaled(128, width, "dieleman"), scaled(32, width, "dieleman")
        self.strided = TimeConv(1, bands, STRIDE, stride=STRIDE)
        self.conv1 = TimeConv(bands, filters, TAPS)
        self.conv2 = TimeConv(filters, filters, TAPS)
        self.dense = SlidingDense(filters, frames, units)
        self.output = nn.Linear(units, tags)
        he_initialise(self)

    @staticmethod
    def shortest(frames: int = FRAMES, **capacity: Any) -> int:
        """The fewest samples that leave the dense layer its frames: 9.776 s, or 2.864 s for nine.

        >>> Dieleman.shortest(), Dieleman.shortest(frames=9)
        (156416, 45824)
        """
        return frames_before(frames_before(frames)) * STRIDE

    @staticmethod
    def natural(frames: int = FRAMES, **capacity: Any) -> int:
        """Whole seconds that hold the shortest patch."""
        return -(-Dieleman.shortest(frames=frames) // SAMPLE_RATE) * SAMPLE_RATE

    def encode(self, wave: Tensor) -> Tensor:
        x = F.relu(self.strided(wave.unsqueeze(1)))  # (B, 128, samples // 256)
        for conv in (self.conv1, self.conv2):
            x = F.relu(pool_time(conv(x), POOL))  # (B, 32, a quarter); the maximum first: less to rectify
        return F.relu(self.dense(x)).mean(dim=1)  # (B, units)


class SlidingDense(nn.Module):
    """The dense layer after a flattened feature map, on patches of any length: at every place where it fits.

    Shape:
        x:       (batch, channels, length), length >= frames
        returns: (batch, length - frames + 1, units)
    """

    def __init__(self, channels: int, frames: int, units: int) -> None:
        super().__init__()
        self.frames = frames
        self.dense = nn.Linear(channels * frames, units)

    def forward(self, x: Tensor) -> Tensor:
        windows = x.unfold(2, self.frames, 1)  # (B, channels, places, frames)
        return self.dense(windows.transpose(1, 2).flatten(2))


def frames_before(frames: int) -> int:
    """Frames that one of the pooled convolutions must be given, to give so many."""
    return POOL * frames + TAPS - 1
