"""Descriptors of sounds whose answer is known, and of sounds that have none."""

import numpy as np
import pytest

from tagscale.descriptors import describe as module
from tagscale.descriptors.describe import describe, describe_pieces, names
from tagscale.descriptors.harmony import chroma_of, harmony, peaks_of, tonal_centroid, tuning
from tagscale.descriptors.timbre import shapes_of, timbre

RATE = 16_000
C, D, E, F, G, A, B = (261.63 * 2 ** (step / 12) for step in (0, 2, 4, 5, 7, 9, 11))

GOLDEN = {  # of nine chords, rounded
    "timbre_mfcc3_mean": -61.9116,
    "timbre_kurtosis_p90": 11.995,
    "timbre_contrast2_std": 6.65912,
    "rhythm_tempo": 59.9621,
    "rhythm_beats_sum": 0.951075,
    "rhythm_onset_pattern1_2": -0.275014,
    "harmony_degree7": 0.19643,
    "harmony_tonal_std3": 0.33846,
}
TOTAL = 11764.3  # of the absolute values of all descriptors


def as_int16(signal: np.ndarray, peak: float = 0.5) -> np.ndarray:
    return (signal / np.abs(signal).max() * peak * 32767).astype(np.int16)


def notes(frequencies: list[tuple[float, ...]], seconds: float) -> np.ndarray:
    """Chords one after another, five harmonics a note, each dying away."""
    time = np.arange(round(seconds * RATE)) / RATE
    fade = np.exp(-2 * time / seconds) * np.minimum(1, time * 100)
    chords = [
        sum(np.sin(2 * np.pi * f * k * time) / k for f in chord for k in range(1, 6)) * fade for chord in frequencies
    ]
    return as_int16(np.concatenate(chords))


def clicks(bpm: float, seconds: float = 30, accents: tuple[float, ...] = (1,)) -> np.ndarray:
    """Bursts of noise on the beat, as loud as the accents say in turn."""
    signal = np.zeros(round(seconds * RATE))
    burst = np.random.default_rng(0).standard_normal(800) * np.exp(-np.arange(800) / 150)
    for number, start in enumerate(np.arange(0.1, seconds - 0.1, 60 / bpm)):
        begin = round(start * RATE)
        signal[begin : begin + 800] += accents[number % len(accents)] * burst
    return as_int16(signal)


def test_names_are_the_same_for_every_sound() -> None:
    found = list(describe(clicks(100)))
    assert found == list(describe(np.zeros(100, np.int16))) == list(names())
    assert len(found) == len(set(found)) == 336
    assert {name.split("_")[0] for name in found} == {"timbre", "rhythm", "harmony"}


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0),
        np.ones(1),
        np.zeros(RATE * 30),
        np.random.default_rng(0).integers(-9000, 9000, RATE // 10),
        np.random.default_rng(0).integers(-32768, 32767, RATE * 3),
        np.full(RATE, 32767),
        np.sign(np.sin(np.arange(RATE))) * 32767,
        np.clip(np.random.default_rng(0).standard_normal(RATE * 2) * 99999, -32768, 32767),
        np.eye(1, RATE * 2, RATE)[0] * -32768,
    ],
    ids=["nothing", "one sample", "silence", "0.1 s", "noise", "constant", "square wave", "clipped", "one click"],
)
def test_always_finite(samples: np.ndarray) -> None:
    values = np.array(list(describe(samples.astype(np.int16)).values()), dtype=np.float32)
    assert np.isfinite(values).all()


def test_same_samples_same_numbers() -> None:
    assert describe(clicks(90)) == describe(clicks(90))


@pytest.mark.parametrize("bpm", [70, 96, 120, 133, 150, 165])
def test_tempo(bpm: float) -> None:
    found = describe(clicks(bpm))
    assert found["rhythm_tempo"] == pytest.approx(bpm, rel=0.02)
    assert found["rhythm_onset_rate"] == pytest.approx(bpm / 60, rel=0.05)
    assert found["rhythm_beat_strength"] > 0.9  # also where a beat is no whole number of frames
    assert found["rhythm_tempo_wander"] < 0.05


def test_soft_beats_between_loud_ones_count() -> None:
    """Every other beat is 34 dB softer: two beats are more alike than one, yet four beats are no better than two."""
    assert describe(clicks(132, accents=(1, 0.02)))["rhythm_tempo"] == pytest.approx(132, rel=0.02)


