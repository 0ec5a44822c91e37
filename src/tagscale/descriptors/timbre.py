"""Timbre descriptors: mel-frequency cepstrum, spectral shape and contrast, and loudness, over time.

Sources: cepstrum (Davis and Mermelstein 1980) with means, standard deviations and differences over time as Prockup et
al. 2015 use it; roll-off and flux (Tzanetakis and Cook 2002); moments, flatness, entropy and zero crossings (Peeters
2004, "A large set of audio features for sound description"); contrast (Jiang et al. 2002). Spectral slope is missing
on purpose: of a normalised spectrum it is the centroid in another unit.
"""

from itertools import pairwise

import numpy as np
from scipy.fft import dct

from tagscale import SAMPLE_RATE

FLOOR = 1e-5  # amplitude: -100 dB
TINY = 1e-9  # keeps divisions by zero finite
COEFFICIENTS = 20
FRAME = 1024  # of the loudness, 64 ms
CROSSING_FRAME = 512
OCTAVES = (0, 200, 400, 800, 1600, 3200, 8001)  # Hz, of the contrast
ROLLOFF = 0.85  # share of the magnitudes below it


def timbre(signal: np.ndarray, shapes: dict[str, np.ndarray], decibels: np.ndarray) -> dict[str, float]:
    """Statistics over time of the measurements of each frame.

    Shape:
        signal:   (samples,) in [-1, 1], at least 2,048
        shapes:   (frames,) each, from `shapes_of`
        decibels: (frames, bands), mel spectrum
    """
    values: dict[str, float] = {}
    cepstrum = dct(decibels, norm="ortho", axis=1)[:, :COEFFICIENTS]
    for number, series in enumerate(cepstrum.T):
        delta = series[2:] - series[:-2]
        second = series[2:] - 2 * series[1:-1] + series[:-2]
        values |= {f"mfcc{number}_mean": series.mean(), f"mfcc{number}_std": series.std()}
        values |= {f"mfcc{number}_delta": delta.std(), f"mfcc{number}_delta2": second.std()}
    for name, series in (shapes | {"zero_crossings": _zero_crossings(signal)}).items():
        values |= {f"{name}_mean": series.mean(), f"{name}_std": series.std()}
        if not name.startswith("contrast"):
            values |= {f"{name}_p10": np.percentile(series, 10), f"{name}_p90": np.percentile(series, 90)}
    return values | _dynamics(signal)


def shapes_of(spectra: np.ndarray, before: np.ndarray | None) -> dict[str, np.ndarray]:
    """Shape of each spectrum, as if it were a distribution over frequency; series over frames.

    Shape:
        spectra: (frames, bins), magnitudes from 0 to 8 kHz
        before:  (bins,) the frame before the first, None where there is none
        returns: (frames,) each; flux one less where there is none before
    """
    frequencies = np.linspace(0, SAMPLE_RATE / 2, spectra.shape[1])
    centroid, spread, skewness, kurtosis = _moments(spectra, frequencies)
    cumulated = np.cumsum(spectra, axis=1)
    audible = spectra + FLOOR
    logarithm = np.log(audible)
    follow = spectra if before is None else np.vstack([before, spectra])
    shares = follow / np.maximum(follow.sum(axis=1, keepdims=True), TINY)
    return {
        "centroid": centroid,
        "bandwidth": spread,
        "skewness": skewness,
        "kurtosis": kurtosis,
        "rolloff": frequencies[np.argmax(cumulated >= ROLLOFF * cumulated[:, -1:], axis=1)],
        "flatness": np.exp(logarithm.mean(axis=1)) / audible.mean(axis=1),
        "entropy": _entropy(audible, logarithm),
        "flux": np.maximum(np.diff(shares, axis=0), 0).sum(axis=1),
    } | _contrasts(spectra)


def _moments(spectra: np.ndarray, frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Centroid and spread in Hz, skewness and kurtosis; all zero where it is silent.

    Shape: (frames, bins), (bins,) -> (frames,) each
    """
    scale = 100.0  # Hz; in this unit the powers of a tone's bandwidth and of 8 kHz are both far from rounding errors
    powers = np.stack([(frequencies / scale) ** power for power in range(5)], axis=1)
    raw = spectra.astype(np.float64) @ powers  # (frames, 5)
    first, second, third, fourth = (raw[:, 1:] / np.maximum(raw[:, :1], TINY)).T
    variance = np.maximum(second - first**2, 0)
    skewed = third - 3 * first * second + 2 * first**3
    peaked = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    spread = np.sqrt(variance)
    return first * scale, spread * scale, skewed / (spread**3 + TINY), peaked / (variance**2 + TINY)


def _entropy(audible: np.ndarray, logarithm: np.ndarray) -> np.ndarray:
    """Entropy of each spectrum, 0 for one sine and 1 for white noise or silence."""
    total = audible.sum(axis=1)
    return (np.log(total) - (audible * logarithm).sum(axis=1) / total) / np.log(audible.shape[1])


def _zero_crossings(signal: np.ndarray) -> np.ndarray:
    """Share of the samples where the sign changes, in frames of 32 ms."""
    signs = signal[: len(signal) // CROSSING_FRAME * CROSSING_FRAME] >= 0
    return np.diff(signs, prepend=signs[:1]).reshape(-1, CROSSING_FRAME).mean(axis=1)


def _contrasts(spectra: np.ndarray) -> dict[str, np.ndarray]:
    """Decibels between the peaks and the valleys of each octave, per frame."""
    edges = np.searchsorted(np.linspace(0, SAMPLE_RATE / 2, spectra.shape[1]), OCTAVES)
    values = {}
    for number, (low, high) in enumerate(pairwise(edges)):
        ordered = np.sort(spectra[:, low:high], axis=1)
        fifth = max(1, (high - low) // 5)
        peaks, valleys = ordered[:, -fifth:].mean(axis=1), ordered[:, :fifth].mean(axis=1)
        values[f"contrast{number}"] = 20 * np.log10((peaks + FLOOR) / (valleys + FLOOR))
    return values


def _dynamics(signal: np.ndarray) -> dict[str, float]:
    """Loudness over time, in decibels of frames of 64 ms."""
    rms = np.sqrt((signal[: len(signal) // FRAME * FRAME].reshape(-1, FRAME) ** 2).mean(axis=1))
    level = 20 * np.log10(rms + FLOOR)
    low, middle, high = np.percentile(level, [5, 50, 95])
    whole = np.sqrt((signal**2).mean())
    return {
        "level_mean": level.mean(),
        "level_std": level.std(),
        "level_median": middle,
        "level_range": high - low,
        "level_change": np.abs(np.diff(level)).mean(),
        "crest": 20 * np.log10((np.abs(signal).max() + FLOOR) / (whole + FLOOR)),
        "quiet_share": (rms < 0.5 * rms.mean()).mean(),
    }
