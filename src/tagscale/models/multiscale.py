"""The two multi-level and multi-scale taggers of table 4: on log-mel spectrograms, and on waveforms.

Source: Lee & Nam 2017 [13] (`aggregation` says what it does), and Lee et al. 2018, "SampleCNN: end-to-end deep
convolutional neural networks using very small filters for music classification" [15], which does the same with
SampleCNNs. The sources are their abstracts, what the paper says of them, and the authors' released code for other
tasks. What none of these says is our choice, and comments say so.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tagscale.audio.logmel import LogMel, samples_of
from tagscale.models.aggregation import UNITS, MultiscaleTagger, prime_factors
from tagscale.models.samplecnn import LEVELS, SampleCNN, SingleScale, Stack, keras_initialise
from tagscale.models.tagger import scaled
from tagscale.runtime.errors import TagscaleError

# Samples at 22,050 Hz: 372, 557, 627, 743, 893, 1486, 2678 and 3543 ms, the list of the authors' code for DCASE 2017
SAMPLES = (8_192, 12_288, 13_824, 16_384, 19_683, 32_768, 59_049, 78_125)
# 27 frames (627 ms) are named in the authors' code; the scales around it, up to 5 s, are our choice
FRAMES = (18, 27, 54, 108, 216)
# 128 bands of magnitude, log10(1 + 10 x), 1024 and 512 samples at 22,050 Hz: here 46.5 and 23.25 ms at 16 kHz
N_FFT, HOP, MELS, COMPRESSION = 744, 372, 128, 10.0


class Multiscale(MultiscaleTagger):
    """CNNs on log-mel spectrograms of several lengths [13].

    Args:
        tags: number of outputs
        width: factor on the filters of every layer of every part
        frames: length of each part's patches in spectrogram frames of 23.25 ms; each with at least three prime factors
        units, dropout: of the two hidden layers of the head
        part_dropout: before the dense layer of each part
    Raises:
        TagscaleError: no filter left at this width, no frames, or frames that no three layers of pooling make one.
    """

    def __init__(
        self,
        tags: int,
        *,
        width: float = 1.0,
        frames: Sequence[int] = FRAMES,
        units: int = UNITS,
        dropout: float = 0.5,
        part_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.shortest(frames=frames)  # refuses what makes no parts
        parts = [MelCNN(tags, width=width, frames=count, dropout=part_dropout) for count in frames]
        self._assemble(parts, tags, units, dropout)

    @staticmethod
    def shortest(frames: Sequence[int] = FRAMES, **capacity: Any) -> int:
        """The patch of the longest part: 5.022 s.

        >>> Multiscale.shortest()
        80352
        """
        _refuse("multiscale.frames", frames, LEVELS, FRAMES)
        return samples_of(max(frames), hop=HOP)


class SampleCNNMultiscale(MultiscaleTagger):
    """SampleCNNs of several lengths [15].

    Args:
        tags: number of outputs
        width: factor on the filters of every layer of every part
        samples: length of each part's patches; its prime factors, ascending, are the stride of the part's first layer
            and the pooling of the others, so 59,049 is the model 3^9. Each has at least four.
        last_taps: of the last convolution of every part
        units, dropout: of the two hidden layers of the head
        part_dropout: before the dense layer of each part
    Raises:
        TagscaleError: no filter left at this width, no samples, or samples without enough factors.
    """

    def __init__(
        self,
        tags: int,
        *,
        width: float = 1.0,
        samples: Sequence[int] = SAMPLES,
        last_taps: int = 3,
        units: int = UNITS,
        dropout: float = 0.5,
        part_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.shortest(samples=samples)  # refuses what makes no parts
        parts = [
            SampleCNN(tags, width=width, pools=prime_factors(count)[1:], last_taps=last_taps, dropout=part_dropout)
            for count in samples
        ]
        self._assemble(parts, tags, units, dropout)

    @staticmethod
    def shortest(samples: Sequence[int] = SAMPLES, **capacity: Any) -> int:
        """The patch of the longest part: 4.883 s.

        >>> SampleCNNMultiscale.shortest()
        78125
        """
        _refuse("samplecnn_multiscale.samples", samples, LEVELS + 1, SAMPLES)
        for count in samples:
            first, second, *_ = prime_factors(count)
            if first != second:
                raise TagscaleError(
                    f"model.samplecnn_multiscale.samples: {count} has its smallest prime factor, {first}, only once; "
                    "the first layer strides by it and the second pools by it. Give for example 59049 (3 to the 10th)."
                )
        return max(samples)


class MelCNN(SingleScale):
    """A part of `Multiscale`: convolutions over time on a log-mel spectrogram, its bands as channels.

    Our choice, after the authors' later released code for mel spectrograms: 128 filters in every pooled layer, as many
    taps as it pools frames, 256 filters of one tap at the end; conv -> batch norm -> ReLU -> pool. Each layer pools by
    a prime factor of the number of frames, so one frame is left.

    Args:
        tags: number of outputs
        width: factor on the filters of every layer
        frames: length of its patches
        dropout: before the dense layer
    """

    def __init__(self, tags: int, *, width: float, frames: int, dropout: float) -> None:
        super().__init__()
        self.shortest_samples = samples_of(frames, hop=HOP)
        middle, last = (scaled(count, width, "multiscale") for count in (128, 256))
        pools = prime_factors(frames)
        self.log_mel = LogMel(n_fft=N_FFT, hop=HOP, mels=MELS, power=1, compression=COMPRESSION)
        self.stack = Stack(MELS, [middle] * len(pools), pools, last, last_taps=1)
        self.level_filters = self.stack.level_filters
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(last, tags)
        keras_initialise(self)

    def levels(self, wave: Tensor) -> list[Tensor]:
        return self.stack.levels(self.log_mel(wave))


def _refuse(key: str, lengths: Sequence[int], factors: int, default: Sequence[int]) -> None:
    """Refuse lengths that make no parts."""
    if not lengths:
        raise TagscaleError(f"model.{key}: there are no scales. Give for example {list(default)}.")
    for length in lengths:
        if length < 1 or len(prime_factors(length)) < factors:
            raise TagscaleError(
                f"model.{key}: {length} has fewer than {factors} prime factors, and each layer shortens a patch by one "
                f"of them. Give for example {list(default)}."
            )