def test_noise_has_no_beat() -> None:
    noise = as_int16(np.random.default_rng(0).standard_normal(RATE * 30))
    assert describe(noise)["rhythm_beat_strength"] < 0.3


def test_metre() -> None:
    three, four = describe(clicks(120, accents=(1, 0.2, 0.2))), describe(clicks(120, accents=(1, 0.2, 0.5, 0.2)))
    assert three["rhythm_lag_three"] > three["rhythm_lag_four"]
    assert four["rhythm_lag_four"] > four["rhythm_lag_three"]


def test_swing() -> None:
    """Offbeats at a half or at two thirds of the beat, beside louder beats."""
    beat = clicks(100).astype(float)
    straight, swung = (beat + 0.5 * np.roll(beat, round(share * 0.6 * RATE)) for share in (1 / 2, 2 / 3))
    halves, thirds = describe(as_int16(straight)), describe(as_int16(swung))
    assert halves["rhythm_beat_phase6"] > halves["rhythm_beat_phase8"]
    assert thirds["rhythm_beat_phase8"] > thirds["rhythm_beat_phase6"]


@pytest.mark.parametrize("semitones", [0, 5, 11])
def test_major_and_minor(semitones: int) -> None:
    """I IV V I in C major and in A minor, transposed."""
    up = 2 ** (semitones / 12)
    major = [(C, E, G), (F, A, C * 2), (G, B, D * 2), (C, E, G)]
    minor = [(A / 2, C, E), (D, F, A), (E, G * 2 ** (1 / 12), B), (A / 2, C, E)]
    happy, sad = (describe(notes([tuple(f * up for f in chord) for chord in k] * 2, 1.5)) for k in (major, minor))
    assert happy["harmony_major_over_minor"] > 0 > sad["harmony_major_over_minor"]
    assert happy["harmony_tonic"] == semitones
    assert sad["harmony_tonic"] == (9 + semitones) % 12
    assert happy["harmony_chord_major"] > sad["harmony_chord_major"]


def test_transposed_chroma_is_the_same_counted_from_the_tonic() -> None:
    song = [(C, E, G), (F, A, C * 2), (G, B, D * 2), (C, E, G)] * 2
    here, there = describe(notes(song, 1.5)), describe(notes([tuple(f * 2 ** (3 / 12) for f in c) for c in song], 1.5))
    for degree in range(12):
        assert here[f"harmony_degree{degree}"] == pytest.approx(there[f"harmony_degree{degree}"], abs=0.05)
    assert here["harmony_chroma_mean0"] == pytest.approx(there["harmony_chroma_mean3"], abs=0.05)


@pytest.mark.parametrize("cents", [-45, -20, 20, 45])
def test_detuned_music_keeps_its_key(cents: int) -> None:
    """I IV V I in F major, a few cents off; its tuning is measured to 5 cents."""
    chords = [(F, A, C * 2), (A * 16 / 15, D * 2, F * 2), (C, E, G), (F, A, C * 2)]
    up = 2 ** (cents / 1200)
    tuned, detuned = (notes([tuple(f * by for f in chord) for chord in chords] * 2, 1.5) for by in (1, up))
    here, there = describe(tuned), describe(detuned)
    assert here["harmony_tonic"] == there["harmony_tonic"] == 5
    for name in ("major_fit", "minor_fit", *(f"degree{number}" for number in range(12))):
        assert there[f"harmony_{name}"] == pytest.approx(here[f"harmony_{name}"], abs=0.05)
    assert tuning(_pitches(detuned)) - tuning(_pitches(tuned)) == pytest.approx(cents / 100, abs=0.05)


def test_a_quarter_tone_off_is_one_of_the_two_keys_beside_it() -> None:
    chords = [(F, A, C * 2), (A * 16 / 15, D * 2, F * 2), (C, E, G), (F, A, C * 2)]
    song = [tuple(f * 2 ** (1 / 24) for f in chord) for chord in chords] * 2
    here, there = describe(notes(chords * 2, 1.5)), describe(notes(song, 1.5))
    assert there["harmony_tonic"] in (5, 6)
    assert there["harmony_major_over_minor"] == pytest.approx(here["harmony_major_over_minor"], abs=0.05)


def _pitches(samples: np.ndarray) -> np.ndarray:
    """(frames, 120) of a sound's long spectra, all at once."""
    frames = np.lib.stride_tricks.sliding_window_view(samples / 32768, 8192)[::4096]
    return peaks_of(np.abs(np.fft.rfft(frames * np.hanning(8192)) / 2048))[0]


