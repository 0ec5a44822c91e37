"""MusiCNN: filters shaped like timbres and like rhythms, three convolutions over time that are connected densely.

Source: Pons & Serra 2019, "musicnn: pre-trained convolutional neural networks for music audio tagging", and the sizes
of the released checkpoints. It descends from the paper's spectrogram model. What differs: the filters for rhythm slide
over every band, not over the envelope, and keep the maximum; the spectrogram is normalised by a batch norm; all maps
of the front-end and the three convolutions are pooled together.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.audio.logmel import HOP, MELS, LogMel
from tagscale.models.backend import BN_EPS, BN_MOMENTUM, KERNEL, he_initialise, norm_of_map, relu_norm
from tagscale.models.kernels import Bands, NormMax, Places, TimeConv
from tagscale.models.spectrogram import TimbralBranch
from tagscale.models.tagger import Tagger, scaled

TIMBRAL = (38, 67)  # mel bands, each over 7 frames: 0.4 and 0.7 of 96
TIMBRAL_FILTERS = 204  # of each height: 1.6 x 128
TEMPORAL = (128, 64, 32)  # frames
TEMPORAL_FILTERS = 51  # of each length: 1.6 x 32
FILTERS = 64  # of each of the three convolutions
UNITS = 200  # of the dense layer
RELEASED = {  # layer here -> layer of the released checkpoints
    "input_norm": "batch_normalization",
    "timbral.0.conv": "conv2d",
    "timbral.0.norm": "batch_normalization_1",
    "timbral.1.conv": "conv2d_1",
    "timbral.1.norm": "batch_normalization_2",
    "temporal.0.conv": "conv2d_2",
    "temporal.0.norm": "batch_normalization_3",
    "temporal.1.conv": "conv2d_3",
    "temporal.1.norm": "batch_normalization_4",
    "temporal.2.conv": "conv2d_4",
    "temporal.2.norm": "batch_normalization_5",
    "conv1": "conv2d_5",
    "norm1": "batch_normalization_6",
    "conv2": "conv2d_6",
    "norm2": "batch_normalization_7",
    "conv3": "conv2d_7",
    "norm3": "batch_normalization_8",
    "pooled_norm": "batch_normalization_9",
    "dense": "dense",
    "dense_norm": "batch_normalization_10",
    "output": "dense_1",
}


class MusiCNN(Tagger):
    """Log-mel spectrogram, front-end, three convolutions with residuals, maximum and mean over time, dense layer.

    Args:
        tags: number of outputs
        width: factor on all filters
        units: of the dense layer
    Raises:
        TagscaleError: no filter left at this width.
    """

    NATURAL_SAMPLES = 48_000  # 187 frames
    RELEASED = RELEASED
    shortest_samples = 2 * HOP

    def __init__(self, tags: int, *, width: float = 1.0, units: int = UNITS, dropout: float = 0.5) -> None:
        super().__init__()
        timbral, temporal, filters = (
            scaled(count, width, "musicnn") for count in (TIMBRAL_FILTERS, TEMPORAL_FILTERS, FILTERS)
        )
        self.log_mel = LogMel()
        self.input_norm = norm_of_map()
        self.timbral = nn.ModuleList(TimbralBranch(KERNEL, bands, timbral) for bands in TIMBRAL)
        self.temporal = nn.ModuleList(TemporalBranch(frames, temporal) for frames in TEMPORAL)
        front = len(TIMBRAL) * timbral + len(TEMPORAL) * temporal  # 561 at width 1
        self.conv1, self.norm1 = TimeConv(front, filters, KERNEL, same=True), relu_norm(filters)
        self.conv2, self.norm2 = TimeConv(filters, filters, KERNEL, same=True), relu_norm(filters)
        self.conv3, self.norm3 = TimeConv(filters, filters, KERNEL, same=True), relu_norm(filters)
        pooled = 2 * (front + 3 * filters)  # 1,506 at width 1
        self.pooled_norm = nn.BatchNorm1d(pooled, BN_EPS, BN_MOMENTUM)
        self.dense = nn.Linear(pooled, units)
        self.dense_norm = nn.BatchNorm1d(units, BN_EPS, BN_MOMENTUM)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(units, tags)
        he_initialise(self)

    def encode(self, wave: Tensor) -> Tensor:
        """(batch, samples) -> (batch, units): the penultimate layer."""
        return self.dropout(self.layers(wave)["penultimate"])

    def layers(self, wave: Tensor) -> dict[str, Tensor]:
        """What every layer makes of (batch, samples).

        Shape:
            timbral, temporal, cnn1, cnn2, cnn3: (batch, filters, frames), 408, 153 and 3 x 64 filters at width 1
            max_pool, mean_pool:                 (batch, 753), over all of these
            penultimate:                         (batch, units)
        """
        spectrogram = self.input_norm(self.log_mel(wave))  # (B, 96, T)
        bands = Bands(spectrogram)
        timbral = torch.cat([branch(bands) for branch in self.timbral], dim=1)
        temporal = torch.cat([branch(spectrogram) for branch in self.temporal], dim=1)
        front = torch.cat([timbral, temporal], dim=1)
        cnn1 = self.norm1(self.conv1(front))
        cnn2 = self.norm2(self.conv2(cnn1)) + cnn1
        cnn3 = self.norm3(self.conv3(cnn2)) + cnn2
        maps = torch.cat([front, cnn1, cnn2, cnn3], dim=1)
        largest, mean = maps.amax(dim=2), maps.mean(dim=2)
        pooled = self.pooled_norm(torch.stack([largest, mean], dim=2).flatten(1))  # maximum and mean of each in turn
        penultimate = self.dense_norm(F.relu(self.dense(self.dropout(pooled))))
        layers = {"timbral": timbral, "temporal": temporal, "cnn1": cnn1, "cnn2": cnn2, "cnn3": cnn3}
        return layers | {"max_pool": largest, "mean_pool": mean, "penultimate": penultimate}


class TemporalBranch(nn.Module):
    """Long filters that slide over every band by itself, then the maximum over the bands.

    Shape:
        spectrogram: (batch, 96, frames)
        returns:     (batch, filters, frames)
    """

    def __init__(self, frames: int, filters: int) -> None:
        super().__init__()
        self.conv = TimeConv(1, filters, frames, same=True)
        self.norm = NormMax(filters, eps=BN_EPS, momentum=BN_MOMENTUM)

    def forward(self, spectrogram: Tensor) -> Tensor:
        x = self.conv(spectrogram.flatten(0, 1).unsqueeze(1))  # (B x 96, filters, T)
        x = x.unflatten(0, (-1, MELS)).transpose(1, 2)  # (B, filters, 96, T)
        return self.norm(Places(x, sets=1, left_out=0))
