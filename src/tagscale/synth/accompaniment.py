"""Parts of chord players. Each role takes the frame, the bars and the instrument, and yields notes."""

from collections.abc import Iterator, Sequence

import numpy as np

from tagscale.synth.instruments import Instrument
from tagscale.synth.score import Bar, Frame, Step
from tagscale.synth.theory import interval, nearest, voiced, within

STAB_STEPS = ((0, 3, 6), (0, 6, 10), (2, 6, 10, 14), (4, 7, 12), (0, 3, 8, 11), (6, 14))
POWER_STEPS = ((0, 3, 6, 8, 11, 14), (0, 2, 4, 6, 8, 10, 12, 14), (0, 4, 6, 8, 12, 14), (0, 2, 3, 6, 8, 10, 11, 14))
GALLOP_STEPS = (0, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15)
MONTUNO_STEPS = (0, 3, 4, 6, 8, 11, 14)
BOSSA_STEPS = (0, 3, 6, 10, 13)


def _voicings(bars: Sequence[Bar], instrument: Instrument, centre: int) -> list[list[int]]:
    """One chord per bar, led from the previous chord, within the instrument's range."""
    voicings: list[list[int]] = []
    for bar in bars:
        pitches = voiced(bar.chord, centre, voicings[-1] if voicings else ())
        voicings.append(sorted({within(pitch, instrument.low, instrument.high) for pitch in pitches}))
    return voicings


def _chords(
    bars: Sequence[Bar], voicings: Sequence[Sequence[int]], steps: Sequence[int], length: float, strength: float
) -> Iterator[Step]:
    """The bar's chord on the given steps, with the accents of the meter."""
    for bar, pitches in zip(bars, voicings, strict=True):
        for step in steps:
            if step < bar.meter.steps:
                accent = 0.1 * bar.meter.weights[step]
                for pitch in pitches:
                    yield Step(bar.start + step, length, pitch, strength + accent)


