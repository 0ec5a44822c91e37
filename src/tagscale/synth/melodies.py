"""Parts of soloists and singers. Each role takes the frame, the bars and the instrument, and yields notes."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tagscale.synth.instruments import Instrument
from tagscale.synth.meter import Meter
from tagscale.synth.score import Bar, Frame, Step
from tagscale.synth.theory import interval, nearest, within

# Rhythms of one beat, from calm to busy: (step, length) of each note. Keys are steps per beat.
CELLS: dict[int, list[list[tuple[int, int]]]] = {
    4: [[], [(0, 4)], [(2, 2)], [(0, 2), (2, 2)], [(0, 3), (3, 1)], [(0, 2), (2, 1), (3, 1)], [(0, 1), (1, 1), (2, 2)]],
    6: [[], [(0, 6)], [(0, 4), (4, 2)], [(2, 2), (4, 2)], [(0, 2), (2, 2), (4, 2)], [(0, 1), (1, 1), (2, 2), (4, 2)]],
}
LEAPS = (-3, -2, -1, -1, -1, 0, 1, 1, 1, 2, 2, 4)  # scale degrees from one note to the next


class Gesture(NamedTuple):
    """A note of a phrase before the harmony sets its pitch."""

    step: int
    length: int
    leap: int


def _phrase(meter: Meter, bars: int, busy: float, rng: np.random.Generator) -> list[Gesture]:
    """A rhythm and a contour for some bars that end on a long note. `busy` is in 0..1."""
    gestures: list[Gesture] = []
    for bar in range(bars):
        for start, size in zip(meter.beat_starts, meter.beats, strict=True):
            cells = CELLS[size]
            cell = cells[int(np.clip(round(busy * (len(cells) - 1) + rng.normal(0, 1.2)), 0, len(cells) - 1))]
            for step, length in cell:
                leap = LEAPS[int(rng.integers(len(LEAPS)))]
                gestures.append(Gesture(bar * meter.steps + start + step, length, leap))
    if not gestures:
        gestures = [Gesture(0, meter.steps, 0)]
    last = gestures[-1]
    return [*gestures[:-1], last._replace(length=max(2, bars * meter.steps - last.step - 2))]


def _sung(
    frame: Frame, bars: Sequence[Bar], phrase: Sequence[Gesture], degree: int, tonic: int, instrument: Instrument
) -> Iterator[Step]:
    """Fit a phrase to the harmony of its bars. Strong steps take the nearest chord tone."""
    meter = frame.meter
    size = len(frame.mode.melody)
    for gesture in phrase:
        number, step = divmod(gesture.step, meter.steps)
        if number >= len(bars):
            break
        degree += gesture.leap if abs(degree + gesture.leap) <= size else -gesture.leap
        pitch = tonic + interval(frame.mode.melody, degree)
        if meter.weights[step] >= 0.5:
            pitch = min((nearest(tone % 12, pitch) for tone in bars[number].chord), key=lambda tone: abs(tone - pitch))
        pitch = within(pitch, instrument.low, instrument.high)
        yield Step(bars[number].start + step, gesture.length * 0.95, pitch, 0.75 + 0.2 * meter.weights[step])


def _melody(
    frame: Frame,
    bars: Sequence[Bar],
    instrument: Instrument,
    rng: np.random.Generator,
    busy: float,
    register: float = 0.5,
    rests: float = 0.2,
) -> Iterator[Step]:
    """Phrases of two bars in the order A A' B A. `rests` is the chance to skip a phrase after the first."""
    middle = instrument.low + register * (instrument.high - instrument.low)
    tonic = nearest(frame.tonic, round(middle))
    first = _phrase(frame.meter, 2, busy, rng)
    second_ending = _phrase(frame.meter, 2, busy, rng)
    varied = [gesture for gesture in first if gesture.step < frame.meter.steps]
    varied += [gesture for gesture in second_ending if gesture.step >= frame.meter.steps]
    other = _phrase(frame.meter, 2, min(1.0, busy * 1.15), rng)
    degrees = (0, 0, int(rng.integers(1, 4)), 0)
    for number in range(0, len(bars), 2):
        place = number // 2 % 4
        phrase = (first, varied, other, first)[place]
        if number and rng.random() < rests:
            continue
        yield from _sung(frame, bars[number : number + 2], phrase, degrees[place], tonic, instrument)


def melody(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """The melody of a lead instrument."""
    busy = float(np.clip((0.35 + 0.35 * frame.energy) * frame.density, 0.2, 0.9))
    yield from _melody(frame, bars, instrument, rng, busy, register=0.55)


def jig_melody(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """A busy dance tune without rests."""
    yield from _melody(frame, bars, instrument, rng, busy=0.85, register=0.5, rests=0.0)


def counter_melody(
    frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator
) -> Iterator[Step]:
    """A slower second voice in a lower register."""
    yield from _melody(frame, bars, instrument, rng, busy=0.25, register=0.3, rests=0.1)


def sung_melody(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """The melody of a singer, in the middle of the voice and with pauses for breath."""
    busy = float(np.clip((0.3 + 0.25 * frame.energy) * frame.density, 0.2, 0.7))
    yield from _melody(frame, bars, instrument, rng, busy, register=0.45, rests=0.12)


def rap(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Rhythmic speech: dense syllables whose pitch wanders and falls at the end of a line."""
    home = instrument.low + 7 + int(rng.integers(0, 5))
    for bar in bars:
        pitch = home + 3
        for beat, start in enumerate(bar.meter.beat_starts):
            last = beat == len(bar.meter.beats) - 1
            cell = CELLS[bar.meter.beats[beat]][int(rng.integers(3, 6)) + int(rng.random() < 0.4)]
            for step, length in cell[: 1 if last and bar.number % 2 else None]:
                pitch = int(np.clip(pitch + rng.integers(-2, 3), home - 3, home + 6)) - last
                yield Step(bar.start + start + step, length * 0.8, pitch, 0.95 if step == 0 else 0.75)


def riff(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """A low figure of one bar that moves with the root of the chord."""
    phrase = _phrase(frame.meter, 1, 0.75, rng)
    for bar in bars:
        root = within(nearest(bar.root % 12, 48), instrument.low, instrument.high)
        degree = 0
        for gesture in phrase:
            degree = int(np.clip(degree + gesture.leap, -2, 4))
            pitch = within(root + interval(frame.mode.melody, degree), instrument.low, instrument.high)
            yield Step(bar.start + gesture.step, gesture.length * 0.9, pitch, 0.85)


def sparse(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """A few high, long chord tones with long silences between them."""
    for bar in bars:
        for step in bar.meter.beat_starts[::2]:
            if rng.random() < 0.55:
                tone = bar.chord[int(rng.integers(len(bar.chord)))]
                pitch = within(nearest(tone % 12, 74), instrument.low, instrument.high)
                yield Step(bar.start + step + 2 * int(rng.random() < 0.4), 7.0, pitch, 0.7)