def test_timbre() -> None:
    time = np.arange(RATE * 5) / RATE
    low, high = (describe(as_int16(np.sin(2 * np.pi * f * time))) for f in (300, 3000))
    noise = describe(as_int16(np.random.default_rng(0).standard_normal(RATE * 5)))
    assert low["timbre_centroid_mean"] == pytest.approx(300, rel=0.05)
    assert high["timbre_centroid_mean"] == pytest.approx(3000, rel=0.05)
    assert high["timbre_zero_crossings_mean"] == pytest.approx(2 * 3000 / RATE, rel=0.01)
    assert noise["timbre_flatness_mean"] > 0.7 > 0.1 > low["timbre_flatness_mean"]
    assert noise["harmony_tonality_mean"] < low["harmony_tonality_mean"]


def test_loudness() -> None:
    quiet, loud = (describe(as_int16(np.sin(np.arange(RATE * 2) / 8), peak)) for peak in (0.05, 0.5))
    assert loud["timbre_level_mean"] - quiet["timbre_level_mean"] == pytest.approx(20, abs=0.1)
    assert loud["timbre_crest"] == pytest.approx(20 * np.log10(2**0.5), abs=0.1)


def test_cepstrum_is_the_cosine_transform_of_the_mel_spectrum() -> None:
    """Against the sum that defines it: equal but for rounding in float32."""
    decibels = np.random.default_rng(0).uniform(-90, 0, (40, 40)).astype(np.float32)
    number = np.arange(40)
    basis = np.cos(np.pi * (number[:, None] + 0.5) * number / 40) * np.sqrt(np.where(number, 2, 1) / 40)
    cepstrum = decibels.astype(np.float64) @ basis
    found = timbre(np.zeros(4096, np.float32), shapes_of(np.ones((3, 513), np.float32), None), decibels)
    for k in (0, 1, 7, 19):
        series = cepstrum[:, k]
        assert found[f"mfcc{k}_mean"] == pytest.approx(series.mean(), abs=1e-3)
        assert found[f"mfcc{k}_std"] == pytest.approx(series.std(), rel=1e-4)
        assert found[f"mfcc{k}_delta"] == pytest.approx((series[2:] - series[:-2]).std(), rel=1e-4)
        assert found[f"mfcc{k}_delta2"] == pytest.approx(np.diff(series, 2).std(), rel=1e-4)


def test_spectral_shapes_are_their_definitions() -> None:
    """Against loops in float64 over one spectrum of noise, and one of a hump at 2 kHz; 0.1 % is rounding."""
    frequencies = np.linspace(0, 8000, 513)
    noise = np.random.default_rng(0).uniform(0.001, 1, 513)
    hump = np.exp(-0.5 * ((frequencies - 2000) / 300) ** 2) * 0.3 + 1e-4
    spectra = np.stack([noise, hump]).astype(np.float32)
    found = shapes_of(spectra, None)
    for row, spectrum in enumerate(spectra.astype(np.float64)):
        share = spectrum / spectrum.sum()
        centroid = sum(p * f for p, f in zip(share, frequencies, strict=True))
        moment = [sum(p * (f - centroid) ** k for p, f in zip(share, frequencies, strict=True)) for k in range(5)]
        assert found["centroid"][row] == pytest.approx(centroid, rel=1e-3)
        assert found["bandwidth"][row] == pytest.approx(moment[2] ** 0.5, rel=1e-3)
        assert found["skewness"][row] == pytest.approx(moment[3] / moment[2] ** 1.5, rel=1e-3)
        assert found["kurtosis"][row] == pytest.approx(moment[4] / moment[2] ** 2, rel=1e-3)
        below = [f for f, share in zip(frequencies, np.cumsum(share), strict=True) if share >= 0.85]
        assert found["rolloff"][row] == below[0]
        floored = spectrum + 1e-5
        assert found["flatness"][row] == pytest.approx(np.exp(np.log(floored).mean()) / floored.mean(), rel=1e-3)
        floored /= floored.sum()
        assert found["entropy"][row] == pytest.approx(-(floored * np.log(floored)).sum() / np.log(513), rel=1e-3)
    rise = spectra[1] / spectra[1].sum() - spectra[0] / spectra[0].sum()
    assert found["flux"] == pytest.approx([rise[rise > 0].sum()], rel=1e-3)
    again = shapes_of(spectra[1:], spectra[0])
    assert all(again[name][-1] == pytest.approx(found[name][-1], rel=1e-6) for name in found)


