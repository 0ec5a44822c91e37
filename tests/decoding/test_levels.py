"""Channels that cancel each other out, and floats beyond full scale: what is decoded, and what is said of it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_files import write
from tagscale.decoding.decode import Decoded, decode
from tagscale.decoding.levels import Levels
from tagscale.decoding.opened import AudioError

RATE = 16_000
random = np.random.default_rng(0)
MUSIC = random.uniform(-0.5, 0.5, 3 * RATE)
OTHER = random.uniform(-0.5, 0.5, 3 * RATE)
SILENCE = np.zeros(3 * RATE)


def decoded(folder: Path, *channels: np.ndarray, rate: int = RATE, subtype: str = "FLOAT") -> Decoded:
    soundfile.write(folder / "a.wav", np.stack(channels, axis=1), rate, subtype=subtype)
    return decode(folder / "a.wav")


def int16(wave: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(np.float32(wave) * 32768), -32768, 32767).astype(np.int16)


def test_of_two_channels_of_opposite_polarity_the_first_is_taken(tmp_path: Path) -> None:
    inverted = decoded(tmp_path, MUSIC, -MUSIC)
    assert (inverted.only_channel, inverted.channels) == (1, 2)
    np.testing.assert_array_equal(inverted.samples, int16(MUSIC))
    assert inverted.rms_dbfs == pytest.approx(20 * np.log10(0.5 / np.sqrt(3)), abs=0.1)


def test_the_louder_channel_is_taken_where_it_has_the_music(tmp_path: Path) -> None:
    """Four channels that add up to nothing, the first of which holds next to nothing."""
    four = decoded(tmp_path, 0.01 * OTHER, 0.01 * OTHER, MUSIC, -MUSIC - 0.02 * OTHER)
    assert four.only_channel == 3
    np.testing.assert_array_equal(four.samples, int16(MUSIC))


def test_resampling_and_lossy_formats_keep_one_channel(tmp_path: Path) -> None:
    sine = 0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * 44_100) / 44_100)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE)
    wav = decoded(tmp_path, sine, -sine, rate=44_100)
    assert np.abs(wav.samples[800:-800] / 32768 - expected[800:-800]).max() < 5e-4
    for suffix in (".mp3", ".ogg", ".flac"):
        lossy = decode(write(tmp_path / f"a{suffix}", [sine, -sine], 44_100))
        assert lossy.only_channel == 1, suffix
        assert lossy.rms_dbfs == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.3), suffix


@pytest.mark.parametrize(
    ("channels", "mean"),
    [
        ((MUSIC, MUSIC), MUSIC),
        ((MUSIC, OTHER), (MUSIC + OTHER) / 2),
        ((MUSIC, SILENCE), MUSIC / 2),
        ((SILENCE, MUSIC), MUSIC / 2),
        ((MUSIC, 0.05 * OTHER - 0.2 * MUSIC), (0.8 * MUSIC + 0.05 * OTHER) / 2),
        ((SILENCE, SILENCE, MUSIC, SILENCE, SILENCE, SILENCE), MUSIC / 6),
        ((MUSIC + OTHER) / 2 * np.array([[1], [1]]), (MUSIC + OTHER) / 2),
        (((MUSIC + OTHER) / 2, (OTHER - 2 * MUSIC) / 3), ((MUSIC + OTHER) / 2 + (OTHER - 2 * MUSIC) / 3) / 2),
        ((SILENCE, SILENCE), SILENCE),
    ],
    ids=["same", "independent", "left", "right", "quiet", "one of six", "mono", "wide stereo", "silence"],
)
def test_channels_that_do_not_cancel_are_averaged(tmp_path: Path, channels: tuple, mean: np.ndarray) -> None:
    averaged = decoded(tmp_path, *channels)
    assert averaged.only_channel == 0
    assert np.abs(averaged.samples - int16(mean).astype(int)).max() <= 1


@pytest.mark.parametrize(("correlation", "cancelled"), [(-0.95, True), (-0.85, False), (0.0, False), (1.0, False)])
def test_channels_cancel_from_a_correlation_of_minus_nine_tenths(correlation: float, cancelled: bool) -> None:
    left = MUSIC.astype(np.float32)
    right = (correlation * MUSIC + np.sqrt(1 - correlation**2) * OTHER).astype(np.float32)
    levels = Levels(2)
    for start in range(0, len(left), 1000):  # in blocks, as decoders give them
        block = np.stack([left, right], axis=1)[start : start + 1000]
        levels.add(block, block.mean(axis=1))
    assert levels.cancelled is cancelled
    assert levels.frames == len(left)
    assert levels.peak == max(np.abs(left).max(), np.abs(right).max())


@pytest.mark.parametrize(("peak", "named"), [(32767, "32,767"), (8_388_607, "8,388,607"), (200, "200")])
def test_floats_that_were_exported_without_scaling_are_rejected_by_name(
    tmp_path: Path, peak: float, named: str
) -> None:
    with pytest.raises(AudioError) as caught:
        decoded(tmp_path, MUSIC / np.abs(MUSIC).max() * peak, SILENCE, subtype="DOUBLE")
    assert caught.value.reason == (
        f"values beyond full scale: up to {named}, where 1 is full scale (floats that were exported without scaling?)"
    )


def test_floats_of_a_loud_master_are_taken_and_count_as_clipped(tmp_path: Path) -> None:
    loud = decoded(tmp_path, 4 * MUSIC)  # 6 dB above full scale
    np.testing.assert_array_equal(loud.samples, int16(4 * MUSIC))
    assert loud.clipped == pytest.approx(np.mean(np.abs(4 * MUSIC) >= 1), abs=1e-3)
    assert loud.only_channel == 0


def test_huge_floats_are_rejected_without_a_warning(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"values beyond full scale: up to 1e\+30, where"):
        decoded(tmp_path, 1e30 * np.sign(MUSIC), SILENCE)
