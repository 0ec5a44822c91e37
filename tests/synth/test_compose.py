import numpy as np
import pytest

from tagscale.synth.artists import Purpose, generator, make_artist
from tagscale.synth.compose import compose, role_named
from tagscale.synth.instruments import DRUMS, INSTRUMENTS, KITS
from tagscale.synth.meter import METERS, swung, syncopation
from tagscale.synth.repertoire import STYLES
from tagscale.synth.rhythms import PATTERNS
from tagscale.synth.theory import MODES, PROGRESSIONS, progressions

SECONDS = 20.0


def song_of(style, number=0):
    return compose(make_artist(number, 1), style, SECONDS, generator(1, Purpose.COMPOSITION, number))


@pytest.mark.parametrize("style", STYLES)
def test_a_style_names_only_what_there_is(style):
    recipe = STYLES[style]
    for part in recipe.parts:
        assert role_named(part.role)
        assert set(part.instruments) <= set(INSTRUMENTS)
    assert set(recipe.modes) <= set(MODES)
    assert recipe.progressions in PROGRESSIONS
    assert set(recipe.kits) <= set(KITS)
    if recipe.drums:
        assert {PATTERNS[name].meter for name in recipe.drums} == set(recipe.meters)
    assert all(progressions(recipe.progressions, MODES[mode]) for mode in recipe.modes)
    assert 0 < recipe.bpm[0] < recipe.bpm[1]


def test_every_drum_pattern_is_played_in_some_style():
    assert {name for style in STYLES.values() for name in style.drums} == set(PATTERNS)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_drum_pattern_fits_its_meter(name):
    pattern = PATTERNS[name]
    for drum, row in pattern.rows.items():
        assert drum in DRUMS
        assert METERS[pattern.meter].steps % len(row.replace(" ", "")) == 0
        assert set(row) <= set("Xxo. ")


@pytest.mark.parametrize(
    ("name", "backbeat", "four", "half_time"),
    [
        ("rock", True, False, False),
        ("house", True, True, False),
        ("trap", False, False, True),
        ("bossa", False, False, False),
    ],
)
def test_what_is_noticed_about_a_pattern(name, backbeat, four, half_time):
    pattern = PATTERNS[name]
    assert (pattern.backbeat, pattern.four_on_the_floor, pattern.half_time) == (backbeat, four, half_time)


@pytest.mark.parametrize("style", STYLES)
def test_notes_lie_in_the_excerpt_and_in_the_instruments_ranges(style):
    for number in range(6):
        song = song_of(style, number)
        assert song.playings
        for playing in song.playings:
            instrument = INSTRUMENTS[playing.instrument]
            assert playing.program in instrument.programs
            for note in playing.notes:
                assert instrument.low <= note.pitch <= instrument.high, (playing.role, playing.instrument, note)
                assert note.start < SECONDS
                assert note.start + note.seconds > 0
                assert 0 < note.strength <= 1
        assert all(-1 < stroke.start < SECONDS + 0.1 for stroke in song.strokes)
        low, high = STYLES[style].bpm
        assert 0.8 * low <= song.frame.bpm <= high


def test_instruments_span_an_octave_below_the_pitch_at_which_the_sampler_hangs():
    for name, instrument in INSTRUMENTS.items():
        assert 24 <= instrument.low <= instrument.high - 12, name
        assert instrument.high <= 96, name


@pytest.mark.parametrize("style", ["soft_rock", "baroque", "salsa"])
def test_melodies_stay_in_the_mode_and_chords_in_the_harmony(style):
    song = song_of(style, 3)
    mode = song.frame.mode
    allowed = {(song.frame.tonic + step) % 12 for step in (*mode.melody, *mode.harmony)}
    walking = {"walking_bass", "march_bass", "riff_bass", "root_bass", "two_beat_bass", "tumbao"}
    for playing in song.playings:
        if playing.role not in walking:
            assert {note.pitch % 12 for note in playing.notes} <= allowed, playing.role


def test_bars_come_at_the_tempo():
    song = song_of("house", 1)
    kicks = np.array([stroke.start for stroke in song.strokes if stroke.drum == "kick"])
    assert np.median(np.diff(np.sort(kicks))) == pytest.approx(60 / song.frame.bpm, rel=0.02)


def test_composing_is_a_function_of_its_arguments():
    assert song_of("funk", 2) == song_of("funk", 2)
    assert song_of("funk", 2) != song_of("funk", 3)


def test_swing_delays_the_offbeat_only():
    assert swung(4, 0.66, 2) == 4
    assert swung(2, 0.66, 2) > 2
    assert all(swung(step, 0.5, 2) == step for step in range(16))


def test_offbeats_are_syncopated_and_beats_are_not():
    meter = METERS["4/4"]
    assert syncopation(range(0, 64, 4), meter) == 0
    assert syncopation(range(0, 64), meter) == 0  # every step played: no beat is left out
    assert syncopation(range(2, 64, 4), meter) > syncopation([0, 3, 6, 8, 11, 14, 16, 19, 22, 24, 27, 30], meter) > 0
