"""Artists with habits: styles, instruments, keys, tempo, singer and record sound.

Tracks of one artist share these habits, as real tracks do. A split with one artist on both sides therefore overrates a
model. Every generator depends only on the seed, a `Purpose` and one number: artist 12 is the same in a corpus of 20
artists and in one of 200.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from tagscale.synth import names
from tagscale.synth.instruments import INSTRUMENTS, SINGERS
from tagscale.synth.repertoire import STYLES


class Purpose(IntEnum):
    """Second word of every random generator's seed. Each purpose has its own random numbers."""

    ARTIST = 1
    MAIN_STYLE = 2
    POPULARITY = 3
    TRACK_ARTIST = 4
    COMPOSITION = 5
    PRODUCTION = 6
    LABEL_NOISE = 7


def generator(seed: int, purpose: Purpose, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, int(purpose), number])


@dataclass(frozen=True)
class Sound:
    """How a record deviates from the typical sound of its style."""

    reverb: float = 0.0  # added to the style's amounts
    drive: float = 0.0
    lo_fi: float = 0.0  # added to the style's chances
    live: float = 0.0
    tilt: float = 0.0  # dB per octave
    loudness: float = 0.0  # dB


@dataclass(frozen=True)
class Album:
    title: str
    sound: Sound


@dataclass(frozen=True)
class Artist:
    """The habits of one artist. The artist's tracks vary around them."""

    number: int
    name: str
    styles: tuple[str, ...]
    style_weights: tuple[float, ...]
    albums: tuple[Album, ...]
    tempo: float  # place in the style's range of tempi, 0 slow to 1 fast
    tonic: int  # favourite key
    keys: int  # the tonics of tracks lie up to keys - 1 fifths from it
    density: float  # factor on the number of notes
    looseness: float  # standard deviation of note onsets, seconds
    tuning: float  # factor on pitch: 1 is A at 440 Hz
    singer: str  # female_voice or male_voice
    voice: float  # added to a style's chance of a singer
    grit: float  # how hoarse the singer is: 0, or 0.6 to 1
    instrument_weights: dict[str, float]
    programs: dict[str, int]  # preferred General MIDI program of each instrument


def main_style(number: int, seed: int) -> str:
    """The main style of an artist. Artists take turns through shuffled rounds of all styles."""
    rounds, place = divmod(number, len(STYLES))
    return list(STYLES)[int(generator(seed, Purpose.MAIN_STYLE, rounds).permutation(len(STYLES))[place])]


def make_artist(number: int, seed: int) -> Artist:
    """Artist `number` (from 0) of a seed."""
    rng = generator(seed, Purpose.ARTIST, number)
    first = main_style(number, seed)
    related = [name for name in STYLES if name != first and STYLES[name].genre == STYLES[first].genre]
    styles = [first]
    if related and rng.random() < 0.45:
        styles.append(str(rng.choice(related)))
    if rng.random() < 0.2:
        styles.append(str(rng.choice([name for name in STYLES if name not in styles])))
    weights = np.array([0.75, 0.25, 0.2][: len(styles)])
    albums = tuple(Album(names.title(rng), _sound(rng)) for _ in range(int(rng.integers(1, 4))))
    return Artist(
        number=number,
        name=names.artist_name(number, seed),
        styles=tuple(styles),
        style_weights=tuple(float(weight) for weight in weights / weights.sum()),
        albums=albums,
        tempo=float(rng.beta(2, 2)),
        tonic=int(rng.integers(12)),
        keys=int(rng.integers(1, 5)),
        density=float(np.clip(rng.normal(1, 0.15), 0.6, 1.4)),
        looseness=float(np.clip(abs(rng.normal(0.006, 0.004)), 0.001, 0.02)),
        tuning=float(2 ** (rng.normal(0, 8) / 1200)),
        singer=SINGERS[int(rng.integers(2))],
        voice=float(rng.choice([-0.4, 0.0, 0.0, 0.25])),
        grit=float(rng.uniform(0.6, 1.0)) if rng.random() < 0.3 else 0.0,
        instrument_weights={name: float(rng.gamma(0.8)) + 0.05 for name in INSTRUMENTS},
        programs={name: int(rng.choice(instrument.programs)) for name, instrument in INSTRUMENTS.items()},
    )


def _sound(rng: np.random.Generator) -> Sound:
    return Sound(
        reverb=float(rng.normal(0, 0.12)),
        drive=float(rng.normal(0, 0.08)),
        lo_fi=float(rng.choice([-0.1, 0.0, 0.0, 0.35])),
        live=float(rng.choice([-0.2, 0.0, 0.0, 0.5])),
        tilt=float(rng.normal(0, 0.9)),
        loudness=float(rng.normal(0, 2.5)),
    )


def artist_of_track(number: int, artists: int, seed: int) -> int:
    """The artist of track `number` (from 0). Each artist has one of the first tracks; popular artists have more later.

    >>> sorted(artist_of_track(number, artists=4, seed=1) for number in range(4))
    [0, 1, 2, 3]
    """
    if number < artists:
        return number
    popularity = generator(seed, Purpose.POPULARITY, 0).lognormal(0.0, 0.55, size=artists)
    share = np.cumsum(popularity) / popularity.sum()
    return int(np.searchsorted(share, generator(seed, Purpose.TRACK_ARTIST, number).random()))