def pad(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Sustained chords, one per bar."""
    centre = int(rng.choice([58, 62, 67]))
    for bar, pitches in zip(bars, _voicings(bars, instrument, centre), strict=True):
        for pitch in pitches:
            yield Step(bar.start, bar.meter.steps * 1.02, pitch, 0.7)


def strum(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Guitar chords in a pattern of eighths; the strings sound one after the other."""
    played = {step for step in bars[0].meter.eighths if rng.random() < 0.55 * frame.density}
    played |= set(bars[0].meter.beat_starts)
    for bar, pitches in zip(bars, _voicings(bars, instrument, 60), strict=True):
        strings = [*pitches, within(pitches[0] + 12, instrument.low, instrument.high)]
        for step in sorted(played):
            down = step in bar.meter.beat_starts
            for number, pitch in enumerate(strings if down else strings[::-1]):
                yield Step(bar.start + step + 0.08 * number, 2.6, pitch, 0.8 if down else 0.6)


def scratch(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Short, high sixteenths of a funk guitar, in a constant pattern."""
    played = np.flatnonzero(rng.random(bars[0].meter.steps) < 0.6)
    yield from _chords(bars, _voicings(bars, instrument, 69), [int(step) for step in played], 0.6, 0.7)


def power_chords(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Root, fifth and octave on a distorted guitar."""
    meter = bars[0].meter
    steps: Sequence[int] = POWER_STEPS[int(rng.integers(len(POWER_STEPS)))]
    if frame.energy > 0.9:
        steps = meter.eighths if rng.random() < 0.6 or meter.compound else GALLOP_STEPS
    long = frame.energy < 0.9 and rng.random() < 0.4
    for bar in bars:
        root = within(nearest(bar.root % 12, 43), instrument.low, instrument.high)
        for step in steps if not long else (0, meter.steps // 2):
            for pitch in (root, root + 7, root + 12):
                accent = 0.2 if step in meter.beat_starts else 0.0
                yield Step(bar.start + step, meter.steps / 2 if long else 1.6, pitch, 0.75 + accent)


def comping(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Two to four mostly short chords a bar, on random eighths after the downbeat."""
    for bar, pitches in zip(bars, _voicings(bars, instrument, 62), strict=True):
        places = [step for step in bar.meter.eighths if step]
        number = int(np.clip(round(3 * frame.density), 2, 4))
        for step in sorted(int(step) for step in rng.choice(places, size=number, replace=False)):
            long = rng.random() < 0.3
            for pitch in pitches:
                yield Step(bar.start + step, 3.5 if long else 1.4, pitch, 0.65)


def stabs(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Short chords on a few steps of every bar."""
    steps = STAB_STEPS[int(rng.integers(len(STAB_STEPS)))]
    yield from _chords(bars, _voicings(bars, instrument, 64), steps, 1.5, 0.8)


def skank(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """The short chords of reggae, between the beats."""
    yield from _chords(bars, _voicings(bars, instrument, 66), (2, 6, 10, 14), 0.9, 0.8)


def oompah(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Short chords on the weak beats: the second of a march, the second and third of a waltz."""
    starts = bars[0].meter.beat_starts
    weak = starts[1:] if len(starts) == 3 else starts[1::2]
    yield from _chords(bars, _voicings(bars, instrument, 62), weak, 1.6, 0.75)


def march_chords(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """The tango piano: short chords on all four beats."""
    yield from _chords(bars, _voicings(bars, instrument, 58), bars[0].meter.beat_starts, 1.2, 0.75)


def bossa_guitar(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Chords in the syncopated rhythm of the bossa nova."""
    yield from _chords(bars, _voicings(bars, instrument, 61), BOSSA_STEPS, 2.2, 0.7)


def arpeggio(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Broken chords, up and down, that ring on."""
    for bar, pitches in zip(bars, _voicings(bars, instrument, int(rng.choice([60, 66]))), strict=True):
        upper = [within(pitch + 12, instrument.low, instrument.high) for pitch in pitches[:2]]
        rising = sorted({*pitches, *upper})
        wave = rising + rising[-2:0:-1]
        for number, step in enumerate(range(0, bar.meter.steps, frame.subdivision)):
            accent = 0.15 * bar.meter.weights[step]
            yield Step(bar.start + step, 3.0, wave[number % len(wave)], 0.65 + accent)


def alberti(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """The classical left hand: low, high, middle, high."""
    for bar, pitches in zip(bars, _voicings(bars, instrument, 55), strict=True):
        low, middle, high = pitches[0], pitches[len(pitches) // 2], pitches[-1]
        figure = (low, high, middle, high)
        for number, step in enumerate(bar.meter.eighths):
            yield Step(bar.start + step, 2.0, figure[number % 4], 0.6 + 0.15 * bar.meter.weights[step])


def banjo_roll(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Sixteenths in groups of three across the beat, with the high fifth string as a drone."""
    for bar, pitches in zip(bars, _voicings(bars, instrument, 60), strict=True):
        figure = (pitches[0], pitches[-1], 67 + (bar.root % 2) * 2)
        for step in range(bar.meter.steps):
            yield Step(bar.start + step, 1.6, figure[step % 8 % 3], 0.85 if step % 4 == 0 else 0.65)


def montuno(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """The salsa piano: a syncopated figure in octaves."""
    for bar, pitches in zip(bars, _voicings(bars, instrument, 62), strict=True):
        for number, step in enumerate(MONTUNO_STEPS):
            pitch = pitches[(0, 2, 1, 2, 0, 1, 2)[number] % len(pitches)]
            yield Step(bar.start + step, 1.5, pitch, 0.8)
            yield Step(bar.start + step, 1.5, pitch + 12, 0.8)


def boogie(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """The blues guitar: the root with fifth and sixth in turn, in a long-short rhythm."""
    for bar in bars:
        root = within(nearest(bar.root % 12, 46), instrument.low, instrument.high)
        for number, step in enumerate(bar.meter.beat_starts):
            for start, length in ((step, 3.5), (step + 4, 1.6)):
                yield Step(bar.start + start, length, root, 0.7)
                yield Step(bar.start + start, length, root + (9 if number % 2 else 7), 0.7)


def drone(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Tonic and fifth throughout. They are held, or plucked in turn as on a tanpura."""
    low = within(nearest(frame.tonic, 50), instrument.low, instrument.high)
    for bar in bars:
        if instrument.decay is None:
            for pitch in (low, low + 7):
                yield Step(bar.start, bar.meter.steps * 1.02, pitch, 0.7)
        else:
            for number, step in enumerate(bar.meter.beat_starts):
                yield Step(bar.start + step, 6.0, low + (7, 12, 12, 0)[number % 4], 0.7)


def sequence(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """A sequencer: it repeats one bar of sixteenths from the scale."""
    scale = frame.mode.melody
    degrees = [int(degree) for degree in rng.integers(0, len(scale) + 3, size=16)]
    silent = rng.random(16) < 0.35
    tonic = within(nearest(frame.tonic, 60), instrument.low, instrument.high - 20)
    for bar in bars:
        for step in range(bar.meter.steps):
            if not silent[step % 16]:
                pitch = tonic + interval(scale, degrees[step % 16])
                yield Step(bar.start + step, 0.8, within(pitch, instrument.low, instrument.high), 0.75)


def drum_roll(frame: Frame, bars: Sequence[Bar], instrument: Instrument, rng: np.random.Generator) -> Iterator[Step]:
    """Timpani: the root on downbeats, and a crescendo roll into each new section."""
    for bar in bars:
        pitch = within(nearest(bar.root % 12, 43), instrument.low, instrument.high)
        yield Step(bar.start, 4, pitch, 0.9)
        if bar.section_end:
            first = bar.meter.steps // 2
            for step in range(first, bar.meter.steps):
                yield Step(bar.start + step, 1.5, pitch, 0.4 + 0.5 * (step - first) / (bar.meter.steps - first))
