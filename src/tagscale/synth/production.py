"""From the players' sounds to a record: mix, drive, room, tone, noise and loudness.

All linear steps (room, echo, tone control, resampling from 32 to 16 kHz) are one multiplication of spectra. A track
therefore costs one long transform in each direction.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.signal

from tagscale import SAMPLE_RATE
from tagscale.synth.artists import Sound
from tagscale.synth.score import Playing, Song
from tagscale.synth.styles import Style
from tagscale.synth.tone import RENDER_RATE

LEVELS = {  # dB of each role in the mix; other roles have BASS_LEVEL or CHORDS_LEVEL
    "melody": 0.0, "jig_melody": 0.0, "sung_melody": 1.5, "rap": 2.5, "riff": -4.0, "counter_melody": -4.0,
    "sparse": -4.0, "pad": -6.0, "drone": -6.0, "power_chords": -4.0, "drum_roll": -3.0,
}  # fmt: skip
BASS_LEVEL = -2.5
CHORDS_LEVEL = -3.5
DRUMS_LEVEL = 0.0
LEVEL_SPREAD = 1.2  # standard deviation of the levels, dB
OVERSAMPLING = RENDER_RATE // SAMPLE_RATE
FRAME = 3_200  # samples at RENDER_RATE over which a player's level is measured (0.1 s)
SILENT = 10 ** (-30 / 20)  # amplitude against a player's loudest frame; quieter frames are pauses
CEILING = 0.97  # largest amplitude of a track
ECHO = 0.4  # amplitude of a repeat against the previous one
KNEE = 0.5  # amplitude above which the limiter bends


@dataclass(frozen=True)
class Treatment:
    """The production settings of one track, in 0..1 unless stated otherwise."""

    reverb: float
    drive: float
    lo_fi: float  # 0: full bandwidth
    crackle: bool
    live: bool
    echo: float  # seconds between repeats; 0: none
    tilt: float  # dB per octave
    loudness: float  # dBFS, root mean square


@dataclass(frozen=True)
class Share:
    """The share of one player in a mix."""

    playing: Playing | None  # None: the drums
    level: float  # dB, against the whole mix
    active: float  # seconds in which it sounds

    @property
    def power(self) -> float:
        """Share of the mix's power, 0 to 1."""
        return float(10 ** (self.level / 10))


def treatment(style: Style, sound: Sound, bpm: float, rng: np.random.Generator) -> Treatment:
    """Draw the treatment of a track from its style and the sound of its album."""
    studio = style.studio
    live = bool(rng.random() < studio.live + sound.live)
    reverb = studio.reverb + sound.reverb + float(rng.normal(0, 0.06))
    lo_fi = bool(rng.random() < studio.lo_fi + sound.lo_fi)
    echoing = bool(rng.random() < studio.echo)
    loudness = -21.0 + 7.0 * style.energy + sound.loudness + float(rng.normal(0, 1.0))
    return Treatment(
        reverb=float(np.clip(max(reverb, 0.5) if live else reverb, 0.0, 1.0)),
        drive=float(np.clip(studio.drive + sound.drive + rng.normal(0, 0.04), 0.0, 1.0)),
        lo_fi=float(rng.uniform(0.5, 1.0)) if lo_fi else 0.0,
        crackle=lo_fi and bool(rng.random() < 0.65),
        live=live,
        echo=0.75 * 60.0 / bpm if echoing else 0.0,
        tilt=float(np.clip(sound.tilt + rng.normal(0, 0.4), -2.5, 2.0)),
        loudness=float(np.clip(loudness, -30.0, -10.0)),
    )


