"""The log-mel spectrogram as a layer, so that it runs on the model's device and is saved with the model.

Source: Pons et al. 2018, section 4, "Spectrogram front-end": 96 mel bands, normalised to zero mean and unit variance.
Window, hop and compression, log10(1 + 10000 x), are those of the authors' released code. The published baselines ask
for other rates, windows, numbers of bands and compressions: all are arguments, and the defaults are the paper's.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import melscale_fbanks
from torchaudio.transforms import Resample

from tagscale import SAMPLE_RATE
from tagscale.runtime.errors import TagscaleError

N_FFT = 512  # 32 ms
HOP = 256  # 16 ms
MELS = 96
POWER = 2
COMPRESSION = 10_000.0
DECIBEL_FLOOR = 1e-10  # power below which decibels stay at -100

ZERO_CROSSINGS = 12  # of the resampling filter, to each side
ROLL_OFF = 0.95  # its cut-off, as a part of the lower of the two Nyquist frequencies


class LogMel(nn.Module):
    """Waveform to normalised log-mel spectrogram: Slaney's mel scale and area normalisation, then a logarithm.

    Frame t is centred on sample t * hop; the first looks back into a mirrored copy of the beginning, and a last frame
    that would look past the end is left out. So 3 s give 187 frames and 15 s give 937, and no frame depends on how
    the end is padded (as long as `n_fft` is two hops, as it is in every published design).

    The buffers `mean` and `std` are two numbers, over all bands and frames of the training set (not per band: the
    balance between bands is a cue to timbre). They are in the state dict; until `fit_normalisation` they are 0 and 1.

    Args:
        rate: Hz at which the spectrogram is taken; the waveform comes at 16 kHz and is resampled on its own device
        n_fft, hop: window and step, in samples at `rate`
        mels: bands from 0 Hz to half the rate
        power: 2 for bands of power, 1 for bands of magnitude
        compression: c in log10(1 + c x); None for decibels, 10 log10(x)
    Shape:
        wave:    (batch, samples), 16 kHz in [-1, 1], more than half a window of samples at `rate`
        returns: (batch, mels, frames), float32; frames = samples // hop at `rate`
    """

    mean: Tensor
    std: Tensor
    window: Tensor
    filters: Tensor

    def __init__(
        self,
        *,
        rate: int = SAMPLE_RATE,
        n_fft: int = N_FFT,
        hop: int = HOP,
        mels: int = MELS,
        power: int = POWER,
        compression: float | None = COMPRESSION,
    ) -> None:
        super().__init__()
        self.rate, self.n_fft, self.hop, self.power, self.compression = rate, n_fft, hop, power, compression
        self.resample = Resampler(rate) if rate != SAMPLE_RATE else nn.Identity()
        bank = melscale_fbanks(n_fft // 2 + 1, 0.0, rate / 2, mels, rate, norm="slaney", mel_scale="slaney")
        self.register_buffer("filters", bank.T.contiguous(), persistent=False)  # (mels, n_fft // 2 + 1)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(1.0))
        self.mask: nn.Module = nn.Identity()  # in training, see audio.augmentation

    def forward(self, wave: Tensor) -> Tensor:
        return self.mask((self.unnormalised(wave) - self.mean) / self.std)

    def unnormalised(self, wave: Tensor) -> Tensor:
        """The log-mel spectrogram before normalisation. Shapes as above."""
        with full_precision(wave.device):
            wave = self.resample(wave.float())
            spectrum = torch.stft(wave, self.n_fft, self.hop, window=self.window, center=True, return_complex=True)
            spectrum = spectrum[..., : wave.shape[-1] // self.hop]
            power = spectrum.real.square() + spectrum.imag.square()
            bands = self.filters @ (power if self.power == 2 else power.sqrt())  # (B, mels, T)
            if self.compression is None:
                return 10 * torch.log10(bands.clamp(min=DECIBEL_FLOOR))
            return torch.log10(1 + self.compression * bands)

    @torch.no_grad()
    def fit_normalisation(self, waves: Iterable[Tensor]) -> None:
        """Set `mean` and `std` to those of all log-mel values of the given excerpts of the training set.

        Args:
            waves: batches (batch, samples), each 16 kHz in [-1, 1]; on any device
        Raises:
            TagscaleError: no excerpts, or all values are the same (silence).
        """
        count, total, squares = 0, 0.0, 0.0
        for wave in waves:
            values = self.unnormalised(wave.to(self.mean.device)).double()
            count += values.numel()
            total += values.sum().item()
            squares += values.square().sum().item()
        variance = squares / count - (total / count) ** 2 if count else 0.0
        if not variance > 1e-12:
            raise TagscaleError(
                "The log-mel spectrogram cannot be normalised: "
                + ("all training excerpts are silent." if count else "there are no training excerpts.")
                + " Look at the training tracks (data/store, data/partition)."
            )
        self.mean.fill_(total / count)
        self.std.fill_(variance**0.5)


class Resampler(Resample):
    """torchaudio's windowed sinc from 16 kHz to another rate. The rate fixes its kernel, so no checkpoint holds it.

    Shape:
        wave:    (batch, samples) at 16 kHz, float32
        returns: (batch, ceil(samples * rate / 16000))
    """

    def __init__(self, rate: int) -> None:
        super().__init__(SAMPLE_RATE, rate, lowpass_filter_width=ZERO_CROSSINGS, rolloff=ROLL_OFF)
        self.register_buffer("kernel", self.kernel, persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        """As torchaudio's, which rounds the length up in a tensor: an export could not follow."""
        step, made = self.orig_freq // self.gcd, self.new_freq // self.gcd
        length = (wave.shape[1] * made + step - 1) // step
        with full_precision(wave.device):
            padded = F.pad(wave, (self.width, self.width + step)).unsqueeze(1)
            resampled = F.conv1d(padded, self.kernel, stride=step)  # (B, made, places)
            return resampled.transpose(1, 2).flatten(1).narrow(1, 0, length)


@cache
def keep_from_compiling() -> None:
    """Make torch.compile leave these layers alone, in this process: whoever compiles a network calls it first.

    A compiled product would have the precision of the process, see `full_precision`. As decorators these two lines
    would import the compiler into every process that tags a song, which takes as long as the song.
    """
    for layer, method in ((LogMel, "unnormalised"), (Resampler, "forward")):
        setattr(layer, method, torch.compiler.disable(getattr(layer, method)))


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Products and convolutions of the block in float32 proper, whatever precision the training around it has.

    Autocast would round the factors to 8 bits and overflow half precision. TF32, a GPU's default for convolutions and
    what `torch.set_float32_matmul_precision("high")` allows for products, rounds them to 11: of a loud recording,
    resampled so, an error is left in every band that its quiet bands do not exceed.
    """
    precision = torch.get_float32_matmul_precision()
    with (
        torch.autocast(device.type, enabled=False),
        torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
    ):
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision)


def samples_of(frames: int, *, hop: int = HOP, rate: int = SAMPLE_RATE) -> int:
    """The fewest samples at 16 kHz that give a `LogMel` of this hop and rate so many frames.

    >>> samples_of(8), samples_of(1366, rate=12_000)  # the latter 29.14 s
    (2048, 466261)
    """
    return (frames * hop - 1) * SAMPLE_RATE // rate + 1
