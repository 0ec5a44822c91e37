"""The log-mel spectrogram as a layer, so that it runs on the model's device and is saved with the model.

Source: Pons et al. 2018, section 4, "Spectrogram front-end": 96 mel bands, normalised to zero mean and unit variance.
Window, hop and compression, log10(1 + 10000 x), are those of the authors' released code.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from tagscale.audio import SAMPLE_RATE
from tagscale.errors import TagscaleError

N_FFT = 512  # 32 ms
HOP = 256  # 16 ms
MELS = 96
COMPRESSION = 10_000.0


class LogMel(nn.Module):
    """Waveform to normalised log-mel spectrogram: power, Slaney's mel scale and area normalisation, log10(1 + 10000 x).

    Frame t is centred on sample 256 t; the first looks back into a mirrored copy of the beginning, and a last frame
    that would look past the end is left out. So 3 s give 187 frames and 15 s give 937, and no frame depends on how
    the end is padded.

    The buffers `mean` and `std` are two numbers, over all bands and frames of the training set (not per band: the
    balance between bands is a cue to timbre). They are in the state dict; until `fit_normalisation` they are 0 and 1.

    Shape:
        wave:    (batch, samples), samples > 256, 16 kHz in [-1, 1]
        returns: (batch, 96, samples // 256), float32
    """

    mean: Tensor
    std: Tensor
    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        bank = melscale_fbanks(
            N_FFT // 2 + 1, 0.0, SAMPLE_RATE / 2, MELS, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("filters", bank.T.contiguous(), persistent=False)  # (96, 257)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(1.0))

    def forward(self, wave: Tensor) -> Tensor:
        return (self.unnormalised(wave) - self.mean) / self.std

    def unnormalised(self, wave: Tensor) -> Tensor:
        """The log-mel spectrogram before normalisation. Shapes as above."""
        with torch.autocast(wave.device.type, enabled=False):  # powers span more than half precision can hold
            spectrum = torch.stft(wave.float(), N_FFT, HOP, window=self.window, center=True, return_complex=True)
            power = torch.view_as_real(spectrum[..., : wave.shape[-1] // HOP]).square().sum(dim=-1)  # (B, 257, T)
            return torch.log10(1 + COMPRESSION * (self.filters @ power))  # (B, 96, T)

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
