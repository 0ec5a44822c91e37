import numpy as np
import pytest

from tagscale.synth.instruments import INSTRUMENTS, KITS
from tagscale.synth.meter import METERS
from tagscale.synth.render import Sampler, stems
from tagscale.synth.repertoire import STYLES
from tagscale.synth.rhythms import PATTERNS
from tagscale.synth.score import Frame, Note, Playing, Song
from tagscale.synth.theory import MODES
from tagscale.synth.tone import RENDER_RATE, breath, decayed, vibrato, vowel


def song_with(instrument, notes, seconds=2.0, program=None):
    program = INSTRUMENTS[instrument].programs[0] if program is None else program
    frame = Frame(METERS["4/4"], MODES["major"], 0, 120, 0.5, 1.0)
    playing = Playing("melody", instrument, program, notes, [0])
    return Song("soft_rock", frame, "major", 0.5, [0], False, None, "standard", [playing], [], [], seconds)


def stem_of(sampler, song, speed=1.0):
    return next(iter(stems(song, sampler, speed, 0.0, np.random.default_rng(0))))[1]


def level(sound):
    return float(np.sqrt(np.mean(sound**2)))


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_every_pitch_of_an_instrument_sounds(sampler, name):
    instrument = INSTRUMENTS[name]
    for program in instrument.programs:
        tones = sampler.tones(program, dict.fromkeys(range(instrument.low, instrument.high + 1), 0.2))
        silent = [pitch for pitch, tone in tones.items() if level(tone) < 0.005]
        assert not silent, f"program {program}"


@pytest.mark.parametrize("name", ["string_ensemble", "trumpet", "synth_pad"])
def test_a_tone_does_not_depend_on_what_memory_holds(soundfont, name):
    instrument = INSTRUMENTS[name]
    wanted = dict.fromkeys(range(instrument.low, instrument.high + 1, 3), 4.0)
    first = Sampler(soundfont).tones(instrument.programs[0], wanted)
    for size in (30_000, 300_000):
        litter = [np.full(size + number, 50, np.float32) for number in range(8)]
        del litter
        again = Sampler(soundfont).tones(instrument.programs[0], wanted)
        assert all((again[pitch] == first[pitch]).all() for pitch in wanted)


@pytest.mark.parametrize("name", KITS)
def test_every_drum_of_a_kit_sounds(sampler, name):
    kit = KITS[name]
    played = {
        drum for style in STYLES.values() if name in style.kits for key in style.drums for drum in PATTERNS[key].rows
    }
    for drum in played | {"tom_high", "tom_mid", "tom_low", "crash"}:
        stroke = sampler.tones(kit.program, {kit.drum(drum).key: 0.2}, drums=True)[kit.drum(drum).key]
        loud = np.abs(stroke) > 0.02 * np.abs(stroke).max()
        assert np.flatnonzero(loud)[-1] > 0.02 * RENDER_RATE, f"{drum} is a click"


def test_a_note_has_the_pitch_asked_for(sampler):
    stem = stem_of(sampler, song_with("flute", [Note(0.0, 2.0, 69, 1.0)]))
    spectrum = np.abs(np.fft.rfft(stem * np.hanning(len(stem))))
    assert np.fft.rfftfreq(len(stem), 1 / RENDER_RATE)[spectrum.argmax()] == pytest.approx(440, rel=0.01)


def test_notes_begin_and_end_when_they_should(sampler):
    stem = stem_of(sampler, song_with("organ", [Note(0.5, 0.5, 60, 1.0)]))
    at = lambda start, end: level(stem[int(start * RENDER_RATE) : int(end * RENDER_RATE)])  # noqa: E731
    assert at(0.0, 0.49) == 0
    assert at(0.55, 0.95) > 0.05
    assert at(1.1, 2.0) == 0


def test_a_note_that_began_before_the_excerpt_is_heard_from_its_middle(sampler):
    whole = stem_of(sampler, song_with("organ", [Note(0.0, 1.5, 60, 1.0)]))
    late = stem_of(sampler, song_with("organ", [Note(-0.5, 1.5, 60, 1.0)]))
    half = RENDER_RATE // 2
    assert np.allclose(late[:half], whole[half : 2 * half], atol=1e-6)


def test_strength_is_loudness(sampler):
    soft, loud = (stem_of(sampler, song_with("piano", [Note(0.0, 1.0, 60, strength)])) for strength in (0.3, 1.0))
    assert level(loud) > 4 * level(soft)


def test_tuning_stretches_time_and_keeps_the_notes_pitch(sampler):
    song = song_with("organ", [Note(1.0, 0.5, 60, 1.0)])
    stem = stem_of(sampler, song, speed=1.01)
    assert len(stem) == round(2.0 * 1.01 * RENDER_RATE)
    assert np.flatnonzero(stem)[0] >= round(1.01 * RENDER_RATE)


def test_plucked_notes_decay_and_overtones_faster():
    time = np.arange(RENDER_RATE) / RENDER_RATE
    low, high = (np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (200, 6000))
    ratios = [level(tone[-3200:]) / level(tone[:3200]) for tone in (decayed(low, 60, 1.0), decayed(high, 60, 1.0))]
    assert 0.05 < ratios[0] < 0.25
    assert ratios[1] < ratios[0] / 2


def test_vibrato_sways_around_the_pitch():
    time = np.arange(2 * RENDER_RATE) / RENDER_RATE
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    swaying = vibrato(tone, 50)
    periods = np.diff(np.flatnonzero((swaying[:-1] < 0) & (swaying[1:] >= 0)))[300:700]
    assert RENDER_RATE / periods.max() < 440 < RENDER_RATE / periods.min()


def test_vowels_differ_and_women_have_higher_formants():
    pulses = np.zeros(RENDER_RATE, np.float32)
    pulses[:: RENDER_RATE // 200] = 1.0
    hertz = np.fft.rfftfreq(RENDER_RATE, 1 / RENDER_RATE)

    def centre(sound):
        power = np.abs(np.fft.rfft(sound)[hertz < 4000]) ** 2
        return float((power * hertz[hertz < 4000]).sum() / power.sum())

    assert centre(vowel(pulses, "i", "male")) > 1.2 * centre(vowel(pulses, "o", "male"))
    assert centre(vowel(pulses, "a", "female")) > centre(vowel(pulses, "a", "male"))


def test_breath_is_at_the_beginning_alone():
    tone = np.sin(np.arange(RENDER_RATE) / 20).astype(np.float32)
    difference = breath(tone, 1.0, np.random.default_rng(0)) - tone
    assert level(difference[:2000]) > 0.1
    assert level(difference[3000:]) == 0


def test_every_instrument_plays_what_is_written(soundfont):
    """The strongest partial of a tone is a harmonic of it or of the octave below (organs), to a third of a semitone."""
    ratios = 12 * np.log2([0.5, 1.5, *range(1, 17)])
    for name, instrument in INSTRUMENTS.items():
        pitch = (instrument.low + instrument.high) // 2
        for program in set(instrument.programs) - {21, 47}:  # an accordion's reeds are apart, a drum has no harmonics
            tone = Sampler(soundfont).tones(program, {pitch: 1.0})[pitch][4000:]
            spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone)), 1 << 17))
            partial = 69 + 12 * np.log2(spectrum.argmax() * RENDER_RATE / (1 << 17) / 440)
            assert np.abs(partial - pitch - ratios).min() < 0.34, (name, program, partial - pitch)
