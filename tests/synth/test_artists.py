import collections

import pytest

from tagscale.synth.artists import artist_of_track, main_style, make_artist
from tagscale.synth.repertoire import STYLES


def test_an_artist_depends_on_seed_and_number_alone():
    assert make_artist(7, seed=3) == make_artist(7, seed=3)
    assert make_artist(7, seed=3) != make_artist(7, seed=4)


def test_every_style_has_its_artists():
    counts = collections.Counter(main_style(number, seed=1) for number in range(2 * len(STYLES)))
    assert counts == dict.fromkeys(STYLES, 2)


def test_every_artist_has_a_track_and_some_have_many():
    counts = collections.Counter(artist_of_track(number, artists=30, seed=1) for number in range(200))
    assert len(counts) == 30
    assert max(counts.values()) > 2 * min(counts.values())


def test_the_artist_of_a_track_does_not_depend_on_the_number_of_tracks_made():
    assert [artist_of_track(n, 10, 1) for n in range(40)][:20] == [artist_of_track(n, 10, 1) for n in range(20)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_names_differ(seed):
    names = [make_artist(number, seed).name for number in range(200)]
    assert len(set(names)) == 200