def mixed(
    stems: Iterable[tuple[Playing | None, np.ndarray]], rng: np.random.Generator
) -> tuple[np.ndarray, list[Share]]:
    """Mix all players (of render.stems), each at the level of its role while it plays.

    Returns:
        the mix, and the share of each player in it

    Raises:
        ValueError: nothing sounds.
    """
    mix: np.ndarray | None = None
    measured = []
    for playing, stem in stems:
        frames = stem[: len(stem) // FRAME * FRAME].reshape(-1, FRAME)
        power = np.einsum("ij,ij->i", frames, frames) / FRAME
        sounding = power > power.max(initial=0.0) * SILENT**2
        if not power.max(initial=0.0) > 0:
            continue
        gain = 10 ** ((_level(playing) + float(rng.normal(0, LEVEL_SPREAD))) / 20) / np.sqrt(power[sounding].mean())
        mix = np.float32(gain) * stem if mix is None else mix + np.float32(gain) * stem
        active = float(sounding.sum() * FRAME / RENDER_RATE)
        measured.append((playing, gain**2 * float(power.mean()), active))
    if mix is None:
        raise ValueError("nothing sounds in this mix")
    whole = sum(power for _, power, _ in measured)
    levels = [float(10 * np.log10(power / whole + 1e-12)) for _, power, _ in measured]
    return mix, [Share(playing, level, active) for (playing, _, active), level in zip(measured, levels, strict=True)]


def _level(playing: Playing | None) -> float:
    if playing is None:
        return DRUMS_LEVEL
    if "bass" in playing.role or playing.role == "tumbao":
        return BASS_LEVEL
    return LEVELS.get(playing.role, CHORDS_LEVEL)


def produced(mix: np.ndarray, song: Song, treated: Treatment, rng: np.random.Generator) -> np.ndarray:
    """Produce the finished track from a mix.

    Shape: mix (samples,) at 32 kHz x tuning -> (seconds x 16 kHz,), float32, no sample above CEILING
    """
    count = round(song.seconds * SAMPLE_RATE)
    tuned = _at_speed(mix, count * OVERSAMPLING)
    track = _placed_in_room(_driven(tuned, treated.drive), count, treated, rng)
    if treated.lo_fi:
        track = _wow(track, 0.0006 * treated.lo_fi, rng)
    track = track / (np.sqrt(np.mean(track**2)) + 1e-12)
    track = track + _noise(count, treated, rng)
    return limited(track, treated.loudness)


def _at_speed(sound: np.ndarray, count: int) -> np.ndarray:
    """Resample a sound to `count` samples by linear interpolation."""
    return np.interp(np.linspace(0, len(sound), count, endpoint=False), np.arange(len(sound)), sound).astype(np.float32)


def _driven(mix: np.ndarray, drive: float) -> np.ndarray:
    """Overdrive the whole mix. A drive below 0.12 leaves it clean; 1 sounds like a fuzz box."""
    level = np.sqrt(np.mean(mix**2)) + 1e-12
    if drive < 0.12:
        return mix / np.float32(level)
    push = np.float32(0.4 + 5.0 * (drive - 0.12) ** 1.5)
    return np.tanh(mix / np.float32(level) * push) / push


def _placed_in_room(mix: np.ndarray, count: int, treated: Treatment, rng: np.random.Generator) -> np.ndarray:
    """Apply room, echo and tone control, and resample to 16 kHz."""
    impulse = _impulse(treated, rng)
    size = scipy.fft.next_fast_len(count + len(impulse), real=True)
    spectrum = scipy.fft.rfft(mix, OVERSAMPLING * size)[: size // 2 + 1]
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE).astype(np.float32)
    gain = scipy.fft.rfft(impulse, size) * _tone_control(hertz, treated)
    return scipy.fft.irfft(spectrum * gain, size)[:count].astype(np.float32)


def _impulse(treated: Treatment, rng: np.random.Generator) -> np.ndarray:
    """The impulse response of room and echo: the click, its echoes, and a dull tail of decaying noise."""
    seconds = 0.15 + 2.6 * treated.reverb**1.3
    count = round(seconds * SAMPLE_RATE)
    tail = rng.standard_normal(count, dtype=np.float32)
    tail *= np.exp(-6.9 * np.linspace(0, 1, count, dtype=np.float32))
    tail = scipy.signal.lfilter([0.35], [1, -0.65], tail).astype(np.float32)
    tail[: round((0.004 + 0.03 * treated.reverb) * SAMPLE_RATE)] = 0.0
    tail *= np.float32(0.9 * treated.reverb) / np.sqrt(np.sum(tail**2) + 1e-12)
    repeats = round(treated.echo * SAMPLE_RATE)
    impulse = np.zeros(count + 5 * repeats, np.float32)
    for number in range(6 if repeats else 1):
        impulse[number * repeats : number * repeats + count] += np.float32(ECHO**number) * tail
        impulse[number * repeats] += 1.0 - 0.45 * treated.reverb if number == 0 else ECHO**number
    return impulse


def _tone_control(hertz: np.ndarray, treated: Treatment) -> np.ndarray:
    """Gain over frequency: tilt around 1 kHz, a rumble filter, and the narrow band of old equipment."""
    top, bottom = 7_700.0, 28.0
    if treated.lo_fi:
        top, bottom = 4_600.0 - 2_400.0 * treated.lo_fi, 60.0 + 110.0 * treated.lo_fi
    octaves = np.log2(np.clip(hertz, 60.0, None) / 1_000.0)
    tilt = 10 ** (treated.tilt * octaves / 20)
    return tilt / np.sqrt(1 + (hertz / top) ** 10) / np.sqrt(1 + (bottom / np.clip(hertz, 1.0, None)) ** 6)


def _wow(track: np.ndarray, depth: float, rng: np.random.Generator) -> np.ndarray:
    """Vary the speed of a track like a turntable or a cassette player."""
    place = np.arange(len(track), dtype=np.float64)
    turns = rng.uniform(0.5, 1.2)
    swing = depth * SAMPLE_RATE / (2 * np.pi * turns) * np.sin(2 * np.pi * turns * place / SAMPLE_RATE)
    return np.interp(place + swing, place, track).astype(np.float32)


def _noise(count: int, treated: Treatment, rng: np.random.Generator) -> np.ndarray:
    """Hiss of old equipment, crackle of vinyl and an audience, for music of root mean square 1."""
    noise = np.zeros(count, np.float32)
    if treated.lo_fi:
        hiss = scipy.signal.lfilter([0.5, -0.3], [1, -0.2], rng.standard_normal(count, dtype=np.float32))
        noise += np.float32(10 ** ((-40 + 14 * treated.lo_fi) / 20)) * hiss.astype(np.float32)
    if treated.crackle:
        clicks = np.zeros(count, np.float32)
        places = rng.integers(0, count, size=round(18 * count / SAMPLE_RATE))
        clicks[places] = rng.standard_normal(len(places), dtype=np.float32) * rng.gamma(1.0, 0.8, size=len(places))
        noise += scipy.signal.lfilter([1.0, -0.5], [1, -0.7, 0.2], clicks).astype(np.float32)
    if treated.live:
        noise += np.float32(10 ** (-23 / 20)) * _audience(count, rng)
    return noise


def _audience(count: int, rng: np.random.Generator) -> np.ndarray:
    """Murmur that swells and ebbs, and scattered claps."""
    murmur = scipy.signal.lfilter([0.2, 0.0, -0.2], [1, -1.5, 0.62], rng.standard_normal(count, dtype=np.float32))
    points = rng.gamma(4.0, 0.25, size=count // (SAMPLE_RATE // 3) + 2)
    swell = np.interp(np.arange(count), np.arange(len(points)) * (SAMPLE_RATE // 3), points)
    claps = np.zeros(count, np.float32)
    places = rng.integers(0, count, size=round(25 * count / SAMPLE_RATE))
    claps[places] = rng.gamma(1.0, 6.0, size=len(places))
    clapping = scipy.signal.lfilter([1.0, -1.0], [1, -1.2, 0.6], claps)
    audience = murmur / (np.std(murmur) + 1e-9) * swell + 0.5 * clapping * swell
    return (audience / (np.std(audience) + 1e-9)).astype(np.float32)


def limited(track: np.ndarray, loudness: float) -> np.ndarray:
    """Set the loudness of a track (dBFS, root mean square) and bend its peaks below CEILING.

    >>> bool(np.abs(limited(np.array([0.0, 40.0, -3.0]), -6.0)).max() <= CEILING)
    True
    """
    gain = 10 ** (loudness / 20) / (np.sqrt(np.mean(track**2)) + 1e-12)
    loud = track * np.float32(gain)
    size = np.abs(loud)
    room = CEILING - KNEE
    bent = np.sign(loud) * (KNEE + room * np.tanh((size - KNEE) / room))
    return np.where(size > KNEE, bent, loud).astype(np.float32)
