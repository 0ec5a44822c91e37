"""The profile of a version's data: what it keeps, how it is read back, and what is said of a damaged one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from registry.tiny import tiny_tagger
from tagscale.registry import cost
from tagscale.registry.cost import cost_of
from tagscale.registry.profile import MOST_EMBEDDED, MOST_TRACKS, PROFILE, Profile, profile_of
from tagscale.registry.tagger import AudioTagger
from tagscale.runtime.errors import TagscaleError

TAGS = ("rock", "jazz", "energy")


def profile(tracks: int) -> tuple[Profile, pd.DataFrame, pd.DataFrame]:
    """A profile with the scores and facts that it is of; every third track is warned of, the last has no facts."""
    random = np.random.default_rng(tracks)
    index = pd.Index([f"t{number}" for number in range(tracks)], name="track_id")
    scores = pd.DataFrame(random.random((tracks, len(TAGS)), np.float32) ** 20, index, list(TAGS))
    names = ("source_seconds", "source_rate", "channels", "rms_dbfs", "peak", "clipped")
    facts = pd.DataFrame({name: random.random(tracks) for name in names}, index)
    facts["number"] = np.arange(tracks)
    facts.iloc[-1, : len(names)] = np.nan
    paths = [f"{number}.{'mp3' if number % 2 else 'Ogg'}" for number in range(tracks)]
    made = profile_of(
        scores,
        facts.sample(frac=1, random_state=1),
        np.arange(tracks) // 2,
        paths,
        lambda of: [""][of["number"] % 3 :],
        embed=lambda some: np.array([[int(track[1:]), 1 / 3] for track in some]),
    )
    return made, scores, facts


def test_a_packaged_tagger_brings_its_profile_back(tmp_path: Path) -> None:
    tagger = tiny_tagger()
    tagger.profile, scores, facts = profile(9)
    tagger.save(tmp_path / "tagger")
    read = AudioTagger.load(tmp_path / "tagger").profile
    assert read == tagger.profile
    assert read is not None
    assert len(read) == read.tracks == 9
    for tag in TAGS:
        assert np.array_equal(np.array(read.scores[tag], np.float32), scores[tag]), "exact, however small"
    assert read.measures["rate"][:-1] == pytest.approx(facts["source_rate"].tolist()[:-1], rel=1e-5)
    assert read.measures["rate"][-1] is None
    assert read.artists == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert read.formats == ["ogg", "mp3"] * 4 + ["ogg"]
    assert read.warned == [True, False, False] * 3
    assert read.embedded == list(range(9))
    assert read.embeddings == [[number, 0.33333] for number in range(9)]


def test_a_large_part_is_a_sample_of_whole_rows() -> None:
    made, scores, _ = profile(MOST_TRACKS + 500)
    assert (made.tracks, len(made)) == (MOST_TRACKS + 500, MOST_TRACKS)
    rows = {tuple(row): number // 2 for number, row in enumerate(scores.to_numpy().tolist())}
    kept = np.array([made.scores[tag] for tag in TAGS], np.float32).T.tolist()
    assert [rows[tuple(row)] for row in kept] == made.artists
    assert len(made.embedded) == MOST_EMBEDDED
    embedded = [int(embedding[0]) // 2 for embedding in made.embeddings]
    assert embedded == [made.artists[place] for place in made.embedded], "each is of its own track"
    assert made == profile(MOST_TRACKS + 500)[0], "the same sample each time"


def test_a_published_encoder_has_none(tmp_path: Path) -> None:
    tiny_tagger().save(tmp_path / "tagger")
    assert not (tmp_path / "tagger" / PROFILE).exists()
    assert AudioTagger.load(tmp_path / "tagger").profile is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "Invalid JSON"),
        ("[]", "should be an object"),
        ('{"tracks":2,"folds":0,"artists":[0,1],"scores":{"a":[0.5]},"measures":{},"formats":["",""],'
         '"warned":[false,false],"embedded":[],"embeddings":[]}', "a has 1 values, expected 2 as of artists"),
    ],
)  # fmt: skip
def test_a_damaged_one_is_named(tmp_path: Path, content: str, problem: str) -> None:
    tiny_tagger().save(tmp_path / "tagger")
    (tmp_path / "tagger" / PROFILE).write_text(content)
    with pytest.raises(TagscaleError, match=f"{PROFILE}: damaged .*{problem}.*register the run again"):
        AudioTagger.load(tmp_path / "tagger")


def test_a_machine_that_slows_down_makes_no_tagger_faster_than_another(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(2 * (1 + cost.TURNS)))
    monkeypatch.setattr(cost, "_seconds", lambda *_: 1.0 if next(calls) <= cost.TURNS else 2.0)
    ours, theirs = cost.costs_of(tiny_tagger(), tiny_tagger())
    assert ours.ms_per_song == theirs.ms_per_song == 1000


def test_what_a_version_weighs_is_without_its_profile() -> None:
    tagger = tiny_tagger()
    light = cost_of(tagger).megabytes
    tagger.profile, _, _ = profile(500)
    assert cost_of(tagger).megabytes == light
