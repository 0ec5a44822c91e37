from dataclasses import replace

import numpy as np
import pytest

from tagscale.synth.artists import Sound
from tagscale.synth.production import CEILING, Treatment, limited, mixed, produced, treatment
from tagscale.synth.repertoire import STYLES
from tagscale.synth.score import Playing, Song
from tagscale.synth.tone import RENDER_RATE

DRY = Treatment(reverb=0, drive=0, lo_fi=0, crackle=False, live=False, echo=0, tilt=0, loudness=-20)
SECONDS = 2.0
SONG = Song("house", None, "major", 0.5, [0], False, None, "standard", [], [], [], SECONDS)


def tone(hertz, seconds=SECONDS, until=None):
    time = np.arange(round(seconds * RENDER_RATE)) / RENDER_RATE
    sound = np.sin(2 * np.pi * hertz * time).astype(np.float32)
    sound[round((until or seconds) * RENDER_RATE) :] = 0
    return sound


def playing(role):
    return Playing(role, "piano", 0, [], [])


def finished(mix, **changes):
    return produced(mix, SONG, replace(DRY, **changes), np.random.default_rng(0))


def power_at(sound, hertz):
    spectrum = np.abs(np.fft.rfft(sound)) ** 2
    place = round(hertz * len(sound) / 16_000)
    return float(spectrum[place - 3 : place + 4].sum() / spectrum.sum())


def test_players_come_out_at_the_level_of_their_role_whatever_the_recording():
    rng = np.random.default_rng(0)
    _, shares = mixed([(playing("melody"), 0.001 * tone(500)), (playing("pad"), 30 * tone(300))], rng)
    assert shares[0].level > shares[1].level
    assert sum(share.power for share in shares) == pytest.approx(1)
    assert shares[0].active == pytest.approx(SECONDS, abs=0.2)


def test_a_player_that_pauses_is_not_made_louder_for_it():
    _, (whole, half) = mixed(
        [(playing("melody"), tone(500)), (playing("melody"), tone(700, until=1.0))], np.random.default_rng(1)
    )
    assert half.active == pytest.approx(1.0, abs=0.2)
    assert half.level < whole.level + 2


def test_silence_cannot_be_mixed():
    with pytest.raises(ValueError, match="nothing sounds"):
        mixed([(playing("melody"), np.zeros(RENDER_RATE, np.float32))], np.random.default_rng(0))


def test_a_dry_track_keeps_its_tone_and_has_the_asked_loudness_and_length():
    track = finished(tone(1000))
    assert track.shape == (32_000,)
    assert power_at(track, 1000) > 0.99
    assert 10 * np.log10(np.mean(track**2)) == pytest.approx(-20, abs=0.1)


def test_nothing_from_above_the_new_nyquist_frequency_folds_down():
    track = finished(tone(500) + tone(11_000))
    assert power_at(track, 500) > 0.99


def test_tuning_plays_a_longer_mix_in_the_same_time_at_a_higher_pitch():
    track = finished(tone(1000, seconds=SECONDS * 1.02))
    assert len(track) == 32_000
    assert power_at(track, 1020) > 0.9


def test_reverb_rings_on():
    after = [np.sqrt(np.mean(finished(tone(800, until=1.0), reverb=reverb)[19_000:] ** 2)) for reverb in (0.0, 0.9)]
    assert after[1] > 20 * after[0]


def test_echo_repeats():
    click = np.zeros(round(SECONDS * RENDER_RATE), np.float32)
    click[3200:3300] = 1.0
    track = finished(click, echo=0.5)
    assert np.abs(track[9_500:10_500]).max() > 0.2 * np.abs(track).max()


def test_lo_fi_has_no_top_and_a_noise_floor():
    mix = tone(500, until=1.0) + tone(6000, until=1.0)
    clean, old = finished(mix), finished(mix, lo_fi=1.0)
    assert power_at(old, 6000) < 0.05 * power_at(clean, 6000)
    assert np.std(old[24_000:]) > 10 * np.std(clean[24_000:])


def test_drive_adds_overtones():
    assert power_at(finished(tone(400), drive=1.0), 1200) > 0.02
    assert power_at(finished(tone(400), drive=0.0), 1200) < 1e-4


def test_the_loudest_track_does_not_clip():
    assert np.abs(limited(np.random.default_rng(0).standard_cauchy(10_000), -6.0)).max() <= CEILING


def test_treatments_stay_in_their_ranges():
    rng = np.random.default_rng(0)
    wild = Sound(reverb=2, drive=-3, lo_fi=1, live=1, tilt=9, loudness=40)
    for style in STYLES.values():
        treated = treatment(style, wild, 100, rng)
        assert 0 <= treated.reverb <= 1
        assert 0 <= treated.drive <= 1
        assert -30 <= treated.loudness <= -10
        assert treated.live
        assert treated.lo_fi
