"""The log-mel layer against a second implementation: NumPy, float64, Slaney's formulas written out."""

import numpy as np
import pytest
import torch

from tagscale.audio.logmel import LogMel
from tagscale.errors import TagscaleError

TOLERANCE = 1e-4  # absolute, on values from 0 to about 6: float32 against float64


def slaney_hertz(mel: np.ndarray) -> np.ndarray:
    """Slaney's scale: 3 mel per 200 Hz up to 1 kHz (mel 15), then 27 steps for every factor of 6.4."""
    return np.where(mel < 15, 200 / 3 * mel, 1000 * 6.4 ** ((mel - 15) / 27))


def reference(wave: np.ndarray) -> np.ndarray:
    """(samples,) -> (96, samples // 256), not normalised."""
    top = 15 + 27 * np.log(8) / np.log(6.4)  # 8 kHz
    corners = slaney_hertz(np.linspace(0, top, 98))
    frequencies = np.arange(257) * 16_000 / 512
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    padded = np.concatenate([wave[256:0:-1], wave])
    result = np.empty((96, len(wave) // 256))
    for frame in range(result.shape[1]):
        excerpt = padded[256 * frame : 256 * frame + 512] * window
        power = np.array(
            [abs(np.sum(excerpt * np.exp(-2j * np.pi * k * np.arange(512) / 512))) ** 2 for k in range(257)]
        )
        for band in range(96):
            low, centre, high = corners[band : band + 3]
            triangle = np.clip(
                np.minimum((frequencies - low) / (centre - low), (high - frequencies) / (high - centre)), 0, 1
            )
            result[band, frame] = np.log10(1 + 10_000 * np.sum(power * triangle) * 2 / (high - low))
    return result


def test_against_numpy() -> None:
    generator = np.random.default_rng(0)
    seconds = np.arange(5_000) / 16_000
    wave = 0.5 * np.sin(2 * np.pi * 440 * seconds) + 0.1 * generator.standard_normal(5_000) * np.exp(-8 * seconds)
    found = LogMel()(torch.tensor(wave[None], dtype=torch.float32))[0].numpy()
    np.testing.assert_allclose(found, reference(wave), atol=TOLERANCE)


@pytest.mark.parametrize(("seconds", "frames"), [(3, 187), (15, 937)])
def test_frames_of_the_paper(seconds: int, frames: int) -> None:
    assert LogMel()(torch.zeros(1, 16_000 * seconds)).shape == (1, 96, frames)


def test_every_band_hears_something() -> None:
    assert (LogMel().filters.sum(dim=1) > 0).all()


def test_normalisation_to_zero_mean_and_unit_variance() -> None:
    torch.manual_seed(0)
    layer = LogMel()
    waves = [0.1 * torch.randn(3, 16_000), 0.5 * torch.randn(2, 24_000)]  # batches of different lengths
    layer.fit_normalisation(iter(waves))
    values = torch.cat([layer(wave).flatten() for wave in waves])
    assert values.mean().item() == pytest.approx(0, abs=1e-4)
    assert values.std().item() == pytest.approx(1, abs=1e-3)
    layer.fit_normalisation(iter(waves))  # starts from the raw values, not from what it normalised before
    assert torch.allclose(torch.cat([layer(wave).flatten() for wave in waves]), values)


def test_only_the_normalisation_is_saved() -> None:
    assert set(LogMel().state_dict()) == {"mean", "std"}


def test_half_precision_training_leaves_it_exact() -> None:
    torch.manual_seed(0)
    layer, wave = LogMel(), 0.1 * torch.randn(2, 8_000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer.unnormalised(wave), LogMel().unnormalised(wave))


def test_silence_is_finite() -> None:
    assert not LogMel()(torch.zeros(1, 8_000)).any()


@pytest.mark.parametrize(("waves", "message"), [([], "no training excerpts"), ([torch.zeros(1, 8_000)], "silent")])
def test_nothing_to_normalise_by(waves: list[torch.Tensor], message: str) -> None:
    with pytest.raises(TagscaleError, match=message):
        LogMel().fit_normalisation(waves)
