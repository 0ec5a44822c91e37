"""Decoding against what is known of the signals that were written, and every kind of file that cannot be used."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from tagscale.decoding import decode as module
from tagscale.decoding.decode import decode
from tagscale.decoding.opened import BLOCK_VALUES, AudioError
from user_folder import tone

ROOT = Path(__file__).parents[2]
AUDIO = Path(os.environ.get("TAGSCALE_SHARED_DATA", ROOT / ".." / "shared" / "data"))
EDGE = 800  # samples at either end where a resampler's filter reaches out of the signal


def write(path: Path, wave: np.ndarray, rate: int, subtype: str | None = None) -> Path:
    soundfile.write(path, wave, rate, subtype=subtype)
    return path


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resampled_sine_is_the_sine_at_16_khz(tmp_path: Path, rate: int) -> None:
    # reference: the same sine computed at 16 kHz; tolerance -66 dB, which covers ripple, phase and rounding
    decoded = decode(write(tmp_path / "a.wav", tone(2, rate, 1000, 0.5), rate, "FLOAT"))
    assert decoded.samples.dtype == np.int16
    assert len(decoded.samples) == 32000
    difference = decoded.samples / 32768 - tone(2, 16000, 1000, 0.5)
    assert np.abs(difference[EDGE:-EDGE]).max() < 5e-4


def test_tones_above_8_khz_do_not_alias(tmp_path: Path) -> None:
    decoded = decode(write(tmp_path / "a.wav", tone(2, 44100, 12000, 0.9), 44100, "FLOAT"))
    level = np.sqrt(np.mean((decoded.samples[EDGE:-EDGE] / 32768) ** 2))
    assert 20 * np.log10(max(level, 1e-9)) < -80


def test_tones_just_below_8_khz_pass(tmp_path: Path) -> None:
    decoded = decode(write(tmp_path / "a.wav", tone(2, 44100, 7000, 0.5), 44100, "FLOAT"))
    assert np.std(decoded.samples[EDGE:-EDGE] / 32768) == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 2), (44100, 2)])
def test_formats_rates_and_channels(tmp_path: Path, extension: str, rate: int, channels: int) -> None:
    wave = np.stack([tone(3, rate, 440, 0.5)] * channels, axis=1)
    decoded = decode(write(tmp_path / f"a.{extension}", wave, rate))
    assert (decoded.source_rate, decoded.channels) == (rate, channels)
    assert decoded.source_seconds == pytest.approx(3, abs=0.15)  # MP3 pads to whole frames
    assert len(decoded.samples) == pytest.approx(48000, abs=0.15 * 16000)
    spectrum = np.abs(np.fft.rfft(decoded.samples[8000:40000] * np.hanning(32000)))
    assert np.argmax(spectrum) == 880  # 440 Hz in steps of half a hertz
    assert decoded.rms_dbfs == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.3)


def test_16_khz_mono_passes_unchanged(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    decoded = decode(write(tmp_path / "a.wav", samples, 16000, "PCM_16"))
    np.testing.assert_array_equal(decoded.samples, samples)


def test_channels_are_averaged(tmp_path: Path) -> None:
    wave = np.tile([0.5, -0.25, 0.125], (2000, 1))
    decoded = decode(write(tmp_path / "a.wav", wave, 16000, "FLOAT"))
    np.testing.assert_array_equal(decoded.samples, round(0.125 * 32768))


def test_block_by_block_is_as_in_one_go(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.4, 0.4, 3 * BLOCK_VALUES + 1234)
    decoded = decode(write(tmp_path / "a.wav", wave, 44100, "DOUBLE"))
    reference = soxr.resample(wave, 44100, 16000, quality=module.QUALITY) * 32768
    assert abs(len(decoded.samples) - len(reference)) <= 1
    length = min(len(decoded.samples), len(reference))
    assert np.abs(decoded.samples[:length] - reference[:length]).max() < 0.52  # rounding, and float32


def test_facts(tmp_path: Path) -> None:
    wave = np.concatenate([np.full(1000, 1.0), np.full(3000, -0.5)])
    decoded = decode(write(tmp_path / "a.wav", wave, 16000, "FLOAT"))
    facts = decoded.facts()
    assert facts["peak"] == pytest.approx(32767 / 32768)
    assert facts["dc"] == pytest.approx((1000 - 1500) / 4000, abs=1e-4)
    assert facts["clipped"] == 0.25
    assert facts["rms_dbfs"] == pytest.approx(10 * np.log10((1000 + 750) / 4000), abs=1e-3)
    assert "samples" not in facts
    again = decode(write(tmp_path / "b.flac", decoded.samples, 16000, "PCM_16"))
    assert again.audio_sha256 == decoded.audio_sha256


def test_silence_has_a_level(tmp_path: Path) -> None:
    decoded = decode(write(tmp_path / "a.wav", np.zeros(16000), 16000))
    assert decoded.rms_dbfs == -120
    assert decoded.peak == 0


def test_memory_stays_flat(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).integers(-9999, 9999, (44100 * 240, 2), dtype=np.int16)
    path = write(tmp_path / "a.wav", wave, 44100)
    tracemalloc.start()
    decode(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # as float64 the file is 169 MB; the result is 8 MB


def rejected(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        decode(path)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    return caught.value.reason


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    assert rejected(tmp_path / "nowhere.wav") == "no such file"
    (tmp_path / "empty.mp3").touch()
    assert rejected(tmp_path / "empty.mp3") == "empty file (0 bytes)"
    assert rejected(tmp_path) == "a folder, not a file"


@pytest.mark.parametrize("name", ["notes.mp3", "notes.wav", "notes.txt", "notes.raw"])
@pytest.mark.parametrize("content", [b"these are no samples " * 500, bytes(range(256)) * 300])
def test_not_audio(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "audio" in rejected(tmp_path / name)


def test_header_without_samples(tmp_path: Path) -> None:
    assert rejected(write(tmp_path / "a.wav", np.zeros(0), 16000)) == "no samples in it"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    wave = tone(6, 16000)
    wave[70_000] = value
    assert "NaN or infinite" in rejected(write(tmp_path / "a.wav", wave, 16000, "FLOAT"))


@pytest.mark.parametrize("extension", ["wav", "aiff", "flac", "ogg", "opus", "mp3"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated(tmp_path: Path, extension: str, share: float) -> None:
    path, rate = tmp_path / f"a.{extension}", 48000 if extension == "opus" else 44100
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, rate * 12)
    if extension == "opus":
        soundfile.write(path, wave, rate, format="OGG", subtype="OPUS")
    else:
        soundfile.write(path, wave, rate)
    assert decode(path).source_seconds == pytest.approx(12, abs=0.1)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "truncated" in rejected(path)


def test_ogg_cut_between_pages_is_truncated(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ogg", np.random.default_rng(0).uniform(-0.5, 0.5, 44100 * 10), 44100)
    content = path.read_bytes()
    path.write_bytes(content[: content.rfind(b"OggS", 0, len(content) // 2)])
    assert "truncated" in rejected(path)


def test_wav_whose_header_was_never_finished_is_fine(tmp_path: Path) -> None:
    """Programs that write to a pipe leave the largest possible lengths in the header."""
    path = write(tmp_path / "a.wav", tone(3, 16000), 16000, "PCM_16")
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert decode(path).source_seconds == 3


def test_mp3_without_a_length_is_not_called_truncated(tmp_path: Path) -> None:
    """Quiet first, so that the decoder's guess from the first frames is twice the true length."""
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 44100 * 6)
    path = write(tmp_path / "a.mp3", np.concatenate([np.zeros(44100 * 4), noise]), 44100)
    content = path.read_bytes()
    path.write_bytes(content[content.find(b"\xff\xfb", 10) :])  # without the frame that holds the Xing header
    assert decode(path).source_seconds == pytest.approx(10, abs=0.2)


