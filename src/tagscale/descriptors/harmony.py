"""Harmony descriptors: pitch classes, keys and chords from spectral peaks, and how they move.

Sources: pitch class profiles from spectral peaks, in the tuning of the recording (Gomez 2006, "Tonal description of
music audio signals"), key profiles (Albrecht and Shanahan 2013), chord templates (Fujishima 1999), tonal centroid and
its movement (Harte, Sandler and Gasser 2006). Degrees, counted from the tonic, and intervals are the same in every key.
"""

import numpy as np
from scipy.ndimage import uniform_filter1d

from tagscale import SAMPLE_RATE
from tagscale.descriptors.timbre import FLOOR, TINY

TENTHS = 10  # steps of a semitone

# Albrecht and Shanahan 2013: the share of each pitch class in music in a major and in a minor key, tonic first
MAJOR = (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081)
MINOR = (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052)
CHORDS = {
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "diminished": (0, 3, 6),
    "augmented": (0, 4, 8),
    "suspended": (0, 5, 7),
    "fifth": (0, 7),
    "dominant_seventh": (0, 4, 7, 10),
    "minor_seventh": (0, 3, 7, 10),
}


def peaks_of(spectra: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pitches of the spectral peaks between 55 Hz and 2.1 kHz in tenths of a semitone, and their share, by frames.

    A parabola through the logarithms of a peak and its neighbours gives its frequency between two bins.

    Shape:
        spectra: (frames, bins), magnitudes from 0 to 8 kHz
        returns: (frames, 120), magnitudes, C first; and (frames,)
    """
    width = SAMPLE_RATE / 2 / (spectra.shape[1] - 1)  # Hz of a bin
    low, high = round(55 / width), round(2100 / width)
    part = spectra[:, low:high]
    peaks = (part > spectra[:, low - 1 : high - 1]) & (part >= spectra[:, low + 1 : high + 1]) & (part > FLOOR)
    frame, place = np.nonzero(peaks)
    left, top, right = (np.log(spectra[frame, low + place + shift] + TINY) for shift in (-1, 0, 1))
    offset = (left - right) / 2 / np.minimum(left - 2 * top + right, -TINY)  # bins; the peak may have a flat top
    place = low + place + offset.clip(-0.5, 0.5)
    tenth = np.rint((12 * np.log2(place * width / 440) + 69) * TENTHS).astype(int) % (12 * TENTHS)
    shape = len(spectra), 12 * TENTHS
    pitches = np.bincount(np.ravel_multi_index((frame, tenth), shape), part[peaks], shape[0] * shape[1])
    return pitches.reshape(shape), np.where(peaks, part, 0).sum(axis=1) / (part.sum(axis=1) + TINY)


def chroma_of(pitches: np.ndarray) -> np.ndarray:
    """Shares of the pitch classes, C first, in the tuning of the recording, which lies within a quarter-tone of 440 Hz.

    Shape:
        pitches: (frames, 120), from `peaks_of`
        returns: (frames, 12), which add up to 1, or 0 without any peak
    """
    tenth = np.arange(12 * TENTHS) / TENTHS
    distance = (tenth[:, None] - tuning(pitches) - np.arange(12) + 6) % 12 - 6
    chroma = pitches @ np.exp(-0.5 * (distance / 0.35) ** 2)
    return chroma / (chroma.sum(axis=1, keepdims=True) + TINY)


def tuning(pitches: np.ndarray) -> float:
    """Semitones between the recording's tuning and A at 440 Hz, in [-0.5, 0.5]: the mean deviation of its peaks, on the
    circle of a semitone. 0 without any peak.

    Shape:
        pitches: (frames, 120), from `peaks_of`
    """
    circle = np.exp(2j * np.pi * np.arange(12 * TENTHS) / TENTHS)
    return float(np.angle(pitches.sum(axis=0) @ circle) / (2 * np.pi))


def harmony(chroma: np.ndarray, tonality: np.ndarray) -> dict[str, float]:
    """Pitch classes, keys, chords and how they move.

    Shape:
        chroma:   (frames, 12), from `chroma_of`, four frames a second
        tonality: (frames,), the share of the peaks
    """
    mean = chroma.mean(axis=0)
    fits = _key_fits(mean[None])[0]  # major, then minor keys
    tonic = int(fits.argmax()) % 12
    values: dict[str, float] = {}
    for name, row in (("chroma_mean", mean), ("chroma_std", chroma.std(axis=0)), ("degree", np.roll(mean, -tonic))):
        values |= {f"{name}{number}": value for number, value in enumerate(row)}
    values |= {"major_fit": fits[:12].max(), "minor_fit": fits[12:].max(), "tonic": tonic}
    values["major_over_minor"] = values["major_fit"] - values["minor_fit"]
    values["key_clarity"] = fits.max() - np.sort(fits)[-2]
    centroid = tonal_centroid(chroma)
    for name, row in (("tonal_mean", centroid.mean(axis=0)), ("tonal_std", centroid.std(axis=0))):
        values |= {f"{name}{number}": value for number, value in enumerate(row)}

    passing = _key_fits(uniform_filter1d(chroma, 15, axis=0, mode="nearest")[::7])  # keys of 4 s, every 2 s
    lead = passing[:, :12].max(axis=1) - passing[:, 12:].max(axis=1)
    keys = passing.argmax(axis=1)
    values |= {"local_mode_mean": lead.mean(), "local_mode_std": lead.std(), "local_major_share": (lead > 0).mean()}
    values["key_changes"] = (np.diff(keys, prepend=keys[:1]) != 0).mean()
    for name, notes in CHORDS.items():
        values[f"chord_{name}"] = _chord_fit(chroma, notes)
    for interval in range(1, 7):  # semitones; independent of transposition
        values[f"interval{interval}"] = (chroma * np.roll(chroma, interval, axis=1)).sum(axis=1).mean()
    entropy = -(chroma * np.log2(chroma + TINY)).sum(axis=1)
    for name, series in (("tonality", tonality), ("entropy", entropy), *_movement(chroma, centroid)):
        values |= {f"{name}_mean": series.mean(), f"{name}_std": series.std()}
    return values


def tonal_centroid(chroma: np.ndarray) -> np.ndarray:
    """Where the pitch classes balance on the circles of fifths, minor thirds and major thirds.

    Shape: (frames, 12) -> (frames, 6), x and y on each circle; their radii are 1, 1 and 0.5
    """
    angles = np.arange(12)[:, None] * np.pi * np.array([7 / 6, 3 / 2, 2 / 3])  # (12, 3)
    circles = np.stack([np.sin(angles), np.cos(angles)], axis=2) * np.array([1, 1, 0.5])[:, None]
    return chroma @ circles.reshape(12, 6)


def _movement(chroma: np.ndarray, centroid: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Distance of the tonal centroid from the middle of each circle, relative to its radius, and the length of its
    steps; chroma's steps."""
    distances = np.hypot(centroid[:, ::2], centroid[:, 1::2]) / [1, 1, 0.5]
    radii = zip(("fifths", "minor_thirds", "major_thirds"), distances.T, strict=True)
    steps = np.sqrt((np.diff(centroid, axis=0, prepend=centroid[:1]) ** 2).sum(axis=1))
    changes = np.abs(np.diff(chroma, axis=0, prepend=chroma[:1])).sum(axis=1)
    return [*radii, ("centroid_flux", steps), ("chroma_flux", changes)]


def _key_fits(chroma: np.ndarray) -> np.ndarray:
    """(T, 12) -> (T, 24): correlation with the profiles of the twelve major and the twelve minor keys."""
    profiles = np.array([np.roll(profile, tonic) for profile in (MAJOR, MINOR) for tonic in range(12)])
    return _standardised(chroma) @ _standardised(profiles).T / 12


def _standardised(rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(axis=1, keepdims=True)
    return centred / (centred.std(axis=1, keepdims=True) + TINY)


def _chord_fit(chroma: np.ndarray, notes: tuple[int, ...]) -> float:
    """Mean over frames of the cosine between the chroma and the chord on its best root."""
    sums = np.stack([chroma[:, (np.array(notes) + root) % 12].sum(axis=1) for root in range(12)], axis=1)
    lengths = np.sqrt((chroma**2).sum(axis=1)) * np.sqrt(len(notes)) + TINY
    return float((sums.max(axis=1) / lengths).mean())
