"""Timbre descriptors: mel-frequency cepstrum, spectral shape and contrast, and loudness, over time."""

from itertools import pairwise

import numpy as np
from scipy.fft import dct

from tagscale.audio import SAMPLE_RATE

FLOOR = 1e-5  # amplitude: -100 dB
TINY = 1e-9  # keeps divisions by nothing finite
COEFFICIENTS = 20
FRAME = 1024  # of the loudness, 64 ms
CROSSING_FRAME = 512


def timbre(signal: np.ndarray, spectra: np.ndarray, decibels: np.ndarray) -> dict[str, float]:
    """Statistics over time of what is measured frame by frame.

    Shape:
        signal:   (samples,) in [-1, 1], at least 2,048
        spectra:  (frames, bins), magnitudes from 0 to 8 kHz
        decibels: (frames, bands), mel spectrum
    """
    found: dict[str, float] = {}
    cepstrum = dct(decibels, norm="ortho", axis=1)[:, :COEFFICIENTS]
    for number, series in enumerate(cepstrum.T):
        delta = series[2:] - series[:-2]
        found |= {f"mfcc{number}_mean": series.mean(), f"mfcc{number}_std": series.std()}
        found[f"mfcc{number}_delta"] = delta.std()
    for name, series in _shapes(signal, spectra).items():
        found |= {f"{name}_mean": series.mean(), f"{name}_std": series.std()}
        found |= {f"{name}_p10": np.percentile(series, 10), f"{name}_p90": np.percentile(series, 90)}
    for name, series in _contrasts(spectra).items():
        found |= {f"{name}_mean": series.mean(), f"{name}_std": series.std()}
    return found | _dynamics(signal)


def _shapes(signal: np.ndarray, spectra: np.ndarray) -> dict[str, np.ndarray]:
    """Series over frames (Peeters 2004): of the magnitude spectrum, and the rate of zero crossings."""
    frequencies = np.linspace(0, SAMPLE_RATE / 2, spectra.shape[1], dtype=np.float32)
    total = spectra.sum(axis=1) + TINY
    centroid = spectra @ frequencies / total
    spread = spectra @ frequencies**2 / total - centroid**2
    cumulated = np.cumsum(spectra, axis=1)
    rolloff = frequencies[np.argmax(cumulated >= 0.85 * cumulated[:, -1:], axis=1)]
    flatness = np.exp(np.log(spectra + FLOOR).mean(axis=1)) / (spectra.mean(axis=1) + FLOOR)
    shares = spectra / total[:, None]
    flux = np.maximum(np.diff(shares, axis=0), 0).sum(axis=1)
    signs = signal[: len(signal) // CROSSING_FRAME * CROSSING_FRAME] >= 0
    crossings = np.diff(signs, prepend=signs[:1]).reshape(-1, CROSSING_FRAME).mean(axis=1)
    return {
        "centroid": centroid,
        "bandwidth": np.sqrt(np.maximum(spread, 0)),
        "rolloff": rolloff,
        "flatness": flatness,
        "flux": flux,
        "zero_crossings": crossings,
    }


def _contrasts(spectra: np.ndarray) -> dict[str, np.ndarray]:
    """Spectral contrast (Jiang et al. 2002): decibels between the peaks and the valleys of each octave, per frame."""
    edges = np.searchsorted(np.linspace(0, SAMPLE_RATE / 2, spectra.shape[1]), [0, 200, 400, 800, 1600, 3200, 8001])
    found = {}
    for number, (low, high) in enumerate(pairwise(edges)):
        ordered = np.sort(spectra[:, low:high], axis=1)
        fifth = max(1, (high - low) // 5)
        peaks, valleys = ordered[:, -fifth:].mean(axis=1), ordered[:, :fifth].mean(axis=1)
        found[f"contrast{number}"] = 20 * np.log10((peaks + FLOOR) / (valleys + FLOOR))
    return found


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
