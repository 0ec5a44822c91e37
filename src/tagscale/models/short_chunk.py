"""The short-chunk residual CNN: seven residual blocks of 3 x 3 filters on the log-mel spectrogram of a few seconds.

Source: Won, Ferraro, Bogdanov & Serra 2020, "Evaluation of CNN-based automatic music tagging models", "Short-chunk CNN
+ Res", with the layer sizes of the authors' released model. Where the paper leaves a choice open, the release decides:
the blocks halve both axes by striding, their shortcuts are strided 3 x 3 convolutions too, and 128 bands halved seven
times leave one row. It came after Pons et al. 2018 and was the strongest of its comparison; off by default here.

The log-mel spectrogram is in decibels, as there. It is normalised by the training set's mean and standard deviation, as
in all our models, where the release has a batch norm of the input: 2 parameters fewer than its 12,104,244 for 50 tags.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.audio.logmel import N_FFT, LogMel
from tagscale.models.kernels import MapConv, NormPool
from tagscale.models.tagger import Tagger, scaled

MELS = 128
FILTERS = (128, 128, 256, 256, 256, 256, 512)  # of the blocks


class ShortChunkTagger(Tagger):
    """Seven residual blocks, the maximum over time, and two dense layers.

    Args:
        tags: number of outputs
        width: factor on the filters of every block and on the units of the hidden dense layer
        dropout: before the last layer
    Raises:
        TagscaleError: no filter left at this width.
    """

    NATURAL_SAMPLES = 59_049  # 3.69 s, 230 frames

    shortest_samples = N_FFT  # one window

    def __init__(self, tags: int, *, width: float, dropout: float) -> None:
        super().__init__()
        counts = [scaled(count, width, "short_chunk") for count in FILTERS]
        self.log_mel = LogMel(mels=MELS, compression=None)
        self.blocks = nn.Sequential(
            *(ResidualBlock(inputs, outputs) for inputs, outputs in zip([1, *counts[:-1]], counts, strict=True))
        )
        self.dense = nn.Linear(counts[-1], counts[-1])
        self.norm = nn.BatchNorm1d(counts[-1])
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(counts[-1], tags)

    def encode(self, wave: Tensor) -> Tensor:
        x = self.log_mel(wave).unsqueeze(1)  # (B, 1, 128, T)
        x = self.blocks(x)  # (B, 512 width, 1, T / 128, rounded up)
        x = x.amax(dim=(2, 3))  # (B, 512 width): whatever the length
        x = F.relu(self.norm(self.dense(x)))
        return self.dropout(x)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, the first with stride 2, and a strided convolution past them; all with batch norm.

    Shape:
        x:       (batch, inputs, bands, frames)
        returns: (batch, outputs, bands / 2, frames / 2), rounded up
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = MapConv(inputs, outputs, 3, stride=2, padding=1)
        self.norm1 = NormPool(outputs)
        self.conv2 = MapConv(outputs, outputs, 3, padding=1)
        self.norm2 = NormPool(outputs)
        self.shortcut = MapConv(inputs, outputs, 3, stride=2, padding=1)
        self.shortcut_norm = NormPool(outputs)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(self.shortcut_norm(self.shortcut(x)) + residual)
