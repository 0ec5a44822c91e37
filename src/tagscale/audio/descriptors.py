"""Timbre, rhythm and harmony descriptors of a track: what people computed from music before networks learned to.

They feed the baseline of table 1 (Pons et al. 2018, section 5.1: "timbre, rhythm, and harmony descriptors"). Common
textbook definitions, in NumPy and SciPy alone.
"""

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import rfft

from tagscale.audio import SAMPLE_RATE
from tagscale.audio.harmony import harmony
from tagscale.audio.rhythm import rhythm
from tagscale.audio.timbre import FLOOR, timbre

FRAME, HOP = 1024, 256  # 64 ms every 16 ms: timbre and rhythm
LONG_FRAME, LONG_HOP = 8192, 4096  # 0.5 s every 0.26 s: harmony, which needs semitones apart at 110 Hz
MEL_BANDS = 40


def describe(samples: np.ndarray) -> dict[str, float]:
    """All descriptors of a track, always under the same names in the same order, and always finite.

    Shape:
        samples: (samples,) int16, mono, 16 kHz; any length (what is shorter than half a second is filled with silence)

    >>> tone = (8000 * np.sin(2 * np.pi * 1000 * np.arange(32000) / 16000)).astype(np.int16)
    >>> round(describe(tone)["timbre_centroid_mean"], -1)
    1000.0
    """
    signal = samples.astype(np.float32) / 32768
    if len(signal) < LONG_FRAME:
        signal = np.pad(signal, (0, LONG_FRAME - len(signal)))
    spectra = _magnitudes(signal, FRAME, HOP)  # (T, 513)
    decibels = 20 * np.log10(np.sqrt(spectra**2 @ _mel_bank()) + FLOOR)  # (T, 40)
    groups = {
        "timbre": timbre(signal, spectra[::2], decibels[::2]),
        "rhythm": rhythm(decibels, _mel_corners()[1:-1], SAMPLE_RATE / HOP),
        "harmony": harmony(_magnitudes(signal, LONG_FRAME, LONG_HOP)),
    }
    return {f"{group}_{name}": float(value) for group, values in groups.items() for name, value in values.items()}


def _magnitudes(signal: np.ndarray, size: int, hop: int) -> np.ndarray:
    """(frames, size // 2 + 1) float32; a sine of amplitude 1 has a peak of 1."""
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    frames = sliding_window_view(signal, size)[::hop]
    return np.abs(rfft(frames * (window * 2 / window.sum()), axis=1))


@cache
def _mel_corners() -> np.ndarray:
    """(42,) Hz: edges and centres of 40 triangles, equally spaced on the mel scale from 30 Hz to 8 kHz."""
    low, high = (2595 * np.log10(1 + frequency / 700) for frequency in (30, SAMPLE_RATE / 2))
    return 700 * (10 ** (np.linspace(low, high, MEL_BANDS + 2) / 2595) - 1)


@cache
def _mel_bank() -> np.ndarray:
    """(513, 40): triangles of height 1."""
    low, centre, high = (_mel_corners()[shift : shift + MEL_BANDS] for shift in range(3))
    frequencies = np.linspace(0, SAMPLE_RATE / 2, FRAME // 2 + 1)[:, None]
    bank = np.minimum((frequencies - low) / (centre - low), (high - frequencies) / (high - centre))
    return np.maximum(bank, 0).astype(np.float32)
