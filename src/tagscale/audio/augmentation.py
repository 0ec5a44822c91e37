"""Augmentation: what training does to its patches on their device, so that no two steps hear the same.

All draws come from torch's global generator, which the training loop seeds by training and step: a resumed training
hears what it would have heard. Draws for the waveforms are made for the batch of all processes, of which each takes its
own: several processes hear what one would. Masks, and the patch that another is mixed with, are of the process alone.
Each part is off at 0. Prediction and validation hear patches as they are.

Sources: Zhang et al. 2018, "mixup: Beyond empirical risk minimization"; Park et al. 2019, "SpecAugment" (masks of bands
and of frames; no warping).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tagscale.audio.logmel import LogMel
from tagscale.params.blocks import AugmentParams

SPEEDS = 200  # that many lengths in a patch: their Fourier transforms are fast


def read_samples(patch_samples: int, settings: AugmentParams) -> int:
    """Samples to read for a patch of so many: a faster one needs more.

    >>> read_samples(48_000, AugmentParams.model_construct(speed=0.03))
    49440
    """
    return math.ceil(patch_samples * (1 + settings.speed))


def augmented(
    waves: Tensor, labels: Tensor, samples: int, settings: AugmentParams, rank: int = 0, world: int = 1
) -> tuple[Tensor, Tensor]:
    """A batch as a training step hears it, or the share of one that process `rank` of `world` has (`StepOrder`).

    Shape:
        waves:    (batch, `read_samples(samples, settings)`), float32
        labels:   (batch, tags) in [0, 1], NaN = not annotated
        returns:  (batch, samples), (batch, tags)
    """
    whole, share, device = len(waves) * world, slice(rank, None, world), waves.device

    def signed() -> Tensor:
        """A number of (-1, 1) for each patch: (batch, 1)."""
        return (2 * torch.rand(whole, 1, device=device) - 1)[share]

    if settings.speed:
        waves = played(waves, samples, settings.speed)
    if settings.gain:
        gain = 10 ** (settings.gain * signed().double() / 20)  # its last bit, a C library's, is rounded away
        waves = waves * gain.to(waves.dtype)
    if settings.polarity:
        waves = waves * signed().sign()
    if settings.noise:
        rms = waves.square().mean(dim=1, keepdim=True).sqrt()
        waves = waves + settings.noise * rms * signed().abs() * torch.randn(whole, samples, device=device)[share]
    if settings.mix:
        own = torch.distributions.Beta(settings.mix, settings.mix).sample((whole, 1)).to(waves)[share]
        waves, labels = mixed(waves, labels, torch.maximum(own, 1 - own))
    return waves, labels


def played(waves: Tensor, samples: int, speed: float) -> Tensor:
    """All patches of a batch at one speed of 1 - `speed` to 1 + `speed`: pitch and tempo change alike.

    The spectrum of an excerpt is cut or filled with zeros to that of `samples` samples, which resamples without
    aliasing. The excerpt begins where the patch does.

    Shape:
        waves:   (batch, at least samples * (1 + speed))
        returns: (batch, samples)
    """
    unit = max(1, samples // SPEEDS)
    length = samples + unit * round(speed * (2 * float(torch.rand(())) - 1) * samples / unit)
    length = min(length, waves.shape[1])
    if length == samples:
        return waves[:, :samples]
    spectrum = torch.fft.rfft(waves[:, :length])
    return torch.fft.irfft(spectrum, n=samples) * (samples / length)


def mixed(waves: Tensor, labels: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Each patch, by its share of (.5, 1), with the one before it, and their labels alike.

    A label is missing where it is missing for one of the two: what that one sounds like would be taught as the other's.

    Shape:
        waves: (batch, samples); labels: (batch, tags); share: (batch, 1)
    """
    return (
        share * waves + (1 - share) * waves.roll(1, dims=0),
        share * labels + (1 - share) * labels.roll(1, dims=0),
    )


class SpectrogramMask(nn.Module):
    """Hides a run of bands and a run of frames of each spectrogram, in training alone.

    Args:
        bands, frames: the widest run, as a share of all
    Shape:
        x, returned: (batch, bands, frames), normalised: what is hidden becomes the mean, 0
    """

    def __init__(self, bands: float, frames: float) -> None:
        super().__init__()
        self.shares = (bands, frames)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        for axis, share in zip((1, 2), self.shares, strict=True):
            size = x.shape[axis]
            shape = (len(x), 1, 1)
            width = share * size * torch.rand(shape, device=x.device)
            first = (size - width) * torch.rand(shape, device=x.device)
            place = torch.arange(size, device=x.device).view((1, -1, 1) if axis == 1 else (1, 1, -1))
            x = x.masked_fill((place >= first) & (place < first + width), 0.0)
        return x


@contextmanager
def spectrogram_masks(network: nn.Module, settings: AugmentParams) -> Iterator[None]:
    """Let the log-mel layers of a network hide bands and frames in training while the block runs."""
    layers = [layer for layer in network.modules() if isinstance(layer, LogMel)]
    if not (settings.band_mask or settings.time_mask):
        layers = []
    for layer in layers:
        layer.mask = SpectrogramMask(settings.band_mask, settings.time_mask)
    try:
        yield
    finally:
        for layer in layers:
            layer.mask = nn.Identity()
