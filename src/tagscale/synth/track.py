"""One track of the corpus, from its number to its samples and labels: a pure function of the recipe and the number."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tagscale.runtime.errors import TagscaleError
from tagscale.synth import names
from tagscale.synth.artists import Artist, Purpose, artist_of_track, generator, make_artist
from tagscale.synth.compose import compose
from tagscale.synth.labels import clean_labels
from tagscale.synth.production import mixed, produced, treatment
from tagscale.synth.render import Sampler, stems
from tagscale.synth.repertoire import STYLES
from tagscale.synth.score import Song


@dataclass(frozen=True)
class Track:
    """One track: its composition, samples and labels."""

    artist: Artist
    album: str
    title: str
    song: Song
    samples: np.ndarray  # (seconds x 16 kHz,), float32, within [-1, 1]
    labels: dict[str, float]  # without label noise


def make_track(
    number: int, seed: int, artists: int, seconds: float, soundfont: Path, style: str | None = None
) -> Track:
    """Compose, render, produce and label track `number` (from 0).

    Args:
        style: a key of `repertoire.STYLES`; None: one of the artist's styles

    Raises:
        TagscaleError: the soundfont plays none of the track's instruments.
    """
    rng = generator(seed, Purpose.COMPOSITION, number)
    artist = make_artist(artist_of_track(number, artists, seed), seed)
    chosen = artist.styles[int(rng.choice(len(artist.styles), p=artist.style_weights))]
    album = artist.albums[int(rng.integers(len(artist.albums)))]
    title = names.title(rng)
    song = compose(artist, style or chosen, seconds, rng)

    rng = generator(seed, Purpose.PRODUCTION, number)
    treated = treatment(STYLES[song.style], album.sound, song.frame.bpm, rng)
    try:
        mix, shares = mixed(stems(song, Sampler(soundfont), artist.tuning, artist.grit, rng), rng)
    except ValueError:
        raise TagscaleError(
            f"synth.soundfont: track {number + 1} ({song.style}) is silent: the soundfont plays none of its "
            "instruments. Expected a General MIDI soundfont; set synth.soundfont to one, or to null for the default."
        ) from None
    samples = produced(mix, song, treated, rng)
    return Track(artist, album.title, title, song, samples, clean_labels(song, shares, treated, artist.grit, samples))


def default_soundfont() -> Path:
    """The General MIDI soundfont inside the pretty_midi wheel. Raises TagscaleError where it is missing."""
    import importlib.util

    spec = importlib.util.find_spec("pretty_midi")
    path = Path(spec.origin).parent / "TimGM6mb.sf2" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise TagscaleError(
            "No soundfont: pretty_midi is not installed, or the default soundfont TimGM6mb.sf2 is missing from it. "
            "Install pretty_midi, or set synth.soundfont in params.yaml to a General MIDI .sf2 file."
        )
    return path
