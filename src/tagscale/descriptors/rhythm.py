"""Rhythm descriptors: onsets, tempo and metre from an autocorrelation tempogram, the pattern within a beat.

Sources: onset envelope as rise in decibels (Bello et al. 2005), autocorrelation tempogram (Grosche, Mueller and Kurth
2010), beat histogram (Tzanetakis and Cook 2002), onset patterns (Pohle et al. 2009); relations of the tempogram to the
beat, onsets within the beat, and the scale transform (Holzapfel and Stylianou 2011), which hardly depends on the
tempo, are the rhythm descriptors of Prockup et al. 2015.
"""

from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import dctn, irfft, rfft
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from tagscale.descriptors.timbre import TINY

TEMPI = np.geomspace(40, 240, 240)  # beats per minute
TEMPO_BANDS = 12  # log-spaced from 40 to 240
WINDOW_SECONDS = 8  # of one column of the tempogram
PEAKS = 3  # of each excerpt that count in the beat histogram
NEAR = 1.1  # tempi whose ratio is smaller are one peak of the beat histogram
PATTERN_BANDS = 8  # of the onset patterns, each of five mel bands
PERIODICITIES = np.geomspace(0.5, 16, 21)  # Hz: four an octave
PATTERN_COEFFICIENTS = (3, 8)  # over bands and over periodicities
SCALES = 12  # coefficients of the scale transform
SCALE_LAGS = np.geomspace(0.06, 6, 256)  # seconds
PHASES = 12  # of a beat: halves, thirds and quarters of it fall on one each
LAGS = {  # beats; duple, triple and dotted relations tell metres and feels apart
    "quarter": 1 / 4,
    "third": 1 / 3,
    "half": 1 / 2,
    "two_thirds": 2 / 3,
    "three_quarters": 3 / 4,
    "one_and_a_half": 3 / 2,
    "two": 2,
    "three": 3,
    "four": 4,
}


def rhythm(decibels: np.ndarray, centres: np.ndarray, rate: float) -> dict[str, float]:
    """Onset, tempo, metre and beat descriptors.

    Shape:
        decibels: (frames, bands), mel spectrum at `rate` frames per second
        centres:  (bands,) Hz, rising
    """
    envelopes = _onset_envelopes(decibels, centres)
    level = envelopes - uniform_filter1d(envelopes, round(rate), axis=1, mode="nearest")  # without slow changes
    excerpts, tempogram = _tempogram(_blurred(level), round(WINDOW_SECONDS * rate))
    overall, *bands = tempogram.mean(axis=1)  # autocorrelation by lag in frames
    lags = 60 * rate / TEMPI
    likely = np.exp(-0.5 * (np.log2(TEMPI / 120) / 0.9) ** 2)  # listeners prefer tempi around 120
    strength = _at(overall, lags)
    best = int(np.argmax(_metrical(overall, lags) * likely))
    beat = lags[best]  # frames
    passing = TEMPI[[int(np.argmax(_metrical(column, lags) * likely)) for column in tempogram[0]]]

    values = _onsets(envelopes[0], rate)
    for name, envelope in zip(("all", "bass", "middle", "treble"), envelopes, strict=True):
        values |= {f"onset_{name}_mean": envelope.mean(), f"onset_{name}_std": envelope.std()}
    values |= {"tempo": TEMPI[best], "beat_strength": strength[best], "tempo_wander": np.log2(passing).std()}
    values["pulse_clarity"] = overall[round(60 * rate / TEMPI[-1]) :].max()
    for band, part in enumerate(np.array_split(strength, TEMPO_BANDS)):
        values[f"tempo_band{band}"] = part.max()
    for name, value in zip(LAGS, _at(overall, beat * np.array(list(LAGS.values()))), strict=True):
        values[f"lag_{name}"] = value
    for name, column in zip(("bass", "middle", "treble"), bands, strict=True):
        for beats, value in zip((1, 2, 3), _at(column, beat * np.arange(1, 4)), strict=True):
            values[f"{name}_lag_{beats}"] = value
    for phase, share in enumerate(_beat_pattern(excerpts[0], tempogram[0], beat)):
        values[f"beat_phase{phase}"] = share
    values |= _beat_histogram(tempogram[0], lags)
    values |= _scale_transform(overall, rate)
    return values | _onset_patterns(decibels, rate) | _modulation(level, rate)


