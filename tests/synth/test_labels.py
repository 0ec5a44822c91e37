import numpy as np
import pytest

from tagscale.synth.label_noise import mistaken
from tagscale.synth.labels import audible, measured
from tagscale.synth.production import Share
from tagscale.synth.repertoire import STYLES
from tagscale.synth.tags import CLASSIFICATION, REGRESSION, TAGS
from tagscale.synth.track import make_track

SETS = {
    name: [tag for tag in TAGS if TAGS[tag].exclusive == name]
    for name in dict.fromkeys(tag.exclusive for tag in TAGS.values() if tag.exclusive)
}


@pytest.fixture(scope="module")
def tracks(soundfont):
    return {style: make_track(n, 5, len(STYLES), 5.0, soundfont, style) for n, style in enumerate(STYLES)}


def test_there_are_as_many_tags_as_asked_for_in_the_groups_of_the_paper():
    assert 110 <= len(TAGS) <= 139
    assert list(dict.fromkeys(tag.group for tag in TAGS.values())) == [
        "meter", "rhythmic_feel", "harmonic", "mood", "vocals", "instrumentation", "sonority", "genre", "subgenre",
    ]  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
def test_labels_follow_the_composition(tracks, style):
    track = tracks[style]
    song, labels = track.song, track.labels
    assert labels[style] == 1
    assert labels[STYLES[style].genre] == 1
    assert labels[song.frame.meter.tag] == 1
    assert labels[song.frame.mode.tag] == 1
    assert labels["no_drums"] == (not song.strokes)
    played = {playing.instrument for playing in song.playings}
    assert {tag for tag in labels if TAGS[tag].group == "instrumentation" and labels[tag]} <= played | {
        "drum_kit", "drum_machine", "hand_percussion",
    }  # fmt: skip
    assert labels["vocals"] <= len(played & {"male_voice", "female_voice", "rapper", "choir"})
    assert all(sum(labels[tag] for tag in members) == 1 for members in SETS.values())
    assert all(labels[tag] in (0, 1) for tag in CLASSIFICATION)
    assert all(0 <= labels[tag] <= 1 for tag in REGRESSION)


@pytest.mark.parametrize(
    ("style", "present"),
    [
        ("house", {"four_on_the_floor", "drum_machine", "backbeat"}),
        ("swing_jazz", {"swing_feel", "acoustic_bass", "extended_chords"}),
        ("slow_blues", {"shuffle", "compound_quadruple_meter", "blues_scale", "slow"}),
        ("bluegrass", {"banjo", "no_drums", "acoustic"}),
        ("punk", {"distorted_guitar", "distorted", "fast"}),
        ("salsa", {"hand_percussion", "piano"}),
    ],
)
def test_a_style_sounds_like_itself(tracks, style, present):
    assert {tag for tag in present if tracks[style].labels[tag] == 1} == present


def test_a_waltz_is_in_triple_meter(soundfont):
    found = set()
    for number in range(12):
        track = make_track(number, 5, 12, 2.0, soundfont, "honky_tonk")
        found.add((track.song.frame.meter.name, track.song.pattern == "waltz", track.labels["triple_meter"]))
    assert found == {("3/4", True, 1.0), ("4/4", False, 0.0)}


def test_no_track_is_silent_or_clipped(tracks):
    for style, track in tracks.items():
        assert np.abs(track.samples).max() <= 0.97, style
        assert np.sqrt(np.mean(track.samples**2)) > 10 ** (-32 / 20), style
        assert track.samples.shape == (80_000,)


def test_acoustic_music_is_more_acoustic_than_electronic_music(tracks):
    assert tracks["bluegrass"].labels["acousticness"] > 0.8 > 0.3 > tracks["techno"].labels["acousticness"]
    assert tracks["ambient"].labels["energy"] < tracks["heavy_metal"].labels["energy"]
    assert tracks["ambient"].labels["reverb"] > tracks["punk"].labels["reverb"]


def test_what_is_hardly_heard_gets_no_tag():
    loud, faint, short = Share(None, -3.0, 20.0), Share(None, -40.0, 20.0), Share(None, -3.0, 0.5)
    assert audible([loud, faint, short], 30.0) == [loud]


def test_measurements_of_a_known_sound():
    time = np.arange(48_000) / 16_000
    found = measured((0.5 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32))
    assert found.loudness == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.01)
    assert found.centroid == pytest.approx(1000, rel=0.01)
    assert found.dynamics == pytest.approx(0, abs=0.1)
    assert found.bass < 0.01


def random_labels(tracks=4000):
    rng = np.random.default_rng(0)
    clean = np.zeros((tracks, len(TAGS)))
    names = list(TAGS)
    for column, (name, tag) in enumerate(TAGS.items()):
        if tag.kind == "regression":
            clean[:, column] = rng.random(tracks)
        elif not tag.exclusive:
            clean[:, column] = rng.random(tracks) < (0.03 if name == "banjo" else 0.3)
    for members in SETS.values():
        columns = [names.index(tag) for tag in members]
        clean[np.arange(tracks), rng.choice(columns, size=tracks)] = 1
    return clean


def test_no_mistakes_at_rate_zero():
    clean = random_labels(10)
    assert mistaken(clean, 0.0, 1, range(10)) is clean


def test_mistakes_come_at_the_rate_and_keep_tags_as_frequent_as_they_are():
    clean = random_labels()
    labels = mistaken(clean, 0.1, 1, range(len(clean)))
    names = list(TAGS)
    for tag in ("banjo", "happy", "rock", "quadruple_meter"):
        column = names.index(tag)
        overlooked = labels[clean[:, column] == 1, column] == 0
        assert overlooked.mean() == pytest.approx(0.1, abs=0.06), tag
        assert labels[:, column].mean() == pytest.approx(clean[:, column].mean(), rel=0.12), tag
    regression = [names.index(tag) for tag in REGRESSION]
    errors = (labels - clean)[:, regression]
    assert np.std(errors) == pytest.approx(0.1, abs=0.015)
    assert labels[:, regression].min() >= 0
    assert labels[:, regression].max() <= 1


def test_exclusive_tags_stay_exclusive():
    labels = mistaken(random_labels(500), 0.3, 1, range(500))
    names = list(TAGS)
    for members in SETS.values():
        assert (labels[:, [names.index(tag) for tag in members]].sum(axis=1) == 1).all()


def test_a_tracks_mistakes_depend_on_its_number():
    clean = random_labels(300)
    whole = mistaken(clean, 0.2, 1, range(300))
    assert (mistaken(clean[::-1], 0.2, 1, range(299, -1, -1))[::-1] == whole).all()
    assert (mistaken(clean, 0.2, 2, range(300)) != whole).any()


def test_a_tag_that_every_track_has_is_only_overlooked():
    clean = random_labels(200)
    clean[:, list(TAGS).index("happy")] = 1
    labels = mistaken(clean, 0.1, 1, range(200))
    assert 0 < (labels[:, list(TAGS).index("happy")] == 0).sum() < 60