def test_shape_of_white_noise() -> None:
    """A flat spectrum is a uniform distribution from 0 to 8 kHz; Rayleigh magnitudes are exp(-gamma / 2) 2 / sqrt(pi)
    flat. The tolerance is that of 30 s of noise."""
    found = describe(as_int16(np.random.default_rng(0).standard_normal(RATE * 30)))
    assert found["timbre_centroid_mean"] == pytest.approx(4000, rel=0.01)
    assert found["timbre_bandwidth_mean"] == pytest.approx(8000 / 12**0.5, rel=0.01)
    assert found["timbre_skewness_mean"] == pytest.approx(0, abs=0.02)
    assert found["timbre_kurtosis_mean"] == pytest.approx(1.8, rel=0.02)
    assert found["timbre_rolloff_mean"] == pytest.approx(0.85 * 8000, rel=0.01)
    assert found["timbre_flatness_mean"] == pytest.approx(np.exp(-0.5772 / 2) * 2 / np.pi**0.5, rel=0.01)
    assert found["timbre_zero_crossings_mean"] == pytest.approx(0.5, rel=0.01)


def test_a_chirp_moves_through_the_spectrum() -> None:
    """From 500 Hz to 6.5 kHz in 30 s: mean 3.5 kHz, and the deviation and percentiles of a uniform distribution."""
    time = np.arange(RATE * 30) / RATE
    found = describe(as_int16(np.sin(2 * np.pi * (500 * time + 100 * time**2))))
    assert found["timbre_centroid_mean"] == pytest.approx(3500, rel=0.01)
    assert found["timbre_centroid_std"] == pytest.approx(6000 / 12**0.5, rel=0.01)
    assert found["timbre_centroid_p10"] == pytest.approx(500 + 0.1 * 6000, rel=0.02)
    assert found["timbre_centroid_p90"] == pytest.approx(500 + 0.9 * 6000, rel=0.02)
    assert found["timbre_bandwidth_mean"] < 100


def test_beat_histogram() -> None:
    """Even clicks have one tempo; every third one louder adds a third of it. Bins of the histogram are 0.75 % apart."""
    even, waltz = describe(clicks(116)), describe(clicks(150, accents=(1, 0.2, 0.2)))
    assert even["rhythm_beats_first"] == pytest.approx(116, rel=0.015)
    assert even["rhythm_beats_first_share"] > 0.9
    assert even["rhythm_beats_ratio"] < 0.1
    found = sorted((waltz["rhythm_beats_first"], waltz["rhythm_beats_second"]))
    assert found == pytest.approx([50, 150], rel=0.015)
    assert waltz["rhythm_beats_first_share"] + waltz["rhythm_beats_second_share"] > 0.9


def test_beat_histogram_of_noise_is_weak_and_spread() -> None:
    noise = describe(as_int16(np.random.default_rng(0).standard_normal(RATE * 30)))
    assert noise["rhythm_beats_sum"] < 0.5 * describe(clicks(116))["rhythm_beats_sum"]
    assert noise["rhythm_beats_first_share"] < 0.5