def _metrical(periodicity: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """How well lags are a beat: it repeats, and so do four of them, a bar or two of most music. Half a beat and its
    double, which may be as strong alone, then fall behind (`benchmarks/baseline.py`)."""
    return _at(periodicity, lags) + _at(periodicity, 4 * lags)


def _onset_envelopes(decibels: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(4, frames - 1): mean rise in decibels over all mel bands, then of bass, middle and treble alone."""
    rise = _rise(decibels)
    low, high = np.searchsorted(centres, [200, 2000])
    return np.stack([part.mean(axis=1) for part in (rise, rise[:, :low], rise[:, low:high], rise[:, high:])])


def _blurred(rows: np.ndarray) -> np.ndarray:
    """Weighted means of five values, a third of the weight on the middle one. A beat of 23.4 frames is then as clear as
    one of 23."""
    return uniform_filter1d(uniform_filter1d(rows, 3, axis=-1, mode="nearest"), 3, axis=-1, mode="nearest")


def _rise(decibels: np.ndarray) -> np.ndarray:
    """(frames - 1, bands): the rise of each band, above a floor of 60 dB below the loudest."""
    audible = np.maximum(decibels, decibels.max() - 60)
    return np.maximum(np.diff(audible, axis=0), 0)


def _tempogram(level: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Excerpts of the envelopes, and their autocorrelation: 1 at lag 0 (Grosche, Mueller and Kurth 2010).

    Shape:
        level:   (envelopes, frames)
        returns: (envelopes, excerpts, at most window) and (envelopes, excerpts, window)
    """
    length = min(window, level.shape[1])
    excerpts = sliding_window_view(level, length, axis=1)[:, :: window // 4]
    products = irfft(np.abs(rfft(excerpts, 2 * length, axis=2)) ** 2, axis=2)
    reach = length * 4 // 5  # longer lags have too few products
    pairs = np.linspace(1, 1 / length, length)[:reach]  # share of the frames that have a partner at this lag
    tempogram = np.zeros((*excerpts.shape[:2], window))
    tempogram[:, :, :reach] = products[:, :, :reach] / pairs / (products[:, :, :1] + TINY)
    return excerpts, tempogram


def _onsets(envelope: np.ndarray, rate: float) -> dict[str, float]:
    """Peaks of the onset envelope: how many a second, how strong, how regular."""
    loudest = envelope >= maximum_filter1d(envelope, 7)
    peaks = np.flatnonzero(loudest & (envelope > 1.5 * uniform_filter1d(envelope, round(rate), mode="nearest") + 0.5))
    gaps = np.diff(peaks) / rate if len(peaks) > 1 else np.zeros(1)
    heights = envelope[peaks] if len(peaks) else np.zeros(1)
    return {
        "onset_rate": len(peaks) * rate / len(envelope),
        "onset_height": heights.mean(),
        "onset_height_spread": heights.std() / (heights.mean() + TINY),
        "onset_gap": np.median(gaps),
        "onset_gap_spread": gaps.std() / (gaps.mean() + TINY),
    }


def _beat_pattern(excerpts: np.ndarray, tempogram: np.ndarray, beat: float) -> np.ndarray:
    """(12,): share of the onsets in each twelfth of a beat, counted from the fullest; separates straight from swung."""
    near = beat * np.linspace(0.94, 1.06, 25)
    frames = np.arange(excerpts.shape[1])
    pattern = np.zeros(PHASES)
    for excerpt, column in zip(excerpts, tempogram, strict=True):
        period = near[np.argmax(_at(column, near))]  # a player's tempo varies a little
        phase = (frames / period * PHASES).astype(int) % PHASES
        counts = np.bincount(phase, weights=np.maximum(excerpt, 0), minlength=PHASES)
        pattern += np.roll(counts, -int(counts.argmax()))
    return pattern / (pattern.sum() + TINY)


def _beat_histogram(tempogram: np.ndarray, lags: np.ndarray) -> dict[str, float]:
    """The two main tempi, their shares, and how strong the beats are in all (the six features of Tzanetakis and Cook).

    The strongest peaks of each excerpt count with their height. An autocorrelation that is stretched to twice the lag
    is subtracted first, so that a beat does not count again at half its tempo.

    Shape:
        tempogram: (excerpts, window)
        lags: (tempi,) frames
    """
    histogram = np.zeros(len(lags))
    for column in np.maximum(tempogram, 0):
        enhanced = np.maximum(_at(column, lags) - _at(column, lags / 2), 0)
        middle = enhanced[1:-1]
        peaks = 1 + np.flatnonzero((middle > enhanced[:-2]) & (middle >= enhanced[2:]))
        peaks = peaks[np.argsort(-enhanced[peaks], kind="stable")][:PEAKS]
        histogram[peaks] += enhanced[peaks]
    total = histogram.sum() + TINY
    histogram = _blurred(histogram) * 3  # tempi that differ by one or two per cent are nearly the same
    first = int(histogram.argmax())
    others = np.where(np.abs(np.log(TEMPI / TEMPI[first])) > np.log(NEAR), histogram, 0)
    second = int(others.argmax()) if others.any() else first
    return {
        "beats_first": TEMPI[first],
        "beats_second": TEMPI[second],
        "beats_first_share": histogram[first] / total,
        "beats_second_share": others[second] / total,
        "beats_ratio": others[second] / (histogram[first] + TINY),
        "beats_sum": total / len(tempogram),
    }


def _scale_transform(overall: np.ndarray, rate: float) -> dict[str, float]:
    """Magnitudes of the autocorrelation's scale transform: another tempo stretches it, which changes only phases.

    Shape:
        overall: (lags,)
    """
    warped = _at(overall, SCALE_LAGS * rate) * np.sqrt(SCALE_LAGS)  # evenly spaced in the logarithm of the lag
    magnitudes = np.abs(rfft(warped))[: SCALES + 1]
    magnitudes = magnitudes[1:] / (np.linalg.norm(magnitudes) + TINY)
    return {f"scale{number}": value for number, value in enumerate(magnitudes, 1)}


def _onset_patterns(decibels: np.ndarray, rate: float) -> dict[str, float]:
    """How fast onsets come in which band, whatever the phase: bands x periodicities, as lowest cosine coefficients.

    Shape:
        decibels: (frames, bands)
    """
    rise = _rise(decibels)
    bands = rise.reshape(len(rise), PATTERN_BANDS, -1).mean(axis=2).T  # (8, frames - 1)
    length = round(WINDOW_SECONDS * rate)
    if bands.shape[1] < length:
        bands = np.pad(bands, ((0, 0), (0, length - bands.shape[1])))
    excerpts = sliding_window_view(bands, length, axis=1)[:, :: length // 4]  # (8, excerpts, length)
    excerpts = (excerpts - excerpts.mean(axis=2, keepdims=True)) * np.hanning(length + 1)[:-1]
    spectrum = np.abs(rfft(excerpts, axis=2)).mean(axis=1)  # (8, length // 2 + 1)
    pattern = np.stack([np.interp(PERIODICITIES * length / rate, np.arange(len(row)), row) for row in spectrum])
    pattern = np.sqrt(pattern / (pattern.mean() + TINY))  # independent of loudness
    kept = dctn(pattern, norm="ortho")[: PATTERN_COEFFICIENTS[0], : PATTERN_COEFFICIENTS[1]]
    return {f"onset_pattern{band}_{number}": value for (band, number), value in np.ndenumerate(kept)}


def _modulation(level: np.ndarray, rate: float) -> dict[str, float]:
    """Share of each envelope's energy in octaves of modulation frequency, 0.5 to 16 Hz."""
    power = np.abs(rfft(level, axis=1)) ** 2
    edges = np.searchsorted(np.linspace(0, rate / 2, power.shape[1]), [0.5, 1, 2, 4, 8, 16])
    values = {}
    for name, row in zip(("bass", "middle", "treble"), power[1:], strict=True):
        for octave, (low, high) in enumerate(pairwise(edges)):
            values[f"{name}_modulation{octave}"] = row[low:high].sum() / (row.sum() + TINY)
    return values


def _at(periodicity: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Autocorrelation at lags in frames, whole or not."""
    return np.interp(lags, np.arange(len(periodicity)), periodicity)
