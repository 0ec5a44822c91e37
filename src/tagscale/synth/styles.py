"""The fields of a style: the choices for its pieces. repertoire.py holds the styles themselves."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Part:
    """One player of the band: its role, its possible instruments, and the chance that it takes part."""

    role: str  # a function of basslines.py, accompaniment.py or melodies.py
    instruments: tuple[str, ...]
    chance: float = 1.0


def part(role: str, instruments: str, chance: float = 1.0) -> Part:
    """Make a part from one string of instrument names.

    >>> part("pad", "organ choir").instruments
    ('organ', 'choir')
    """
    return Part(role, tuple(instruments.split()), chance)


@dataclass(frozen=True)
class Studio:
    """The record sound of a style: typical reverb and drive, chances of the other effects, all in [0, 1]."""

    reverb: float
    drive: float
    lo_fi: float = 0.05
    live: float = 0.12
    echo: float = 0.0  # chance of an echo on the dotted eighth


@dataclass(frozen=True)
class Style:
    """A subgenre: the ranges and weighted choices from which compose.py draws a piece."""

    genre: str
    bpm: tuple[float, float]  # pulses per minute: quarters, dotted quarters in compound meters
    modes: dict[str, float]  # keys of theory.MODES -> weight
    progressions: str  # key of theory.PROGRESSIONS
    parts: tuple[Part, ...]
    energy: float  # 0 calm to 1 wild; sets subdivision, loudness of strokes, number of fills
    studio: Studio
    drums: tuple[str, ...] = ()  # keys of rhythms.PATTERNS; a piece takes one of its meter; (): no drums
    kits: tuple[str, ...] = ("standard", "room")
    meters: dict[str, float] = field(default_factory=lambda: {"4/4": 1.0})
    swing: float = 0.5  # share of the first note in a pair
    swing_unit: int = 2  # 2: eighths swing, 1: sixteenths
    sevenths: bool = False  # chords of four notes
    singing: float = 0.0  # chance of a singer
    rap: float = 0.0  # chance of a rapper