def test_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.wav", np.zeros(10 * 8000), 8000)
    assert decode(path, longest=10).source_seconds == 10
    with pytest.raises(AudioError, match=r"longer than 0\.15 minutes"):
        decode(path, longest=9)
    monkeypatch.setattr(module, "_check_length", lambda *_: None)  # and when the file does not say
    with pytest.raises(AudioError, match=r"longer than 0\.15 minutes"):
        decode(path, longest=9)


def test_ten_hours_are_rejected_by_their_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    write(path, np.zeros(8000, np.int16), 8000, "PCM_16")
    size = 8000 * 2 * 36_000
    header = bytearray(path.read_bytes()[:44])
    header[4:8], header[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    path.write_bytes(header)
    with open(path, "r+b") as file:
        file.truncate(size + 44)  # a hole: takes no space
    monkeypatch.setattr(module, "_decode", None)  # it is not even begun
    assert rejected(path) == "longer than 2 hours"


def test_three_hours_of_mp3_are_rejected_by_their_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = b"\xff\xe3\x18\xc4" + bytes(68)  # MPEG 2.5, layer III, 8 kbit/s at 8 kHz: 72 bytes of 72 ms
    (tmp_path / "a.mp3").write_bytes(frame * 150_000)
    monkeypatch.setattr(module, "_decode", None)
    assert rejected(tmp_path / "a.mp3") == "longer than 2 hours"


@pytest.mark.parametrize("rate", [1, 3999, 768_001, 2**31 - 1])
def test_rates_that_no_music_has(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path / "a.wav", np.zeros(7000), rate)
    assert rejected(path) == f"sample rate of {rate:,} Hz: expected 4,000 to 768,000"
    with pytest.raises(AudioError, match="sample rate of"):  # 7000 s at 1 Hz are no long song
        decode(path, longest=1e-9)


def test_more_channels_than_music_has(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.zeros((100, 65)), 16000)
    assert rejected(path) == "65 channels: expected 64 at most"


def test_more_values_than_a_file_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.wav", np.zeros((1000, 2)), 16000)
    monkeypatch.setattr(module, "MAX_VALUES", 2000)
    assert decode(path).source_seconds == 1000 / 16000
    monkeypatch.setattr(module, "MAX_VALUES", 1999)
    assert rejected(path).startswith("more than 1,999 values")


@pytest.mark.parametrize("rate", [8000, 192_000])
def test_a_tenth_of_a_second_at_unusual_rates(tmp_path: Path, rate: int) -> None:
    decoded = decode(write(tmp_path / "a.wav", tone(0.1, rate, 1000, 0.5), rate, "FLOAT"))
    assert len(decoded.samples) == 1600
    assert np.abs(decoded.samples[400:1200] / 32768 - tone(0.1, 16000, 1000, 0.5)[400:1200]).max() < 0.01


def test_surround_is_the_mean_of_six(tmp_path: Path) -> None:
    wave = np.tile([0.6, -0.3, 0.3, 0.0, 0.6, 0.0], (3000, 1))
    decoded = decode(write(tmp_path / "a.flac", wave, 16000, "PCM_24"))
    assert decoded.channels == 6
    assert np.abs(decoded.samples - 0.2 * 32768).max() <= 1


@pytest.mark.parametrize("file", sorted(AUDIO.glob("*/audio/**/*.*"))[:200:8] if AUDIO.is_dir() else [])
def test_real_files_are_decoded(file: Path) -> None:
    decoded = decode(file)
    assert len(decoded.samples) == pytest.approx(decoded.source_seconds * 16000, abs=1)
    assert decoded.rms_dbfs < 0
