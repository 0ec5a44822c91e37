"""Augmentation against its definitions: levels, pitches, labels and hidden places."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tagscale.audio.augmentation import SpectrogramMask, augmented, played, read_samples, spectrogram_masks
from tagscale.audio.logmel import LogMel
from tagscale.params.blocks import AugmentParams

OFF: dict[str, Any] = {
    "gain": 0, "polarity": False, "speed": 0, "noise": 0, "mix": 0, "band_mask": 0, "time_mask": 0
}  # fmt: skip
SAMPLES = 16_000


def batch(count: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, SAMPLES, generator=generator) / 10, torch.rand(count, 2, generator=generator).round()


def heard(seed: int = 0, **parts: Any) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return augmented(*batch(), SAMPLES, AugmentParams(**OFF | parts))


def rms(waves: Tensor) -> Tensor:
    return waves.square().mean(dim=1).sqrt()


def test_nothing_happens_where_all_is_off() -> None:
    for found, given in zip(heard(), batch(), strict=True):
        assert torch.equal(found, given)


@pytest.mark.parametrize("part", [{"gain": 6}, {"polarity": True}, {"noise": 0.1}, {"mix": 0.4}])
def test_the_seed_decides(part: dict[str, Any]) -> None:
    assert torch.equal(heard(1, **part)[0], heard(1, **part)[0])
    assert not torch.equal(heard(1, **part)[0], heard(2, **part)[0])


@pytest.mark.parametrize("part", [{"gain": 6}, {"polarity": True}, {"speed": 0.1}, {"noise": 0.1}])
def test_processes_that_share_a_batch_hear_it_as_one_does(part: dict[str, Any]) -> None:
    settings = AugmentParams(**OFF | part)
    excerpts, labels = torch.randn(64, read_samples(SAMPLES, settings)) / 10, batch()[1]

    def heard_by(rank: int, world: int) -> Tensor:
        torch.manual_seed(0)
        return augmented(excerpts[rank::world], labels[rank::world], SAMPLES, settings, rank, world)[0]

    whole = heard_by(0, 1)
    for rank in range(4):
        torch.testing.assert_close(heard_by(rank, 4), whole[rank::4], rtol=0, atol=1e-6)


def test_gains_fill_their_range_of_decibels() -> None:
    decibels = 20 * torch.log10(rms(heard(gain=6)[0]) / rms(batch()[0]))
    assert -6 <= decibels.min() < -5 < 5 < decibels.max() <= 6


def test_half_of_the_patches_are_upside_down() -> None:
    signs = (heard(polarity=True)[0] / batch()[0])[:, 0]
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert 16 < (signs == 1).sum() < 48


def test_noise_is_a_share_of_the_level() -> None:
    noise = heard(noise=0.1)[0] - batch()[0]
    share = rms(noise) / rms(batch()[0])
    assert share.max() < 0.102
    assert 0.03 < share.mean() < 0.07


@pytest.mark.parametrize("seed", range(4))
def test_another_speed_is_another_pitch_at_the_same_level(seed: int) -> None:
    """A tone of 1 kHz, its pitch measured by the phase of its analytic signal."""
    time = np.arange(read_samples(SAMPLES, AugmentParams(**OFF | {"speed": 0.05}))) / 16_000
    tone = torch.from_numpy(np.sin(2 * np.pi * 1000 * time)).float()[None]
    torch.manual_seed(seed)
    expected = 1000 * (1 + 0.05 * (2 * torch.rand(()).item() - 1))
    torch.manual_seed(seed)
    found = played(tone, SAMPLES, 0.05)[0, 1000:-1000]
    assert played(tone, SAMPLES, 0.05).shape == (1, SAMPLES)
    spectrum = torch.fft.fft(found)
    spectrum[len(found) // 2 :] = 0
    phase = np.unwrap(torch.fft.ifft(spectrum).angle().numpy()[1000:-1000])
    pitch = (phase[-1] - phase[0]) / (len(phase) - 1) / 2 / np.pi * 16_000
    assert pitch == pytest.approx(expected, abs=1000 / 200 / 2 + 0.1), "of 200 lengths"
    assert found.square().mean().item() == pytest.approx(0.5, rel=0.02)


def test_mixed_patches_have_mixed_labels() -> None:
    waves, labels = batch()
    labels[5, 1] = float("nan")
    torch.manual_seed(0)
    found, mixed = augmented(waves, labels, SAMPLES, AugmentParams(**OFF | {"mix": 0.4}))
    before = waves.roll(1, 0)
    shares = ((found - before) * (waves - before)).sum(1) / (waves - before).square().sum(1)
    assert shares.min() >= 0.5
    assert shares.max() <= 1 + 1e-5
    assert shares.std() > 0.05
    expected = shares[:, None] * labels + (1 - shares[:, None]) * labels.roll(1, 0)
    torch.testing.assert_close(mixed, expected, equal_nan=True, rtol=0, atol=1e-4)
    assert mixed.isnan().sum() == 2, "of the patch without the label, and of the one that it is mixed into"


def test_a_mask_hides_one_run_of_bands_and_one_of_frames() -> None:
    mask = SpectrogramMask(0.25, 0.5)
    torch.manual_seed(0)
    hidden = mask(torch.ones(200, 40, 60)) == 0
    assert not (mask.eval()(torch.ones(2, 40, 60)) == 0).any()
    bands, frames = hidden.all(dim=2).sum(dim=1), hidden.all(dim=1).sum(dim=1)
    assert bands.max() in (10, 11)
    assert frames.max() in (30, 31)
    assert bands.float().mean() == pytest.approx(5, abs=1)
    one = hidden[int(bands.argmax())].all(dim=1).nonzero().flatten()
    assert torch.equal(one, torch.arange(int(one[0]), int(one[-1]) + 1)), "without a gap"


def test_masks_are_in_a_network_only_while_it_trains() -> None:
    network = nn.Sequential(LogMel())
    keys = list(network.state_dict())
    with spectrogram_masks(network, AugmentParams(**OFF | {"time_mask": 0.5})):
        assert isinstance(network[0].mask, SpectrogramMask)
        assert list(network.state_dict()) == keys
    assert isinstance(network[0].mask, nn.Identity)
