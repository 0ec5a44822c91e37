"""Timbre, rhythm and harmony descriptors of a track: what people computed from music before networks learned it.

They feed the baseline of table 1 (Pons et al. 2018, section 5.1: "timbre, rhythm, and harmony descriptors", after
Prockup et al. 2015). Each family's module cites where its definitions come from; NumPy and SciPy alone compute them.
A track is analysed in blocks of some seconds, and one of more than ten minutes in pieces, so memory stays bounded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import rfft

from tagscale import SAMPLE_RATE
from tagscale.descriptors.harmony import chroma_of, harmony, peaks_of
from tagscale.descriptors.rhythm import rhythm
from tagscale.descriptors.timbre import FLOOR, shapes_of, timbre
from tagscale.runtime.pcm import recording

VERSION = 5  # of the values; raise it whenever one of them changes, so that all tracks are described again
FRAME, HOP = 1024, 256  # 64 ms every 16 ms: timbre (every other frame) and rhythm
LONG_FRAME, LONG_HOP = 8192, 4096  # 0.5 s every 0.26 s: harmony, which needs semitones apart at 110 Hz
BLOCK = 512  # frames at once, 8 s: what a core's cache holds
LONG_BLOCK = 32
MEL_BANDS = 40
PIECE_SECONDS = 600  # most of a track at once
CHOICES = {  # one of a set of values, so a mean over pieces would be meaningless
    "rhythm_tempo",
    "rhythm_beats_first",
    "rhythm_beats_second",
    "harmony_tonic",
}


def describe(samples: np.ndarray) -> dict[str, float]:
    """All descriptors of a track, always under the same names in the same order, and always finite.

    Shape:
        samples: (samples,) int16, mono, 16 kHz; any length (silence fills up what is shorter than half a second)

    >>> tone = (8000 * np.sin(2 * np.pi * 1000 * np.arange(32000) / 16000)).astype(np.int16)
    >>> round(describe(tone)["timbre_centroid_mean"], -1)
    1000.0
    """
    return describe_pieces(lambda start, count: samples[start : start + count], len(samples))


def describe_recording(samples: np.ndarray) -> pd.DataFrame:
    """The row of a recording, equal to the one that stage describe writes for a track of these samples.

    Shape:
        samples: (samples,) mono, 16 kHz; int16, or floats in [-1, 1), which are rounded as the store's samples are
        returns: one row, a float32 column a descriptor

    Raises:
        TagscaleError: no samples, more than one channel, or values that are no finite numbers.
    """
    return pd.DataFrame([describe(recording(samples))], dtype=np.float32)


def describe_pieces(read: Callable[[int, int], np.ndarray], samples: int) -> dict[str, float]:
    """All descriptors of a track that is read in equally long pieces of at most ten minutes.

    A descriptor is the mean over the pieces; a tempo or a key is the middle one of their values.

    Args:
        read: (first sample, number of samples) -> int16
        samples: length of the track
    """
    return join([describe_piece(read(low, high - low)) for low, high in pieces_of(samples)])


def pieces_of(samples: int) -> list[tuple[int, int]]:
    """Begin and end of each piece of a track of so many samples.

    >>> pieces_of(20 * 60 * 16_000 + 1)
    [(0, 6400000), (6400000, 12800000), (12800000, 19200001)]
    """
    pieces = max(1, -(-samples // (PIECE_SECONDS * SAMPLE_RATE)))
    return list(pairwise(samples * number // pieces for number in range(pieces + 1)))


def join(pieces: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The descriptors of a track, by those of its pieces."""
    return {name: _joined(name, [values[name] for values in pieces]) for name in pieces[0]}


@cache
def names() -> tuple[str, ...]:
    """The names of all descriptors, in order."""
    return tuple(describe(np.zeros(0, np.int16)))


def _joined(name: str, values: list[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2] if name in CHOICES else sum(values) / len(values)


def describe_piece(samples: np.ndarray) -> dict[str, float]:
    """The descriptors of one piece: (samples,) int16, mono, 16 kHz."""
    signal = samples.astype(np.float32) / 32768
    if len(signal) < LONG_FRAME:
        signal = np.pad(signal, (0, LONG_FRAME - len(signal)))
    mel, shapes, last = [], [], None
    for power in _power(signal, FRAME, HOP, BLOCK):
        mel.append(20 * np.log10(np.sqrt(power @ _mel_bank()) + FLOOR))  # (T, 40) decibels
        spectra = np.sqrt(power[::2])
        shapes.append(shapes_of(spectra, last))
        last = spectra[-1]
    decibels = np.concatenate(mel)
    peaks = [peaks_of(np.sqrt(power)) for power in _power(signal, LONG_FRAME, LONG_HOP, LONG_BLOCK)]
    pitches, tonality = (np.concatenate(parts) for parts in zip(*peaks, strict=True))
    groups = {
        "timbre": timbre(
            signal, {name: np.concatenate([part[name] for part in shapes]) for name in shapes[0]}, decibels[::2]
        ),
        "rhythm": rhythm(decibels, _mel_corners()[1:-1], SAMPLE_RATE / HOP),
        "harmony": harmony(chroma_of(pitches), tonality),
    }
    return {f"{group}_{name}": float(value) for group, values in groups.items() for name, value in values.items()}


def _power(signal: np.ndarray, size: int, hop: int, block: int) -> Iterator[np.ndarray]:
    """Power spectra, (at most `block` frames, size // 2 + 1) float32 at once; a sine of amplitude 1 peaks at 1."""
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    window *= 2 / window.sum()
    frames = sliding_window_view(signal, size)[::hop]
    for first in range(0, len(frames), block):
        spectra = rfft(frames[first : first + block] * window, axis=1)
        yield spectra.real**2 + spectra.imag**2


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
