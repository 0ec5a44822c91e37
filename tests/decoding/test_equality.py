"""The same music in every format gives the same length and nearly the same samples."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_files import encode
from tagscale.decoding.decode import Decoded, decode

RATE, SECONDS = 48_000, 4
LOSSLESS = 65.0  # dB: the rounding to 16 bits, twice


@dataclass(frozen=True)
class Kind:
    """How to write a file, and how near it must come.

    snr: dB of the music over the difference, once delays are taken out.
    delay: seconds by which the encoder's own delay may shift and lengthen the samples.
    """

    write: Callable[[Path, np.ndarray], object]
    snr: float = LOSSLESS
    delay: float = 0.0


def by_libsndfile(name: str, subtype: str, **options: object) -> Callable[[Path, np.ndarray], object]:
    return lambda path, wave: soundfile.write(path, wave.T, RATE, format=name, subtype=subtype, **options)


def by_ffmpeg(muxer: str, codec: str, sample_format: str = "", **options: str) -> Callable[[Path, np.ndarray], object]:
    return lambda path, wave: encode(path, list(wave), RATE, muxer, codec, sample_format=sample_format, **options)


KINDS = {
    "wav-16": Kind(by_libsndfile("WAV", "PCM_16")),
    "wav-24": Kind(by_libsndfile("WAV", "PCM_24")),
    "wav-32": Kind(by_libsndfile("WAV", "PCM_32")),
    "wav-double": Kind(by_libsndfile("WAV", "DOUBLE")),
    "wav-u8": Kind(by_libsndfile("WAV", "PCM_U8"), snr=25),
    "wav-ulaw": Kind(by_libsndfile("WAV", "ULAW"), snr=25),
    "wav-adpcm": Kind(by_libsndfile("WAV", "IMA_ADPCM"), snr=20, delay=0.045),  # whole blocks
    "rf64": Kind(by_libsndfile("RF64", "PCM_16")),
    "w64": Kind(by_libsndfile("W64", "PCM_16")),
    "aiff-16": Kind(by_libsndfile("AIFF", "PCM_16")),
    "aiff-24": Kind(by_libsndfile("AIFF", "PCM_24")),
    "aiff-float": Kind(by_libsndfile("AIFF", "FLOAT")),
    "au": Kind(by_libsndfile("AU", "PCM_16")),
    "caf": Kind(by_libsndfile("CAF", "PCM_24")),
    "caf-alac": Kind(by_libsndfile("CAF", "ALAC_16")),
    "flac-16": Kind(by_libsndfile("FLAC", "PCM_16")),
    "flac-24": Kind(by_libsndfile("FLAC", "PCM_24")),
    "flac-in-ogg": Kind(by_ffmpeg("ogg", "flac", "s16")),
    "alac": Kind(by_ffmpeg("ipod", "alac")),
    "wavpack": Kind(by_ffmpeg("wv", "wavpack", "s16p")),
    "tta": Kind(by_ffmpeg("tta", "tta", "s16")),
    "vorbis": Kind(by_libsndfile("OGG", "VORBIS"), snr=15),
    "opus": Kind(by_libsndfile("OGG", "OPUS"), snr=15),
    "opus-in-webm": Kind(by_ffmpeg("webm", "libopus"), snr=15, delay=0.01),
    "mp3-constant": Kind(
        by_libsndfile("MP3", "MPEG_LAYER_III", bitrate_mode="CONSTANT", compression_level=0.4), snr=15
    ),
    "mp3-variable": Kind(by_libsndfile("MP3", "MPEG_LAYER_III", bitrate_mode="VARIABLE"), snr=15),
    "mp3-without-xing": Kind(by_ffmpeg("mp3", "libmp3lame", write_xing="0", id3v2_version="0"), snr=15, delay=0.075),
    "mp2": Kind(by_ffmpeg("mp2", "mp2"), snr=15, delay=0.03),
    "aac-in-m4a": Kind(by_ffmpeg("ipod", "aac"), snr=15, delay=0.045),
    "aac-in-matroska": Kind(by_ffmpeg("matroska", "aac"), snr=15, delay=0.045),
    "aac": Kind(by_ffmpeg("adts", "aac"), snr=15, delay=0.065),
    "wma": Kind(by_ffmpeg("asf", "wmav2"), snr=15, delay=0.1),
}


@pytest.fixture(scope="module")
def music() -> np.ndarray:
    """(2, samples): chords below 6 kHz that swell, in slightly different balance left and right."""
    random, time = np.random.default_rng(0), np.arange(RATE * SECONDS) / RATE
    wave = np.zeros((2, len(time)))
    for frequency in random.uniform(80, 6000, 40):
        level = np.sin(np.pi * np.clip((time - random.uniform(-1, SECONDS - 1)) / 2, 0, 1)) / (1 + frequency / 500)
        wave += np.outer(random.uniform(0.5, 1, 2), level * np.sin(2 * np.pi * frequency * time))
    return 0.5 * wave / np.abs(wave).max()


@pytest.fixture(scope="module")
def reference(music: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Decoded:
    path = tmp_path_factory.mktemp("reference") / "a.wav"
    soundfile.write(path, music.T, RATE, subtype="FLOAT")
    return decode(path)


@pytest.mark.parametrize("name", KINDS)
def test_every_format_gives_the_same_samples(name: str, music: np.ndarray, reference: Decoded, tmp_path: Path) -> None:
    kind = KINDS[name]
    kind.write(tmp_path / "a", music)
    decoded = decode(tmp_path / "a")
    assert (decoded.source_rate, decoded.channels) == (RATE, 2)
    assert decoded.source_seconds == pytest.approx(SECONDS, abs=kind.delay + 1e-9)
    assert len(decoded.samples) == pytest.approx(len(reference.samples), abs=16000 * kind.delay)
    snr, lag = compared(reference.samples, decoded.samples, round(16000 * kind.delay))
    assert snr >= kind.snr
    assert lag <= 16000 * kind.delay


def compared(reference: np.ndarray, samples: np.ndarray, most: int) -> tuple[float, int]:
    """(dB of the music over the difference, lag in samples) where the two fit best, to a fraction of a sample."""
    length = 1 << (len(reference) + len(samples) + 2 * most).bit_length()
    first, second = (np.fft.rfft(wave / 32768, length) for wave in (reference, samples))
    product = np.conj(first) * second
    fine = np.fft.irfft(np.pad(product, (0, 7 * length // 2)), 8 * length)  # eighths of a sample
    lags = np.arange(-8 * most, 8 * most + 1)
    lag = lags[np.argmax(fine[lags])] / 8
    shifted = np.fft.irfft(second * np.exp(2j * np.pi * np.arange(len(second)) / length * lag), length)
    wave = reference / 32768
    difference = (shifted[: len(wave)] - wave)[800:-1600]  # the edges of the shift
    return float(10 * np.log10(np.square(wave).mean() / np.square(difference).mean())), abs(round(lag))
