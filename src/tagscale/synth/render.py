"""From notes to sound: symusic plays the recordings of a General MIDI soundfont, note by note.

symusic 0.5.9 plays every note at one loudness, loops the recording while the note is held, and cuts it off at
the end. It ignores velocity, controllers and pitch bends, and the root keys of a soundfont (soundfont.py). So symusic
renders each pitch of a player once, as long as its longest note. tone.py shapes the recording into a note of the
instrument. This module gives every note its loudness and release.

Rendering all pitches repeatedly shows three more faults of symusic:
- Far above an instrument's range symusic never returns (from pitch 97 on in the default soundfont), and some pitches
  are silent or noise of amplitude 10^7. The ranges in instruments.py and `SANE_PEAK` exclude them.
- Two programs that share recordings sound like the one that plays first. So every track has its own `Sampler`.
- String ensemble (program 48) from 56 to 60 and trumpet (56) at 57 and 60 read past the end of their recordings,
  into arbitrary memory, and differ from run to run. So instruments.py omits program 48 and starts the trumpet at 61.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import symusic.core

from tagscale.synth.instruments import INSTRUMENTS, KITS
from tagscale.synth.score import Playing, Song
from tagscale.synth.soundfont import playable
from tagscale.synth.tone import FORMANTS, RENDER_RATE, rung, tone_of

QUALITY = 3  # symusic's interpolation between the samples of a recording: 0 fast to 4 fine
LONGEST_TONE = 6.0  # seconds; a bar of the slowest music takes 4.6
SANE_PEAK = 20.0  # a louder tone is noise; recordings peak near 1
VOWELS = tuple(FORMANTS)


class Sampler:
    """A soundfont player for one track."""

    def __init__(self, soundfont: Path) -> None:
        with NamedTemporaryFile(suffix=".sf2") as file:  # symusic reads all of it at once
            file.write(playable(Path(soundfont)))
            file.flush()
            self._synthesizer = symusic.core.Synthesizer(file.name, RENDER_RATE, QUALITY)

    def tones(self, program: int, wanted: Mapping[int, float], drums: bool = False) -> dict[int, np.ndarray]:
        """Render held notes: pitch -> (samples,) at RENDER_RATE. `wanted` has the seconds of each pitch."""
        score = symusic.core.ScoreSecond(480)
        track = symusic.core.TrackSecond("", program, drums)
        places, at = {}, 0.0
        for pitch, seconds in wanted.items():
            track.notes.append(symusic.core.NoteSecond(at, seconds, pitch, 100))
            places[pitch] = (round(at * RENDER_RATE), round(seconds * RENDER_RATE))
            at += seconds + 0.01
        score.tracks.append(track)
        rendered = np.asarray(self._synthesizer.render(score, stereo=False), np.float32)[0]
        tones = {}
        for pitch, (start, length) in places.items():
            tone = rendered[start : start + length]
            peak = float(np.abs(tone).max(initial=0.0))
            tones[pitch] = tone if np.isfinite(peak) and peak < SANE_PEAK else np.zeros(length, np.float32)
        return tones


def stems(
    song: Song, sampler: Sampler, speed: float, grit: float, rng: np.random.Generator
) -> Iterator[tuple[Playing | None, np.ndarray]]:
    """Yield the sound of every player, and the drums (None) last.

    Args:
        speed: factor on the playback speed (the artist's tuning). Notes lie further apart by this factor, so tempo
            and length stay as composed.
        grit: roughness of singers, 0 to 1

    Shape: each (samples,), float32, seconds x speed at RENDER_RATE
    """
    rate = RENDER_RATE * speed
    length = round(song.seconds * rate)
    for playing in song.playings:
        yield playing, _played(playing, sampler, rate, length, grit, rng)
    if song.strokes:
        yield None, _drummed(song, sampler, rate, length)


def _played(
    playing: Playing, sampler: Sampler, rate: float, length: int, grit: float, rng: np.random.Generator
) -> np.ndarray:
    instrument = INSTRUMENTS[playing.instrument]
    longest: dict[int, float] = {}
    for note in playing.notes:
        seconds = min(LONGEST_TONE, note.seconds * rate / RENDER_RATE + instrument.release)
        longest[note.pitch] = max(longest.get(note.pitch, 0.0), seconds)
    held = sampler.tones(playing.program, dict(sorted(longest.items())))
    words = rng.integers(len(VOWELS), size=len(playing.notes)) if instrument.voice else None
    release = round(instrument.release * RENDER_RATE)
    fade = np.cos(np.linspace(0, np.pi / 2, release, dtype=np.float32)) ** 2
    shaped: dict[tuple[int, str], np.ndarray] = {}
    stem = np.zeros(length, np.float32)
    for number, note in enumerate(playing.notes):
        vowel = "" if words is None else VOWELS[int(words[number])]
        if (note.pitch, vowel) not in shaped:
            shaped[note.pitch, vowel] = tone_of(held[note.pitch], note.pitch, instrument, vowel, grit, rng)
        tone = shaped[note.pitch, vowel]
        sustain = min(round(note.seconds * rate), max(0, len(tone) - release))
        sound = tone[: sustain + release] * np.float32(note.strength**1.5)
        sound[sustain:] *= fade[: len(sound) - sustain]
        _place(sound, round(note.start * rate), stem)
    return stem


def _drummed(song: Song, sampler: Sampler, rate: float, length: int) -> np.ndarray:
    kit = KITS[song.kit]
    drums = {name: kit.drum(name) for name in sorted({stroke.drum for stroke in song.strokes})}
    held = sampler.tones(kit.program, {drum.key: min(2.5, 3 * drum.decay) for drum in drums.values()}, drums=True)
    ringing = {}
    for name, drum in drums.items():
        sound = rung(held[drum.key], drum.decay)
        peak = float(np.abs(sound).max(initial=0.0)) or 1.0
        ringing[name] = sound * np.float32(10 ** (drum.level / 20) / peak)
    stem = np.zeros(length, np.float32)
    for stroke in song.strokes:
        _place(ringing[stroke.drum] * np.float32(stroke.strength**1.5), round(stroke.start * rate), stem)
    return stem


def _place(sound: np.ndarray, at: int, stem: np.ndarray) -> None:
    """Add a sound to a stem from sample `at` on. Skip what lies before or after the stem."""
    first, last = max(0, -at), min(len(sound), len(stem) - at)
    if first < last:
        stem[at + first : at + last] += sound[first:last]
