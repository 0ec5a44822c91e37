"""Descriptors of sounds whose answer is known, and of sounds that have none."""

import numpy as np
import pytest

from tagscale.audio.descriptors import describe

RATE = 16_000
C, D, E, F, G, A, B = (261.63 * 2 ** (step / 12) for step in (0, 2, 4, 5, 7, 9, 11))


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
    names = list(describe(clicks(100)))
    assert names == list(describe(np.zeros(100, np.int16)))
    assert len(names) == len(set(names)) == 336
    assert {name.split("_")[0] for name in names} == {"timbre", "rhythm", "harmony"}


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
        np.eye(1, RATE * 2, RATE)[0] * -32768,
    ],
    ids=["nothing", "one sample", "silence", "0.1 s", "noise", "constant", "square wave", "one click"],
)
def test_always_finite(samples: np.ndarray) -> None:
    values = np.array(list(describe(samples.astype(np.int16)).values()), dtype=np.float32)
    assert np.isfinite(values).all()


def test_same_samples_same_numbers() -> None:
    assert describe(clicks(90)) == describe(clicks(90))


@pytest.mark.parametrize("bpm", [70, 96, 120, 150, 180])
def test_tempo(bpm: float) -> None:
    found = describe(clicks(bpm))
    assert found["rhythm_tempo"] == pytest.approx(bpm, rel=0.02)
    assert found["rhythm_onset_rate"] == pytest.approx(bpm / 60, rel=0.05)
    assert found["rhythm_beat_strength"] > 0.7
    assert found["rhythm_tempo_wander"] < 0.05


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