def test_onset_patterns() -> None:
    """Slower beats weigh the first coefficient over periodicities, a bass drum the first over bands; loudness none."""
    slow, fast = describe(clicks(50)), describe(clicks(200))
    assert slow["rhythm_onset_pattern0_1"] > fast["rhythm_onset_pattern0_1"]
    time = np.arange(RATE * 20) / RATE
    drum = as_int16(np.sin(2 * np.pi * 60 * time) * np.exp(-30 * (time % 0.5)))
    hat = clicks(120, seconds=20) - np.roll(clicks(120, seconds=20), 1)
    assert describe(drum)["rhythm_onset_pattern1_0"] > 1 > describe(hat.astype(np.int16))["rhythm_onset_pattern1_0"]
    loud, soft = describe(clicks(120)), describe((clicks(120) // 8).astype(np.int16))
    for k in range(8):
        name = f"rhythm_onset_pattern0_{k}"
        assert loud[name] == pytest.approx(soft[name], abs=0.2)


def test_triad() -> None:
    """C, E and G as sines: a third each, the tonal centroid of Harte et al. in closed form; the Gaussian around each
    pitch leaves some per cent to its neighbours."""
    time = np.arange(RATE * 4) / RATE
    found = describe(as_int16(sum(np.sin(2 * np.pi * f * time) for f in (C, E, G))))
    for pitch in range(12):
        assert found[f"harmony_chroma_mean{pitch}"] == pytest.approx(1 / 3 if pitch in (0, 4, 7) else 0, abs=0.02)
        assert found[f"harmony_chroma_std{pitch}"] < 0.001
    expected = np.zeros(6)
    for pitch in (0, 4, 7):
        for circle, (angle, radius) in enumerate(((7 / 6, 1), (3 / 2, 1), (2 / 3, 0.5))):
            expected[2 * circle] += radius * np.sin(angle * np.pi * pitch) / 3
            expected[2 * circle + 1] += radius * np.cos(angle * np.pi * pitch) / 3
    for number in range(6):
        assert found[f"harmony_tonal_mean{number}"] == pytest.approx(expected[number], abs=0.04)
    assert found["harmony_tonic"] == 0
    assert found["harmony_chord_major"] == pytest.approx(1, abs=0.01)
    assert found["harmony_major_fit"] > found["harmony_minor_fit"]


def test_key_fit_is_a_correlation() -> None:
    """Against NumPy's coefficient, for the profile of each key and for noise."""
    from tagscale.descriptors.harmony import MAJOR, MINOR

    noise = np.random.default_rng(0).uniform(size=(1, 12))
    found = harmony(noise / noise.sum(), np.zeros(1))
    for name, profile in (("major", MAJOR), ("minor", MINOR)):
        best = max(np.corrcoef(noise[0], np.roll(profile, tonic))[0, 1] for tonic in range(12))
        assert found[f"{name}_fit"] == pytest.approx(best, abs=1e-6)
    for tonic in range(12):
        chroma = np.roll(np.array(MINOR) / sum(MINOR), tonic)[None]
        found = harmony(chroma, np.zeros(1))
        assert (found["tonic"], round(found["minor_fit"], 6)) == (tonic, 1)


def test_tonal_centroid_of_all_pitches_is_the_middle() -> None:
    np.testing.assert_allclose(tonal_centroid(np.full((1, 12), 1 / 12)), np.zeros((1, 6)), atol=1e-12)
    pitches, tonality = peaks_of(np.zeros((2, 4097), np.float32))
    assert not chroma_of(pitches).any()
    assert not tonality.any()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for rounding: frames do not know in which block they are analysed."""
    sound = clicks(100, seconds=20)
    whole = describe(sound)
    monkeypatch.setattr(module, "BLOCK", 64)
    monkeypatch.setattr(module, "LONG_BLOCK", 5)
    cut = describe(sound)
    for name, value in whole.items():
        assert cut[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


def test_a_long_track_is_read_in_equal_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """75 s in pieces of at most 30: what can be averaged is, and a choice is one of them."""
    assert module.PIECE_SECONDS == 600
    monkeypatch.setattr(module, "PIECE_SECONDS", 30)
    minute = np.concatenate([clicks(120), clicks(120)])
    reads: list[tuple[int, int]] = []

    def read(start: int, count: int) -> np.ndarray:
        reads.append((start, count))
        return np.resize(minute if start == 0 else minute // 2, count)

    found = describe_pieces(read, 75 * RATE)
    assert reads == [(piece * 25 * RATE, 25 * RATE) for piece in range(3)]
    loud, soft = (describe(np.resize(sound, 25 * RATE)) for sound in (minute, minute // 2))
    level = (loud["timbre_level_mean"] + 2 * soft["timbre_level_mean"]) / 3
    assert found["timbre_level_mean"] == pytest.approx(level, rel=1e-6)
    assert found["rhythm_tempo"] in (loud["rhythm_tempo"], soft["rhythm_tempo"])
    assert list(found) == list(names())


def test_version_is_raised_when_values_change() -> None:
    """Other numbers than these? Then raise VERSION, so that nobody's stored ones are taken for them, and note them."""
    found = describe(notes([(C, E, G), (F, A, C * 2), (G, B, D * 2)] * 3, 1))
    digest = {name: found[name] for name in GOLDEN}
    assert module.VERSION == 5
    assert digest == pytest.approx(GOLDEN, rel=1e-3)
    assert sum(abs(value) for value in found.values()) == pytest.approx(TOTAL, rel=1e-3)
