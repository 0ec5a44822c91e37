"""A piece of music as data: compose.py writes it, render.py plays it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tagscale.synth.meter import Meter
from tagscale.synth.theory import Mode


class Step(NamedTuple):
    """A note on the grid: start and length in sixteenth-note steps, strength in 0..1."""

    start: float
    length: float
    pitch: int
    strength: float


class Note(NamedTuple):
    """A note in time: seconds from the start of the excerpt (negative before it), strength in 0..1."""

    start: float
    seconds: float
    pitch: int
    strength: float


class Stroke(NamedTuple):
    """A drum stroke in time."""

    start: float
    drum: str
    strength: float


@dataclass(frozen=True)
class Bar:
    """One bar: its place on the grid and its harmony."""

    number: int
    start: int  # in steps
    meter: Meter
    chord: tuple[int, ...]  # root first; the tonic's pitch class plus semitones above the tonic
    next_root: int  # root of the following bar's chord
    section_end: bool

    @property
    def root(self) -> int:
        return self.chord[0]


@dataclass(frozen=True)
class Frame:
    """The musical settings that all players of a piece share."""

    meter: Meter
    mode: Mode
    tonic: int  # pitch class
    bpm: float
    energy: float  # 0 calm to 1 wild
    density: float  # the artist's factor on the number of notes, about 1

    @property
    def subdivision(self) -> int:
        """Steps between the notes of running figures: 2 for eighths, 1 for sixteenths in slower music."""
        return 1 if self.bpm * (0.5 + self.energy) < 90 and not self.meter.compound else 2


@dataclass(frozen=True)
class Playing:
    """One player's notes."""

    role: str
    instrument: str
    program: int  # General MIDI, from 0
    notes: Sequence[Note]
    onsets: Sequence[int]  # steps; labels.py measures syncopation on them


@dataclass(frozen=True)
class Song:
    """The excerpt of one piece."""

    style: str
    frame: Frame
    mode: str
    swing: float
    progression: Sequence[int]
    sevenths: bool
    pattern: str | None  # key of rhythms.PATTERNS; None: no drums
    kit: str  # key of instruments.KITS
    playings: Sequence[Playing]
    strokes: Sequence[Stroke]
    drum_onsets: Sequence[int]
    seconds: float
