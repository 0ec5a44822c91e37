"""A partition in folds: every track is a test track once, whatever grows, and every fold's model has whole artists."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tagscale.partition.divide import Partition, divide
from tagscale.partition.growth import PARTS, fold_names
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json

FOLDS = 5
TAGS = [f"tag {i}" for i in range(6)]
KINDS = ["classification"] * len(TAGS)
SHARES = dict.fromkeys(fold_names(FOLDS), 1 / FOLDS)


def dataset(tracks: int = 200, artists: int = 50) -> tuple[pd.DataFrame, pd.DataFrame]:
    random = np.random.default_rng(3)
    artist_of = np.concatenate([np.arange(artists), random.integers(0, artists, tracks - artists)])
    taste = random.beta(0.4, 1.2, (artists, len(TAGS)))
    labels = (random.random((tracks, len(TAGS))) < taste[artist_of]).astype(np.float32)
    ids = [f"t{i:04}" for i in range(tracks)]
    table = pd.DataFrame({"track_id": ids, "artist": [f"a{i}" for i in artist_of], "split": None})
    return table, pd.DataFrame(labels, table["track_id"], TAGS)


ALL, LABELS = dataset()


def folded(some: np.ndarray | None = None, assigned: pd.DataFrame | None = None) -> Partition:
    some = np.ones(len(ALL), bool) if some is None else some
    return divide(ALL[some], LABELS[some], KINDS, SHARES, 1, assigned)[0]


def test_every_track_is_a_test_track_and_a_validation_track_once() -> None:
    parts = folded()
    assert (parts.folds, parts.parts) == (FOLDS, fold_names(FOLDS))
    views = parts.views()
    assert list(views) == list(fold_names(FOLDS))
    for part in ("valid", "test"):
        assert sorted(track for view in views.values() for track in view.tracks(part)) == ALL["track_id"].tolist()
        assert parts.tracks(part) == ALL["track_id"].tolist()
    for view in views.values():
        assert view.folds == 0
        assert set(view.table["part"]) == set(PARTS)
        assert (view.table.groupby("artist")["part"].nunique() == 1).all()
        training = view.training_subset("all")
        assert sorted(training) == view.tracks("train")
        assert view.training_subset(30) == training[:30]
    assert len({view.hash for view in views.values()} | {parts.hash}) == FOLDS + 1


def test_folds_and_prefixes_of_their_training_tracks_keep_the_prevalence() -> None:
    parts = folded()
    shares = parts.table["part"].value_counts(normalize=True)
    assert shares.between(0.17, 0.23).all()
    for view in parts.views().values():
        test, train = (LABELS.loc[view.tracks(part)].mean() for part in ("test", "train"))
        assert (test - train).abs().max() < 0.06
        assert (LABELS.loc[view.training_subset(40)].mean() - train).abs().max() < 0.06  # of a random one: about .15


def test_a_track_keeps_its_fold_and_its_rank_when_the_data_grow() -> None:
    half = (np.arange(len(ALL)) % 2 == 0) & ~ALL["artist"].isin(["a1", "a2", "a3"]).to_numpy()
    first = folded(half)
    grown = folded(assigned=first.assigned)
    before = first.table.set_index("track_id")["part"]
    assert grown.table.set_index("track_id")["part"].loc[before.index].equals(before)
    assert (grown.table.groupby("artist")["part"].nunique() == 1).all()
    for number in range(1, FOLDS + 1):
        early = first.fold(number).training_subset("all")
        assert grown.fold(number).training_subset(len(early)) == early
    assert folded(half, grown.assigned).hash == first.hash


def test_a_partition_in_folds_is_read_as_it_was_written(tmp_path: Path) -> None:
    parts = folded()
    parts.save(tmp_path / "partition")
    loaded = Partition.load(tmp_path / "partition")
    assert (loaded.hash, loaded.folds) == (parts.hash, FOLDS)
    facts = read_json(tmp_path / "partition" / "partition.json")
    assert list(facts["counts"]) == list(fold_names(FOLDS))
    assert sum(facts["counts"].values()) == len(ALL)


def test_fewer_artists_than_folds() -> None:
    tracks, labels = dataset(20, 4)
    with pytest.raises(
        TagscaleError,
        match=r"4 artist\(s\), and each of fold-1, .*lower partition.folds \(3 at least\)\. .*leave the column artist",
    ):
        divide(tracks, labels, KINDS, SHARES, 1)


def test_tags_that_a_fold_has_nothing_to_learn_from_are_named() -> None:
    """One fold has the only artist with a tag: the models that are tested or validated on it cannot learn it."""
    labels = LABELS.assign(**{"tag 0": (ALL["artist"] == "a7").to_numpy(np.float32)})
    parts, quality = divide(ALL, labels, KINDS, SHARES, 1)
    home = int(parts.table.loc[parts.table["artist"] == "a7", "part"].iloc[0].removeprefix("fold-"))
    before = FOLDS if home == 1 else home - 1
    without: dict[str, Any] = {name: tags for name, tags in quality["unlearned"].items() if tags}
    assert without == {f"fold-{home}": ["tag 0"], f"fold-{before}": ["tag 0"]}
    assert [fold for fold, tags in quality["no_positive"].items() if "tag 0" not in tags] == [f"fold-{home}"]
