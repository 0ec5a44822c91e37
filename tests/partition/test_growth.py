"""A dataset that grows, shrinks and is corrected: no track ever moves, and what is new fits in."""

import random as chance
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagscale.partition.divide import Partition, divide
from tagscale.partition.growth import (
    PARTS,
    crossing_artists,
    earlier_assignments,
    inherit,
    moved_tracks,
    no_assignments,
)
from tagscale.runtime.errors import TagscaleError

SHARES = {"train": 0.7, "valid": 0.15, "test": 0.15}
TAGS = 6


def dataset(tracks: int, artists: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tracks that artists made: each tag is more frequent with some artists; a tenth of the labels is missing."""
    random = np.random.default_rng(3)
    artist_of = np.concatenate([np.arange(artists), random.integers(0, artists, tracks - artists)])
    taste = random.beta(0.4, 1.2, (artists, TAGS))
    labels = (random.random((tracks, TAGS)) < taste[artist_of]).astype(np.float32)
    labels[random.random(labels.shape) < 0.1] = np.nan
    ids = [f"t{i:04}" for i in random.permutation(tracks)]
    order = np.argsort(ids)
    table = pd.DataFrame({"track_id": ids, "artist": [f"a{i}" for i in artist_of], "split": None}).iloc[order]
    tags = [f"tag {i}" for i in range(TAGS)]
    return table.reset_index(drop=True), pd.DataFrame(labels[order], table["track_id"], tags)


ALL, LABELS = dataset(160, 60)


def part(some: np.ndarray, assigned: pd.DataFrame | None, artists: pd.Series | None = None) -> Partition:
    """A partition of some of the tracks (a mask over ALL), perhaps with corrected artists."""
    tracks = ALL if artists is None else ALL.assign(artist=artists)
    return divide(tracks[some], LABELS[some], ["classification"] * TAGS, SHARES, 1, assigned)[0]


def parts_of(partition: Partition) -> dict[str, str]:
    return dict(zip(partition.table["track_id"], partition.table["part"], strict=True))


def test_new_tracks_follow_present_tracks_of_their_artist_rather_than_earlier_ones() -> None:
    assigned = pd.DataFrame(
        {
            "track_id": ["a", "b", "c"],
            "artist": ["x", "x", "y"],
            "part": ["test", "test", "train"],
            "place": [-1, -1, 0],
        }
    )
    tracks = pd.DataFrame({"track_id": ["a", "b", "c", "d", "e"], "artist": ["z", "z", "x", "x", "y"]})
    part_of, place = inherit(assigned, tracks)
    assert part_of.tolist() == [2, 2, 0, 0, 0]  # d by c, which is x's now; e by y's only track, whose artist is x now
    assert place.tolist() == [-1, -1, 0, -1, -1]


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["tracks", "artists"]), st.floats(0.3, 1)), min_size=2, max_size=4), st.data()
)
def test_no_track_ever_moves(steps: list[tuple[str, float]], data: st.DataObject) -> None:
    """Whatever tracks or artists come and go: parts stay, artists stay whole, and the order stays the order."""
    assigned, seen, artists_seen, order = None, dict[str, str](), dict[str, str](), list[str]()
    for what, share in steps:
        random = chance.Random(data.draw(st.integers(0, 1000)))
        among = sorted(set(ALL["track_id" if what == "tracks" else "artist"]))
        there = set(random.sample(among, round(share * len(among))))
        some = ALL["track_id" if what == "tracks" else "artist"].isin(there).to_numpy()
        try:
            partition = part(some, assigned)
        except TagscaleError:  # all that a part had is gone, and nobody new is there to fill it
            continue
        again = part(some, assigned)
        assert again.hash == partition.hash
        pd.testing.assert_frame_equal(again.assigned, partition.assigned)
        found = parts_of(partition)
        assert {track: found[track] for track in found.keys() & seen.keys()} == {
            track: seen[track] for track in found.keys() & seen.keys()
        }
        for artist, where in zip(partition.table["artist"], partition.table["part"], strict=True):
            assert artists_seen.setdefault(artist, where) == where
        ranked = partition.training_subset("all")
        assert [track for track in ranked if track in set(order)] == [track for track in order if track in set(ranked)]
        order += [track for track in ranked if track not in set(order)]
        seen |= found
        assigned = partition.assigned
        assert part(some, assigned).hash == partition.hash  # made again from itself, it is itself
    assert assigned is not None
    assert dict(zip(assigned["track_id"], assigned["part"], strict=True)) == seen


def test_subsets_are_the_same_tracks_after_growth() -> None:
    half = np.arange(len(ALL)) % 2 == 0
    first = part(half, None)
    grown = part(np.ones(len(ALL), bool), first.assigned)
    before = first.training_subset("all")
    assert grown.training_subset("all")[: len(before)] == before


def test_a_first_partition_is_the_same_with_and_without_an_empty_past() -> None:
    whole = np.ones(len(ALL), bool)
    assert part(whole, no_assignments()).hash == part(whole, None).hash


def test_new_artists_make_up_for_what_the_parts_lack() -> None:
    """After a first half that is divided badly, the second makes parts that are closer to their shares and tags."""
    artists = sorted(set(ALL["artist"]))
    half = ALL["artist"].isin(artists[::2]).to_numpy()
    first = part(half, None)
    bad = dict(zip(artists[::2], ["train"] * 20 + ["valid"] * 9 + ["test"], strict=True))  # valid has too much
    assigned = first.assigned.assign(part=first.assigned["artist"].map(bad), place=-1)
    assigned.loc[assigned["part"] == "train", "place"] = np.arange((assigned["part"] == "train").sum())
    grown = part(np.ones(len(ALL), bool), assigned)
    shares = grown.table["part"].value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.15, abs=0.02)
    assert shares["train"] == pytest.approx(0.7, abs=0.05)
    new = grown.table[~grown.table["track_id"].isin(assigned["track_id"])]
    assert "valid" not in set(new["part"]) or shares["valid"] < 0.2


def test_prefixes_beyond_the_old_order_keep_the_prevalence() -> None:
    tracks, labels = dataset(3000, 300)
    half = np.arange(3000) % 3 == 0

    def found(some: np.ndarray, assigned: pd.DataFrame | None) -> Partition:
        return divide(tracks[some], labels[some], ["classification"] * TAGS, SHARES, 1, assigned)[0]

    first = found(half, None)
    grown = found(np.ones(3000, bool), first.assigned)
    ordered = grown.training_subset("all")
    whole = labels.loc[ordered].mean()
    start = len(first.training_subset("all"))
    for size in (start + 200, start + 600):
        off = (labels.loc[ordered[:size]].mean() - whole).abs().max()
        random = [labels.loc[chance.Random(seed).sample(ordered, size)].mean() for seed in range(20)]
        assert off < 0.5 * np.median([(means - whole).abs().max() for means in random])


def test_merged_artists_cross_and_their_tracks_stay() -> None:
    whole = np.ones(len(ALL), bool)
    first = part(whole, None)
    by_artist = dict(zip(first.table["artist"], first.table["part"], strict=True))
    one, other = (
        next(artist for artist, where in by_artist.items() if where == wanted) for wanted in ("train", "test")
    )
    merged = part(whole, first.assigned, ALL["artist"].replace(other, one))
    assert parts_of(merged) == parts_of(first)
    (named,) = crossing_artists(merged.table)
    assert named.startswith(f"{one} (")
    assert " in train, " in named
    assert named.endswith(" in test)")
    # the names come apart again, and a new track of either follows it to its own part
    back = part(whole, merged.assigned)
    assert back.hash == first.hash
    assert crossing_artists(back.table) == []
    later = pd.DataFrame({"track_id": ["new one", "new other"], "artist": [one, other]})
    assert [PARTS[i] for i in inherit(first.assigned, later)[0]] == ["train", "test"]


def test_a_renamed_artist_takes_its_new_tracks_along() -> None:
    some = np.arange(len(ALL)) % 4 > 0
    first = part(some, None)
    renamed = part(np.ones(len(ALL), bool), first.assigned, "the " + ALL["artist"])
    known = ALL.loc[some, "artist"].drop_duplicates()
    table = renamed.table[renamed.table["artist"].isin("the " + known)]
    assert (table.groupby("artist")["part"].nunique() == 1).all()


def test_a_part_whose_artists_all_went() -> None:
    first = part(np.ones(len(ALL), bool), None)
    left = (first.table["part"] != "test").to_numpy()
    with pytest.raises(TagscaleError, match=r"no usable track is left in test, and tracks never move"):
        part(left, first.assigned)


SETTINGS = {"dataset": "songs", "split": "stratified", **SHARES, "seed": 1}


def saved(folder: Path) -> Partition:
    partition = part(np.ones(len(ALL), bool), None)
    partition.settings = SETTINGS
    partition.save(folder)
    return partition


def test_assignments_of_a_folder(tmp_path: Path) -> None:
    assert earlier_assignments(None, SETTINGS)[1] == ""
    none, note = earlier_assignments(tmp_path / "partition", SETTINGS)
    assert none.empty
    assert "every track gets its part for the first time" in note
    partition = saved(tmp_path / "partition")
    found, note = earlier_assignments(tmp_path / "partition", SETTINGS)
    assert note == ""
    assert part(np.ones(len(ALL), bool), found).hash == partition.hash
    none, note = earlier_assignments(tmp_path / "partition", SETTINGS | {"seed": 2, "dataset": "other"})
    assert none.empty
    assert "other settings (dataset songs -> other, seed 1 -> 2): all tracks are divided afresh" in note


def test_lost_and_broken_assignments(tmp_path: Path) -> None:
    saved(tmp_path)
    file = tmp_path / "assigned.parquet"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(TagscaleError, match=r"assigned\.parquet: not the file that partition\.json .* Restore it"):
        earlier_assignments(tmp_path, SETTINGS)
    file.unlink()
    with pytest.raises(TagscaleError, match=r"assigned\.parquet: no such file, .* Restore it"):
        earlier_assignments(tmp_path, SETTINGS)


def test_a_damaged_description_moves_no_track(tmp_path: Path) -> None:
    """Without the settings nobody knows that they have changed, so the parts stay as they are."""
    saved(tmp_path)
    before, _ = earlier_assignments(tmp_path, SETTINGS)
    (tmp_path / "partition.json").write_bytes(b"")
    after, note = earlier_assignments(tmp_path, SETTINGS)
    pd.testing.assert_frame_equal(after, before)
    assert "partition.json: not as it was written" in note
    assert "no track moves" in note


def test_saving_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    """What a stage leaves must not change when it is run again, or every run after it would be stale."""
    whole = np.ones(len(ALL), bool)
    saved(tmp_path / "one")
    again = part(whole, earlier_assignments(tmp_path / "one", SETTINGS)[0])
    again.settings = SETTINGS
    again.save(tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["assigned.parquet", "partition.json", "partition.parquet", "quality.csv"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_moved() -> None:
    before = pd.DataFrame({"track_id": ["a", "b", "c"], "part": ["train", "test", "valid"]})
    after = pd.DataFrame({"track_id": ["a", "b", "d"], "part": ["train", "train", "valid"]})
    assert moved_tracks(before, after) == ["b (test -> train)"]
