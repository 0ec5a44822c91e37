"""Pitch: modes, chords and voice leading. Pitches are MIDI numbers (60 is middle C), intervals semitones."""

from collections.abc import Sequence
from dataclasses import dataclass

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
MIXOLYDIAN = (0, 2, 4, 5, 7, 9, 10)


@dataclass(frozen=True)
class Mode:
    """A scale for melodies, a scale for chords, and the tag that a listener gives them."""

    melody: tuple[int, ...]  # intervals above the tonic
    harmony: tuple[int, ...]  # seven intervals; chords stack thirds of them
    tag: str  # one of the mutually exclusive harmonic tags
    valence: float  # how bright the mode feels: -1 dark to 1 bright
    dominant: bool = False  # every chord is a dominant seventh chord, as in the blues

    def chord(self, degree: int, size: int = 3) -> tuple[int, ...]:
        """Semitones of a chord above the tonic, root first.

        >>> MODES["blues"].chord(3, 4)
        (5, 9, 12, 15)
        """
        if self.dominant:
            root = interval(self.harmony, degree)
            return tuple(root + step for step in (0, 4, 7, 10)[:size])
        return thirds(self.harmony, degree, size)


MODES = {
    "major": Mode(MAJOR, MAJOR, "major", 1.0),
    "minor": Mode(MINOR, MINOR, "minor", -0.6),
    "harmonic_minor": Mode((0, 2, 3, 5, 7, 8, 11), (0, 2, 3, 5, 7, 8, 11), "minor", -0.8),
    "dorian": Mode((0, 2, 3, 5, 7, 9, 10), (0, 2, 3, 5, 7, 9, 10), "modal", -0.1),
    "mixolydian": Mode(MIXOLYDIAN, MIXOLYDIAN, "modal", 0.5),
    "phrygian": Mode((0, 1, 3, 5, 7, 8, 10), (0, 1, 3, 5, 7, 8, 10), "modal", -1.0),
    "major_pentatonic": Mode((0, 2, 4, 7, 9), MAJOR, "pentatonic", 0.6),
    "japanese": Mode((0, 2, 3, 7, 8), MINOR, "pentatonic", -0.2),  # hirajoshi
    "blues": Mode((0, 3, 5, 6, 7, 10), MIXOLYDIAN, "blues_scale", -0.1, dominant=True),
}

# Chord degrees, one per bar; 0 is the tonic. Most kinds have one list for major modes and one for minor modes.
PROGRESSIONS: dict[str, dict[str, list[list[int]]]] = {
    "pop": {
        "major": [[0, 4, 5, 3], [0, 5, 3, 4], [5, 3, 0, 4], [0, 3, 4, 3]],
        "minor": [[0, 5, 2, 6], [0, 3, 5, 4], [0, 6, 5, 6], [0, 5, 3, 4]],
    },
    "rock": {
        "major": [[0, 3, 4, 4], [0, 4, 3, 0], [0, 3, 0, 4], [0, 0, 3, 4]],
        "minor": [[0, 5, 6, 0], [0, 2, 6, 5], [0, 6, 5, 4], [0, 0, 5, 6]],
    },
    "jazz": {
        "major": [[1, 4, 0, 5], [0, 5, 1, 4], [2, 5, 1, 4], [0, 3, 2, 5]],
        "minor": [[1, 4, 0, 0], [0, 3, 1, 4], [5, 1, 4, 0]],
    },
    "classical": {
        "major": [[0, 4, 5, 2, 3, 0, 3, 4], [0, 3, 4, 0], [0, 1, 4, 0], [0, 5, 1, 4]],
        "minor": [[0, 3, 4, 0], [0, 5, 1, 4], [0, 3, 6, 2, 5, 1, 4, 0]],
    },
    "blues": {"any": [[0, 0, 0, 0, 3, 3, 0, 0, 4, 3, 0, 4], [0, 3, 0, 0, 3, 3, 0, 0, 4, 3, 0, 4]]},
    "vamp": {"any": [[0, 0, 3, 3], [0, 3, 0, 3], [0, 0, 6, 6], [0, 6, 0, 6]]},
    "static": {"any": [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 6]]},
}


def progressions(kind: str, mode: Mode) -> list[list[int]]:
    """The progressions of a kind that suit a mode. Modes with a minor third take the list for "minor".

    >>> progressions("pop", MODES["dorian"]) == PROGRESSIONS["pop"]["minor"]
    True
    """
    lists = PROGRESSIONS[kind]
    return lists["any"] if "any" in lists else lists["minor" if mode.harmony[2] == 3 else "major"]


def interval(scale: Sequence[int], degree: int) -> int:
    """Semitones of a scale degree above the tonic; degrees continue over the octaves in both directions.

    >>> [interval(MAJOR, degree) for degree in (0, 2, 7, 9, -1)]
    [0, 4, 12, 16, -1]
    """
    octave, step = divmod(degree, len(scale))
    return 12 * octave + scale[step]


def thirds(scale: Sequence[int], degree: int, size: int = 3) -> tuple[int, ...]:
    """Stacked thirds on a degree: semitones above the tonic, root first.

    >>> thirds(MAJOR, 4, 4)  # the dominant seventh chord
    (7, 11, 14, 17)
    """
    return tuple(interval(scale, degree + 2 * third) for third in range(size))


def nearest(pitch_class: int, target: int) -> int:
    """The pitch of a class nearest to a target, the upper one when two are equally near.

    >>> nearest(0, 64), nearest(11, 60), nearest(6, 60)
    (60, 59, 66)
    """
    above = (pitch_class - target) % 12
    return target + above if above <= 6 else target + above - 12


def voiced(chord_classes: Sequence[int], centre: int, before: Sequence[int] = ()) -> list[int]:
    """Pitches of a chord in close position near the previous chord and `centre`, lowest first.

    Each chord tone takes the octave nearest to the mean of `centre` and the previous chord, so voices move little.

    >>> voiced((0, 4, 7), 60)
    [55, 60, 64]
    >>> voiced((5, 9, 12), 60, before=[55, 60, 64])
    [57, 60, 65]
    """
    middle = centre if not before else round((sum(before) / len(before) + centre) / 2)
    return sorted({nearest(tone % 12, middle) for tone in chord_classes})


def within(pitch: int, low: int, high: int) -> int:
    """Move a pitch by octaves into [low, high]. The range must span an octave.

    >>> within(30, 48, 72), within(90, 48, 72), within(60, 48, 72)
    (54, 66, 60)
    """
    if pitch < low:
        return pitch + 12 * -((pitch - low) // 12)
    if pitch > high:
        return pitch - 12 * -((high - pitch) // 12)
    return pitch
