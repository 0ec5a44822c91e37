"""Labels from what a listener hears: the notes, the mix, and measurements of the finished track."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.fft

from tagscale import SAMPLE_RATE
from tagscale.synth.instruments import INSTRUMENTS, KITS, SINGERS, VOCALS
from tagscale.synth.meter import syncopation
from tagscale.synth.production import Share, Treatment
from tagscale.synth.repertoire import STYLES
from tagscale.synth.rhythms import PATTERNS
from tagscale.synth.score import Song
from tagscale.synth.tags import REGRESSION, TAGS

AUDIBLE = -24.0  # dB against the whole mix; a quieter player has no tag
AUDIBLE_TIME = 1 / 15  # share of the excerpt (2 of 30 seconds); a player that sounds for less has no tag
WINDOW = 2_048  # samples per measured spectrum
KIT_ACOUSTIC = 0.8  # acousticness of a drum kit; hand drums have 1, drum machines 0


@dataclass(frozen=True)
class Measures:
    """Measurements of a finished track."""

    loudness: float  # dBFS, root mean square
    centroid: float  # Hz, of the power spectrum
    dynamics: float  # dB between the 10th and the 90th percentile of frame levels
    bass: float  # share of the power below 150 Hz


def measured(track: np.ndarray) -> Measures:
    """Measure a track.

    Shape: (samples,) at 16 kHz
    """
    frames = track[: len(track) // WINDOW * WINDOW].reshape(-1, WINDOW) * np.hanning(WINDOW).astype(np.float32)
    power = np.abs(scipy.fft.rfft(frames, axis=1)) ** 2
    hertz = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    spectrum = power.mean(axis=0)
    level = 10 * np.log10(power.sum(axis=1) + 1e-9)
    return Measures(
        loudness=float(10 * np.log10(np.mean(track.astype(np.float64) ** 2) + 1e-12)),
        centroid=float((spectrum * hertz).sum() / (spectrum.sum() + 1e-12)),
        dynamics=float(np.percentile(level, 90) - np.percentile(level, 10)),
        bass=float(spectrum[hertz < 150].sum() / (spectrum.sum() + 1e-12)),
    )


def scaled(value: float, low: float, high: float) -> float:
    """Position of a value between `low` and `high`, clipped to [0, 1].

    >>> scaled(5, 0, 10), scaled(-3, 0, 10), scaled(99, 0, 10)
    (0.5, 0.0, 1.0)
    """
    return float(min(1.0, max(0.0, (value - low) / (high - low))))


def audible(shares: Sequence[Share], seconds: float) -> list[Share]:
    """The players that a listener notices in an excerpt of `seconds`."""
    return [share for share in shares if share.level > AUDIBLE and share.active >= AUDIBLE_TIME * seconds]


def clean_labels(
    song: Song, shares: Sequence[Share], treated: Treatment, grit: float, track: np.ndarray
) -> dict[str, float]:
    """Every tag of `tags.TAGS` for one track, without label noise: 0 or 1, or a number in [0, 1] for regression."""
    heard = audible(shares, song.seconds)
    numbers = _regressions(song, heard, treated, measured(track))
    tags = _rhythm(song, heard) | _harmony(song, heard) | _instruments(song, heard, grit)
    tags |= _sonority(treated, numbers) | _mood(numbers, tags) | {STYLES[song.style].genre, song.style}
    unknown = tags - set(TAGS)
    if unknown:
        raise KeyError(f"labels without a tag: {sorted(unknown)}")
    return {name: round(numbers[name], 4) if name in REGRESSION else float(name in tags) for name in TAGS}


def _regressions(song: Song, heard: Sequence[Share], treated: Treatment, track: Measures) -> dict[str, float]:
    """Values of the regression tags."""
    whole = sum(share.power for share in heard) or 1.0
    drums = next((share.level for share in heard if share.playing is None), -40.0)
    fuzz = sum(share.power for share in heard if share.playing and share.playing.instrument == "distorted_guitar")
    rhythms = [syncopation(share.playing.onsets, song.frame.meter) for share in heard if share.playing]
    rhythms += [syncopation(song.drum_onsets, song.frame.meter)] if song.strokes else []
    starts = {round(note.start / 0.03) for share in heard if share.playing for note in share.playing.notes}
    starts |= {round(stroke.start / 0.03) for stroke in song.strokes}
    changes = sum(a != b for a, b in pairwise(song.progression))
    bpm = song.frame.bpm

    numbers = {
        "tempo": scaled(np.log2(bpm), np.log2(50), np.log2(200)),
        "syncopation": scaled(float(np.mean(rhythms or [0.0])), 0.0, 0.45),
        "beat_strength": scaled(drums, -16.0, -2.0),
        "note_density": scaled(np.log2(len(starts) / song.seconds + 0.1), np.log2(1.5), np.log2(16)),
        "harmonic_rhythm": scaled(changes / song.seconds, 0.0, 0.7),
        "acousticness": sum(share.power * _acoustic(song, share) for share in heard) / whole
        * (1 - 0.5 * treated.drive),
        "brightness": scaled(np.log2(track.centroid + 1), np.log2(200), np.log2(2400)),
        "reverb": treated.reverb,
        "distortion": scaled(treated.drive + 0.8 * (fuzz / whole) ** 0.5, 0.0, 1.0),
        "loudness": scaled(track.loudness, -28.0, -10.0),
        "dynamics": scaled(track.dynamics, 1.0, 14.0),
        "bass": scaled(track.bass, 0.0, 0.7),
    }  # fmt: skip
    numbers["energy"] = (
        0.3 * numbers["note_density"] + 0.25 * numbers["beat_strength"] + 0.2 * numbers["distortion"]
        + 0.15 * numbers["loudness"] + 0.1 * numbers["brightness"]
    )  # fmt: skip
    pattern = PATTERNS[song.pattern] if song.pattern else None
    near_two_a_second = float(np.exp(-((np.log2(bpm / 116) / 0.45) ** 2)))
    numbers["danceability"] = (
        0.3 * numbers["beat_strength"] + 0.35 * near_two_a_second * (drums > AUDIBLE)
        + 0.25 * bool(pattern and pattern.four_on_the_floor) + 0.1 * numbers["syncopation"]
    )  # fmt: skip
    numbers["valence"] = scaled(
        0.5 + 0.27 * song.frame.mode.valence + 0.3 * (numbers["tempo"] - 0.5) + 0.2 * (numbers["brightness"] - 0.5),
        0.05,
        0.95,
    )
    return numbers


def _acoustic(song: Song, share: Share) -> float:
    if share.playing is not None:
        return INSTRUMENTS[share.playing.instrument].acoustic
    pattern = PATTERNS[song.pattern] if song.pattern else None
    if pattern is None or not pattern.drum_set:
        return 1.0
    return 0.0 if KITS[song.kit].machine else KIT_ACOUSTIC


def _rhythm(song: Song, heard: Sequence[Share]) -> set[str]:
    """Tags of meter and rhythmic feel."""
    bpm = song.frame.bpm
    tags = {song.frame.meter.tag, "slow" if bpm < 88 else "medium_tempo" if bpm < 126 else "fast"}
    if song.swing >= 0.55:
        tags.add("swing_feel")
    if song.frame.meter.name == "12/8":
        tags.add("shuffle")
    if song.pattern is None or all(share.playing is not None for share in heard):
        return tags | {"no_drums"}
    pattern = PATTERNS[song.pattern]
    conditions = {
        "backbeat": pattern.backbeat,
        "four_on_the_floor": pattern.four_on_the_floor,
        "half_time": pattern.half_time,
    }
    return tags | {name for name, yes in conditions.items() if yes}


def _harmony(song: Song, heard: Sequence[Share]) -> set[str]:
    tags = {song.frame.mode.tag}
    if len(set(song.progression)) <= 2:
        tags.add("static_harmony")
    if song.sevenths:
        tags.add("extended_chords")
    if any(share.playing and share.playing.role == "drone" for share in heard):
        tags.add("drone")
    return tags


def _instruments(song: Song, heard: Sequence[Share], grit: float) -> set[str]:
    """Tags of vocals and instruments."""
    names = {share.playing.instrument for share in heard if share.playing}
    voices = names & set(VOCALS)
    tags = names - voices | {"vocals" if voices else "no_vocals"}
    if voices & {"male_voice", "rapper"}:
        tags.add("male_vocals")
    if "female_voice" in voices:
        tags.add("female_vocals")
    if "choir" in voices:
        tags.add("choir_vocals")
    if "rapper" in voices:
        tags.add("rap_vocals")
    if voices & {*SINGERS, "rapper"} and grit:
        tags.add("gritty_vocals")
    if song.pattern is not None and any(share.playing is None for share in heard):
        pattern = PATTERNS[song.pattern]
        if pattern.hand_percussion:
            tags.add("hand_percussion")
        if pattern.drum_set:
            tags.add("drum_machine" if KITS[song.kit].machine else "drum_kit")
    return tags


def _sonority(treated: Treatment, numbers: dict[str, float]) -> set[str]:
    conditions = {
        "live": treated.live,
        "studio": not treated.live,
        "acoustic": numbers["acousticness"] > 0.8,
        "synthesized": numbers["acousticness"] < 0.25,
        "lo_fi": treated.lo_fi > 0,
        "vinyl_crackle": treated.crackle,
        "reverberant": treated.reverb > 0.55,
        "dry": treated.reverb < 0.18,
        "distorted": numbers["distortion"] > 0.5,
        "echo": treated.echo > 0,
    }
    return {name for name, yes in conditions.items() if yes}


def _mood(numbers: dict[str, float], tags: set[str]) -> set[str]:
    """Tags of mood, from energy, valence and sound."""
    energy, valence = numbers["energy"], numbers["valence"]
    big = tags & {"string_ensemble", "brass_section", "choir_vocals", "timpani"}
    conditions = {
        "happy": valence > 0.68 and energy > 0.3,
        "sad": valence < 0.4 and energy < 0.42,
        "angry": valence < 0.55 and energy > 0.55 and numbers["distortion"] > 0.45,
        "calm": energy < 0.25,
        "dark": valence < 0.25,
        "dreamy": numbers["reverb"] > 0.5 and energy < 0.35,
        "epic": len(big) >= 2,
        "party": numbers["danceability"] > 0.7 and energy > 0.4,
    }
    return {name for name, yes in conditions.items() if yes}
