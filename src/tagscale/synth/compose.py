"""The composition of a track: style, key, form, band, and the part of every player."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tagscale.synth import accompaniment, basslines, melodies
from tagscale.synth.artists import Artist
from tagscale.synth.instruments import INSTRUMENTS, KITS, Instrument
from tagscale.synth.meter import METERS, swung
from tagscale.synth.repertoire import STYLES
from tagscale.synth.rhythms import PATTERNS, DrumPattern
from tagscale.synth.score import Bar, Frame, Note, Playing, Song, Step, Stroke
from tagscale.synth.styles import Style
from tagscale.synth.theory import MODES, progressions

Role = Callable[[Frame, Sequence[Bar], Instrument, np.random.Generator], Iterator[Step]]
FILL = ("tom_high", "tom_high", "tom_mid", "tom_low")
FIFTHS = (0, 7, -7, 2, -2, 9, -9)  # tonics around the favourite one, by distance on the circle of fifths
COMPOUND_TEMPO = 0.8  # factor on the tempo of compound meters, whose pulse is longer
MEASURED_DRUMS = ("kick", "snare", "clap", "rim", "conga_low", "conga_high")  # drums whose onsets count for syncopation


@dataclass(frozen=True)
class Clock:
    """Conversion from steps to seconds of the excerpt."""

    step_seconds: float
    swing: float
    swing_unit: int
    offset: float  # start of the excerpt in the piece, seconds
    seconds: float  # length of the excerpt

    def at(self, step: float) -> float:
        return swung(step, self.swing, self.swing_unit) * self.step_seconds - self.offset


@dataclass(frozen=True)
class Player:
    """One part of the band and the bars in which it plays."""

    role: str
    instrument: str
    active: Sequence[bool]


def role_named(name: str) -> Role:
    """The function of a role. Raises AttributeError for an unknown role."""
    module = next((each for each in (basslines, accompaniment, melodies) if hasattr(each, name)), None)
    if module is None:
        raise AttributeError(f"no role {name!r} in basslines, accompaniment or melodies")
    role: Role = getattr(module, name)
    return role


def compose(artist: Artist, style_name: str, seconds: float, rng: np.random.Generator) -> Song:
    """Compose an excerpt of `seconds` by an artist in a style. It starts within the first two bars of the piece."""
    style = STYLES[style_name]
    mode, frame = _frame(artist, style, rng)
    bar_seconds = frame.meter.steps * frame.meter.step_seconds(frame.bpm)
    offset = float(rng.uniform(0, 2 * bar_seconds))
    clock = Clock(frame.meter.step_seconds(frame.bpm), style.swing, style.swing_unit, offset, seconds)
    count = int(np.ceil((seconds + offset) / bar_seconds)) + 1
    section = 8 if bar_seconds < 1.6 else 4
    progression, bars = _harmony(frame, style, count, section, rng)
    patterns = [name for name in style.drums if PATTERNS[name].meter == frame.meter.name]
    pattern = _picked(patterns, rng) if patterns else None
    kit = _picked(style.kits, rng)
    looseness = artist.looseness * (0.15 if pattern and KITS[kit].machine else 1.0)

    playings = []
    for player in _band(style, artist, count, section, rng):
        played = role_named(player.role)(frame, bars, INSTRUMENTS[player.instrument], rng)
        steps = [step for step in played if player.active[min(int(step.start) // frame.meter.steps, count - 1)]]
        notes = list(_in_time(steps, clock, looseness, rng))
        if notes:
            program = artist.programs[player.instrument]
            onsets = [int(step.start) for step in steps]
            playings.append(Playing(player.role, player.instrument, program, notes, onsets))
    drumming = list(_drumming(PATTERNS[pattern], frame, bars, rng)) if pattern else []
    strokes = [
        Stroke(clock.at(step) + float(rng.normal(0, looseness)), drum, strength)
        for step, drum, strength in drumming
        if -0.5 < clock.at(step) < seconds
    ]
    drum_onsets = [step for step, drum, _ in drumming if drum in MEASURED_DRUMS]
    return Song(
        style_name, frame, mode, style.swing, progression, style.sevenths, pattern, kit,
        playings, strokes, drum_onsets, seconds,
    )  # fmt: skip


def _picked(names: Sequence[str], rng: np.random.Generator) -> str:
    return names[int(rng.integers(len(names)))]


def _weighted(weights: Mapping[str, float], rng: np.random.Generator) -> str:
    share = np.array(list(weights.values()), float)
    return list(weights)[int(rng.choice(len(share), p=share / share.sum()))]


def _frame(artist: Artist, style: Style, rng: np.random.Generator) -> tuple[str, Frame]:
    """Meter, mode, key and tempo."""
    meter = METERS[_weighted(style.meters, rng)]
    mode = _weighted(style.modes, rng)
    place = 0.6 * artist.tempo + 0.4 * rng.random()
    bpm = float(style.bpm[0] + place * (style.bpm[1] - style.bpm[0]))
    if meter.compound and "4/4" in style.meters:
        bpm *= COMPOUND_TEMPO
    tonic = (artist.tonic + FIFTHS[int(rng.integers(2 * artist.keys - 1))]) % 12
    return mode, Frame(meter, MODES[mode], tonic, bpm, style.energy, artist.density)


def _harmony(
    frame: Frame, style: Style, count: int, section: int, rng: np.random.Generator
) -> tuple[list[int], list[Bar]]:
    """The degree and the chord of every bar. Sections alternate between two progressions of the style."""
    choices = progressions(style.progressions, frame.mode)
    verse, chorus = (choices[int(rng.integers(len(choices)))] for _ in range(2))
    if len(verse) > section:  # a twelve-bar blues is longer than a section
        degrees = [verse[bar % len(verse)] for bar in range(count + 1)]
    else:
        parts = (verse, verse, chorus) if rng.random() < 0.5 else (verse, chorus)
        degrees = [(part := parts[bar // section % len(parts)])[bar % len(part)] for bar in range(count + 1)]
    size = 4 if style.sevenths else 3
    chords = [tuple(frame.tonic + tone for tone in frame.mode.chord(degree, size)) for degree in degrees]
    bars = [
        Bar(bar, bar * frame.meter.steps, frame.meter, chords[bar], chords[bar + 1][0], bar % section == section - 1)
        for bar in range(count)
    ]
    return degrees[:count], bars


def _band(style: Style, artist: Artist, count: int, section: int, rng: np.random.Generator) -> Iterator[Player]:
    """The players and their bars. The first two parts of the style play throughout, the others in some sections."""

    def active(chance: float) -> list[bool]:
        sections = rng.random(count // section + 1) < chance
        sections[int(rng.integers(max(1, len(sections) - 1)))] = True
        return [bool(sections[bar // section]) for bar in range(count)]

    singer = None
    if rng.random() < style.rap:
        singer = Player("rap", "rapper", active(0.85))
    elif style.singing and rng.random() < style.singing + artist.voice:
        singer = Player("sung_melody", artist.singer, active(0.85))
    used: set[str] = set()
    for number, part in enumerate(style.parts):
        replaced = singer is not None and part.role == "melody"
        if rng.random() > (part.chance * 0.5 if replaced else part.chance):
            continue
        choices = [name for name in part.instruments if name not in used] or list(part.instruments)
        instrument = _weighted({name: artist.instrument_weights[name] for name in choices}, rng)
        used.add(instrument)
        yield Player(part.role, instrument, active(1.0 if number < 2 else 0.7))
    if singer is not None:
        yield singer


def _in_time(steps: Sequence[Step], clock: Clock, looseness: float, rng: np.random.Generator) -> Iterator[Note]:
    """Convert steps to notes on the clock of the excerpt. Skip notes outside the excerpt."""
    late = rng.normal(0, looseness, size=len(steps))
    shade = rng.normal(0, 0.05, size=len(steps))
    for number, step in enumerate(steps):
        start = clock.at(step.start) + float(late[number])
        length = step.length * clock.step_seconds
        if start < clock.seconds and start + length > 0:
            strength = min(1.0, max(0.2, step.strength + float(shade[number])))
            yield Note(start, length, step.pitch, strength)


def _drumming(
    pattern: DrumPattern, frame: Frame, bars: Sequence[Bar], rng: np.random.Generator
) -> Iterator[tuple[int, str, float]]:
    """Yield (step, drum, strength): the pattern, fills at the end of sections, crashes at the start of the next."""
    fills = pattern.drum_set and frame.energy > 0.38
    for bar in bars:
        filled = fills and bar.section_end and rng.random() < 0.75
        fill_from = bar.meter.beat_starts[-1] if filled else bar.meter.steps
        missed = rng.random(len(pattern.strokes)) < 0.03
        for (step, drum, strength), miss in zip(pattern.strokes, missed, strict=True):
            if step < fill_from and not miss:
                yield bar.start + step, drum, min(1.0, strength * (0.85 + 0.25 * frame.energy))
        for number, step in enumerate(range(fill_from, bar.meter.steps)):
            yield bar.start + step, FILL[number % len(FILL)], 0.8
        if fills and bar.number and bars[bar.number - 1].section_end:
            yield bar.start, "crash", 0.9
