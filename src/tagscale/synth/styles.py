"""The shape of a style: what a piece of it is made of. The styles themselves are in repertoire.py."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Part:
    """One player of the band: what it does, on which of some instruments, and how likely it is there at all."""

    role: str  # a function of basslines.py, accompaniment.py or melodies.py
    instruments: tuple[str, ...]
    chance: float = 1.0


def part(role: str, instruments: str, chance: float = 1.0) -> Part:
    """A part with its instruments as one string of names.

    >>> part("pad", "organ choir").instruments
    ('organ', 'choir')
    """
    return Part(role, tuple(instruments.split()), chance)


@dataclass(frozen=True)
class Studio:
    """How records of a style sound: usual amounts of reverb and drive, chances of the rest, all in [0, 1]."""

    reverb: float
    drive: float
    lo_fi: float = 0.05
    live: float = 0.12
    echo: float = 0.0  # chance of an echo on the dotted eighth


@dataclass(frozen=True)
class Style:
    """A subgenre: ranges and weighted choices from which compose.py draws one piece."""

    genre: str
    bpm: tuple[float, float]  # what the meter's pulse counts: quarters, dotted quarters in compound meters
    modes: dict[str, float]  # keys of theory.MODES -> weight
    progressions: str  # key of theory.PROGRESSIONS
    parts: tuple[Part, ...]
    energy: float  # 0 calm to 1 wild: subdivision, loudness of strokes, number of fills
    studio: Studio
    drums: tuple[str, ...] = ()  # keys of rhythms.PATTERNS; those of the meter at hand are drawn from; () no drums
    kits: tuple[str, ...] = ("standard", "room")
    meters: dict[str, float] = field(default_factory=lambda: {"4/4": 1.0})
    swing: float = 0.5  # share of a pair of notes that the first takes
    swing_unit: int = 2  # 2: eighths swing, 1: sixteenths
    sevenths: bool = False  # chords of four notes
    singing: float = 0.0  # chance of a singer
    rap: float = 0.0  # chance of a rapper
