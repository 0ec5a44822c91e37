"""CRNN, "VGG + RNN": four convolutional layers look at the spectrogram, two recurrent ones read it from left to right.

Source: Choi et al. 2017, "Convolutional recurrent neural networks for music classification" [6], and the authors'
released code: 96 mel bands in decibels at 12 kHz, 1,366 frames (29.14 s) between 37 frames of zeros to each side (here
of the normalised spectrogram, so of its mean), so that 15 steps reach the recurrent layers; conv -> batch norm ->
ELU -> max-pool -> dropout; Glorot's initialisation. The widths, 169 and 339, are those of the version with 3M
parameters: 3,028,728 with PyTorch's two biases per gate.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.audio.logmel import LogMel, samples_of
from tagscale.models.backend import initialise
from tagscale.models.kernels import GatedUnits, MapConv, NormPool
from tagscale.models.tagger import Tagger, scaled

RATE, MELS, FRAMES = 12_000, 96, 1366
PADDING = 37  # frames of zeros to each side
FILTERS = (169, 339, 339, 339)
POOLS = (2, 3, 4, 4)  # of bands and of frames alike: 96 bands to one
STEP = 96  # frames that make one step of the recurrent layers: the product of POOLS
UNITS = 169  # of each recurrent layer
BN_EPS, BN_MOMENTUM = 1e-5, 0.01  # Keras' constants of that time


class CRNN(Tagger):
    """Log-mel spectrogram, four convolutions, two GRU layers, and a dense layer on their last state.

    A shorter patch gives fewer steps, a longer one more; the dense layer sees the state after the last step.

    Args:
        tags: number of outputs
        width: factor on the filters and on the units of the recurrent layers
        conv_dropout: after every convolutional layer
        dropout: before the dense layer
    Raises:
        TagscaleError: no filter left at this width.
    """

    NATURAL_SAMPLES = samples_of(FRAMES, rate=RATE)  # 466,261
    shortest_samples = samples_of(STEP - 2 * PADDING, rate=RATE)  # 7,509, 0.47 s: a recurrent step, less the zeros

    def __init__(self, tags: int, *, width: float = 1.0, conv_dropout: float = 0.1, dropout: float = 0.3) -> None:
        super().__init__()
        counts = [scaled(count, width, "crnn") for count in FILTERS]
        units = scaled(UNITS, width, "crnn")
        self.log_mel = LogMel(rate=RATE, mels=MELS, compression=None)
        self.input_norm = nn.BatchNorm2d(1, BN_EPS, BN_MOMENTUM)
        self.convs = nn.ModuleList(
            MapConv(inputs, outputs, 3, padding=1) for inputs, outputs in zip([1, *counts[:-1]], counts, strict=True)
        )
        self.norms = nn.ModuleList(
            NormPool(count, (pool, pool), eps=BN_EPS, momentum=BN_MOMENTUM)
            for count, pool in zip(counts, POOLS, strict=True)
        )
        self.recurrent = GatedUnits(counts[-1], units, layers=2)
        self.conv_dropout, self.dropout = nn.Dropout(conv_dropout), nn.Dropout(dropout)
        self.output = nn.Linear(units, tags)
        self._initialise()

    def encode(self, wave: Tensor) -> Tensor:
        x = F.pad(self.log_mel(wave), (PADDING, PADDING)).unsqueeze(1)  # (B, 1, 96, T + 74)
        x = self.input_norm(x)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.conv_dropout(F.elu(norm(conv(x))))  # pooled before the ELU, which keeps the order: less to do
        steps = self.recurrent(x.squeeze(2).transpose(1, 2))  # (B, 339, 1, steps) -> (B, steps, 169)
        return self.dropout(steps[:, -1])

    def _initialise(self) -> None:
        """Glorot's uniform rule; orthogonal matrices from state to state; biases are zero."""
        initialise(self, nn.init.xavier_uniform_)
        for name, parameter in self.recurrent.named_parameters():
            if "bias" in name:
                nn.init.zeros_(parameter)
                continue
            for gate in torch.chunk(parameter.detach(), 3):  # reset, update, new: views of the parameter
                (nn.init.orthogonal_ if "_hh_" in name else nn.init.xavier_uniform_)(gate)
