"""The shaping of a held recording into a note: decay, vibrato, breath, and the vowels of a singing voice.

Shape of every sound here: (samples,), float32, at RENDER_RATE.
"""

import numpy as np
import scipy.fft
import scipy.signal

from tagscale.synth.instruments import Instrument

RENDER_RATE = 32_000  # Hz; twice the rate of the corpus, so that most aliases of the sampler fall outside it
FORMANTS = {  # Hz, of a male voice
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (290, 2190, 2910),
    "o": (500, 880, 2540),
    "u": (330, 800, 2340),
}
FORMANT_WIDTHS = (90.0, 120.0, 170.0)  # Hz
FORMANT_GAINS = (1.0, 0.6, 0.35)
FEMALE_FORMANTS = 1.17  # a shorter throat: all formants lie higher
VIBRATO_RATE = 5.5  # Hz
VIBRATO_DELAY = 0.25  # seconds until the vibrato reaches its depth
SPEECH_FALL = 150.0  # cents per 0.1 s by which the pitch of a spoken syllable falls


def decayed(tone: np.ndarray, pitch: int, seconds: float) -> np.ndarray:
    """Decay a plucked or struck note by 20 dB in `seconds` (at middle C), its overtones twice as fast."""
    here = seconds * 2 ** ((60 - pitch) / 24)
    envelope = np.power(10.0, -np.arange(len(tone), dtype=np.float32) / np.float32(here * RENDER_RATE))
    dull = scipy.signal.lfilter([0.15], [1, -0.85], tone).astype(np.float32)
    return dull * envelope + (tone - dull) * envelope**2


def swelled(tone: np.ndarray, seconds: float) -> np.ndarray:
    """Swell a bowed or slowly opened note to its loudness in `seconds`."""
    count = min(len(tone), round(seconds * RENDER_RATE))
    result = tone.copy()
    result[:count] *= np.sin(np.linspace(0, np.pi / 2, count, dtype=np.float32)) ** 2
    return result


def rung(stroke: np.ndarray, seconds: float) -> np.ndarray:
    """Decay a drum stroke by 20 dB in `seconds`."""
    return stroke * np.power(10.0, -np.arange(len(stroke), dtype=np.float32) / np.float32(seconds * RENDER_RATE))


def vibrato(tone: np.ndarray, cents: float) -> np.ndarray:
    """Sway the pitch of a tone by `cents` up and down."""
    time = np.arange(len(tone), dtype=np.float32) / RENDER_RATE
    depth = cents / 1200 * np.log(2) / (2 * np.pi * VIBRATO_RATE)
    growth = np.minimum(time / VIBRATO_DELAY, 1.0)
    return _read_at(tone, time + growth * depth * np.sin(2 * np.pi * VIBRATO_RATE * time))


def spoken(tone: np.ndarray) -> np.ndarray:
    """Give a tone the falling pitch of a spoken syllable."""
    time = np.arange(len(tone), dtype=np.float32) / RENDER_RATE
    slope = SPEECH_FALL / 0.1 / 1200 * np.log(2)
    return _read_at(tone, time - slope / 2 * np.minimum(time, 0.15) ** 2)


def _read_at(tone: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Read a tone at the given times by linear interpolation."""
    return np.interp(seconds * RENDER_RATE, np.arange(len(tone)), tone).astype(np.float32)


def vowel(source: np.ndarray, name: str, voice: str) -> np.ndarray:
    """Filter a harmonic-rich source like the throat of a "male" or "female" singer (source-filter model)."""
    size = scipy.fft.next_fast_len(len(source), real=True)
    hertz = np.fft.rfftfreq(size, 1 / RENDER_RATE).astype(np.float32)
    throat = np.full(len(hertz), 0.02, np.float32)
    scale = FEMALE_FORMANTS if voice == "female" else 1.0
    for centre, width, gain in zip(FORMANTS[name], FORMANT_WIDTHS, FORMANT_GAINS, strict=True):
        throat += gain / (1 + ((hertz - centre * scale) / width) ** 2)
    spectrum = scipy.fft.rfft(source, size) * throat
    shaped = scipy.fft.irfft(spectrum, size)[: len(source)]
    return (shaped * (np.std(source) / (np.std(shaped) + 1e-9))).astype(np.float32)


def breath(tone: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Add a burst of air at the start of a tone: consonants of a voice, chiff of a flute."""
    count = min(len(tone), round(0.07 * RENDER_RATE))
    air = np.diff(rng.standard_normal(count + 1, dtype=np.float32)) * np.hanning(count).astype(np.float32)
    result = tone.copy()
    result[:count] += 0.5 * strength * np.float32(np.std(tone)) * air
    return result


def rough(tone: np.ndarray, grit: float, rng: np.random.Generator) -> np.ndarray:
    """Make a voice hoarse: irregular swings of loudness, and overtones from overdrive."""
    slow = rng.standard_normal(len(tone) // 400 + 2)
    swings = np.interp(np.arange(len(tone)), np.arange(len(slow)) * 400.0, slow).astype(np.float32)
    level = np.float32(np.std(tone) + 1e-9)
    return np.tanh(tone / level * (1 + 4.0 * grit) * (1 + 0.9 * grit * swings)) * level


def tone_of(
    held: np.ndarray, pitch: int, instrument: Instrument, vowel_name: str, grit: float, rng: np.random.Generator
) -> np.ndarray:
    """Shape a held recording into a note of an instrument."""
    tone = held
    if instrument.attack:
        tone = swelled(tone, instrument.attack)
    if instrument.decay is not None:
        tone = decayed(tone, pitch, instrument.decay)
    if instrument.vibrato:
        tone = vibrato(tone, instrument.vibrato)
    if instrument.voice is not None:
        tone = vowel(tone, vowel_name, instrument.voice)
        if not instrument.vibrato:
            tone = spoken(tone)
        if grit:
            tone = rough(tone, grit, rng)
    if instrument.breath:
        tone = breath(tone, instrument.breath, rng)
    return tone
