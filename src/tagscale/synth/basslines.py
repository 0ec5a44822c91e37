"""Parts of bass players. Each role takes the frame, the bars and the instrument, and yields notes on the grid."""

from collections.abc import Iterator, Sequence

import numpy as np

from tagscale.synth.instruments import Instrument
from tagscale.synth.score import Bar, Frame, Step
from tagscale.synth.theory import nearest, within

RIFF_STEPS = ((0, 3, 6, 10), (0, 3, 8, 11), (0, 4, 6, 11, 14), (0, 6, 8, 14), (0, 2, 7, 10, 12), (0, 7, 10))
TUMBAO_STEPS = (3, 6, 11, 14)


def _low(pitch_class: int, instrument: Instrument, target: int = 35) -> int:
    return within(nearest(pitch_class % 12, target), instrument.low, instrument.high)


def root_bass(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """The root on every beat, or on every eighth in energetic music."""
    every_eighth = frame.energy > 0.4
    for bar in bars:
        steps = bar.meter.eighths if every_eighth else bar.meter.beat_starts
        for step in steps:
            accent = 0.15 if step in bar.meter.beat_starts else 0.0
            yield Step(bar.start + step, 1.8 if every_eighth else 3.6, _low(bar.root, instrument), 0.75 + accent)


def walking_bass(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """A note on every beat: chord tones, and on the last beat a semitone above or below the next root."""
    for bar in bars:
        beats = bar.meter.beat_starts
        next_root = _low(bar.next_root, instrument)
        for number, step in enumerate(beats):
            if number == 0:
                pitch = _low(bar.root, instrument)
            elif number == len(beats) - 1:
                pitch = next_root + (1 if rng.random() < 0.5 else -1)
            else:
                pitch = _low(bar.chord[int(rng.integers(1, len(bar.chord)))], instrument, 38)
            length = bar.meter.beats[number]
            yield Step(bar.start + step, length * 0.95, within(pitch, instrument.low, instrument.high), 0.8)
            if bar.meter.compound and number % 2 == 1:
                yield Step(bar.start + step + 4, 1.8, pitch, 0.6)


def two_beat_bass(
    frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator
) -> Iterator[Step]:
    """The root on the downbeat and the fifth on the third beat. Bars of fewer than four beats have the root alone."""
    for bar in bars:
        root = _low(bar.root, instrument, 38)
        yield Step(bar.start, 3.5, root, 0.85)
        if len(bar.meter.beats) >= 4:
            step = bar.meter.beat_starts[2]
            yield Step(bar.start + step, 3.5, within(root - 5, instrument.low, instrument.high), 0.78)


def march_bass(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """A short root on every beat; every fourth bar has the syncopated rhythm of the tango."""
    for bar in bars:
        root = _low(bar.root, instrument, 36)
        for step in (0, 3, 8, 12) if bar.number % 4 == 3 else bar.meter.beat_starts:
            yield Step(bar.start + step, 2.2, root, 0.95 if step == 0 else 0.75)


def octave_bass(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Eighths that alternate between the root and its octave."""
    for bar in bars:
        root = _low(bar.root, instrument, 34)
        for step in bar.meter.eighths:
            upper = (step // 2) % 2 == 1
            yield Step(bar.start + step, 1.5, root + 12 * upper, 0.7 if upper else 0.85)


def offbeat_bass(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """The root between the beats. The bass drum takes the beats."""
    for bar in bars:
        for step in bar.meter.beat_starts:
            yield Step(bar.start + step + 2, 1.7, _low(bar.root, instrument), 0.9)


def pulse_bass(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Short sixteenths on the root between the beats, in a constant pattern."""
    silent = rng.random(16) < 0.25
    for bar in bars:
        root = _low(bar.root, instrument, 32)
        for step in range(bar.meter.steps):
            if not silent[step % 16] and step % 4 != 0:
                yield Step(bar.start + step, 0.8, root, 0.9 if step % 4 == 2 else 0.7)


def riff_bass(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """A syncopated figure around the root that repeats in every bar."""
    steps = RIFF_STEPS[int(rng.integers(len(RIFF_STEPS)))]
    jumps = [0, *(int(jump) for jump in rng.choice([0, 0, 7, 10, 12, -5], size=len(steps) - 1))]
    for bar in bars:
        root = _low(bar.root, instrument, 34)
        for step, jump in zip(steps, jumps, strict=True):
            if step < bar.meter.steps:
                pitch = within(root + jump, instrument.low, instrument.high)
                yield Step(bar.start + step, 2.4, pitch, 0.95 if step == 0 else 0.8)


def sub_bass(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Long low roots, like the 808 bass drum of trap."""
    second = int(rng.choice([6, 10, 11]))
    for bar in bars:
        root = _low(bar.root, instrument, 29)
        yield Step(bar.start, second - 0.5, root, 1.0)
        yield Step(bar.start + second, bar.meter.steps - second - 0.5, root, 0.85)


def tumbao(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """The Cuban bass: it skips the downbeat and anticipates the root of the next bar."""
    for bar in bars:
        fifth = _low(bar.chord[2], instrument, 37)
        pitches = (fifth, _low(bar.root, instrument, 37), fifth, _low(bar.next_root, instrument, 37))
        for step, pitch in zip(TUMBAO_STEPS, pitches, strict=True):
            yield Step(bar.start + step, 2.8, pitch, 0.85)


def held_bass(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """One or two long notes a bar."""
    moving = frame.energy > 0.35
    for bar in bars:
        half = bar.meter.beat_starts[len(bar.meter.beats) // 2] if moving and len(bar.meter.beats) != 3 else 0
        yield Step(bar.start, (half or bar.meter.steps) * 0.97, _low(bar.root, instrument, 43), 0.75)
        if half:
            third = _low(bar.chord[1], instrument, 45)
            yield Step(bar.start + half, (bar.meter.steps - half) * 0.97, third, 0.7)
