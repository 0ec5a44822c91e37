"""The study's predictions as the paper listened to them: every run's, over its seeds, as tables and words."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from study.compare_fixtures import Files, make_study
from study.listening_fixtures import make_catalog, write_predictions
from tagscale.catalog.tables import Catalog
from tagscale.partition.divide import Partition
from tagscale.runtime.errors import TagscaleError
from tagscale.study import listening
from tagscale.study.grid import Study, read_study
from tagscale.study.qualitative import Qualitative, exclusive_words, popularity_words, qualitative

MODELS = ["waveform", "spectrogram", "descriptors"]


class Given(NamedTuple):
    study: Study
    partition: Partition
    catalog: Catalog
    files: Files

    @property
    def found(self) -> Qualitative:
        found = qualitative(self.study, self.partition, self.catalog, self.files.results)
        assert found is not None
        return found


def given_in(folder: Path, **changes: object) -> Given:
    files = make_study(folder, sizes={"100": 100, "all": 300}, seeds=(0, 1), **changes)
    partition = Partition.load(files.partition)
    catalog = make_catalog(folder / "catalog", partition)
    write_predictions(files, catalog)
    study = read_study(files.runs, files.results, models=MODELS, sizes=[100, "all"], seeds=[0, 1])
    return Given(study, partition, catalog, files)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    return given_in(tmp_path_factory.mktemp("study"))


def file_of(given: Given, run: str) -> Path:
    (folder,) = [folder for folder in given.files.results if folder.name == run]
    return folder / "predictions.parquet"


def test_the_tables_are_the_means_over_seeds_of_the_functions_of_arrays(given: Given) -> None:
    found = given.found
    tags = [tag for tag in given.partition.tags if given.catalog.tags.loc[tag, "kind"] == "classification"]
    sets = given.catalog.tags.loc[tags, "exclusive"].tolist()
    train = listening.shares(given.catalog.labels.loc[given.partition.training_subset("all"), tags].to_numpy())
    tracks = {part: given.partition.tracks(part) for part in ("valid", "test")}
    labels = {part: given.catalog.labels.loc[ids, tags].to_numpy() for part, ids in tracks.items()}
    shares, picked = [], []
    for seed in (0, 1):
        table = pd.read_parquet(file_of(given, f"spectrogram-all-{seed}")).set_index("track_id")
        scores = {part: table.loc[ids, tags].to_numpy() for part, ids in tracks.items()}
        limits = listening.thresholds(labels["valid"], scores["valid"])
        shares.append(listening.exclusive(labels["test"], scores["test"], limits, sets).share)
        any_precision = np.full((2, len(tags)), 0.5)
        picked.append(listening.popularity(train, labels["test"], scores["test"], *any_precision).picked)
    assert found.by_model()["spectrogram"]["impossible"] == pytest.approx(np.mean(shares))
    rows = found.tags.query("model == 'spectrogram'").set_index("tag")
    assert rows.index.tolist() == tags, "no regression tag"
    np.testing.assert_allclose(rows["picked"], np.mean(picked, axis=0))
    np.testing.assert_allclose(rows["train_share"], train)
    assert found.models["model"].tolist() == MODELS
    assert set(found.pairs["set"]) == {"genre", "meter", "harmony"}
    assert len(found.pairs) == 3 * (28 + 6 + 6)
    assert (found.pairs["labelled"] == 0).all()


def test_the_words_hold_front_end_and_baseline_side_by_side(given: Given) -> None:
    found = given.found
    rows = found.by_model()
    lead, end = popularity_words(found, ["waveform", "descriptors"])
    assert f"waveform {rows['waveform']['tenth_picked']:.0%}" in lead
    assert "4 most popular tags of 32" in lead
    assert "favour" in end
    assert found.together.mean().to_dict() == pytest.approx(found.models.set_index("model")["impossible"].to_dict())
    lead, end = exclusive_words(found, "waveform", "descriptors")
    assert f"waveform on {rows['waveform']['impossible']:.0%} of the test tracks" in lead
    assert rows["waveform"]["impossible"] < rows["descriptors"]["impossible"]
    assert len(exclusive_words(found, "waveform", None)) == 1


@pytest.mark.parametrize(
    ("artists", "ours", "theirs", "expected"),
    [
        (1000, 0.10, 0.30, "As the paper heard it"),
        (1000, 0.30, 0.10, "The paper heard the opposite"),
        (1000, 0.10, 0.11, "On 1,000 tracks by 1,000 artists that may be chance."),
        (10, 0.10, 0.30, "On 1,000 tracks by 10 artists that may be chance."),
        (10, 0.0, 0.0, "On 1,000 tracks by 10 artists that may be chance."),
        (1, 0.10, 0.30, "On 1,000 tracks by 1 artist that may be chance."),
    ],
)
def test_a_difference_that_may_be_chance_is_not_told_as_one(
    given: Given, artists: int, ours: float, theirs: float, expected: str
) -> None:
    """All tracks of an artist have a pair, or none has; the shares are of artists."""
    artist = np.arange(1000) % artists
    together = pd.DataFrame({"waveform": artist < ours * artists, "descriptors": artist >= (1 - theirs) * artists})
    models = given.found.models.assign(tracks=1000)
    found = replace(given.found, models=models, together=1.0 * together, artist=artist)
    assert exclusive_words(found, "waveform", "descriptors")[1].startswith(expected)


def test_without_sets_the_pairs_are_empty_and_nothing_is_said(given: Given) -> None:
    catalog = replace(given.catalog, tags=given.catalog.tags.assign(exclusive=""))
    found = given._replace(catalog=catalog).found
    assert found.pairs.empty
    assert {"model", "set", "first", "second", "predicted"} <= set(found.pairs.columns)
    assert found.models["impossible"].isna().all()
    assert exclusive_words(found, "waveform", "descriptors") == []


def test_regression_tags_alone_are_nothing_to_look_at(given: Given) -> None:
    tags = given.catalog.tags.assign(kind="regression")
    assert qualitative(given.study, given.partition, replace(given.catalog, tags=tags), given.files.results) is None


def test_predictions_that_are_missing_or_of_other_data_are_named(tmp_path: Path) -> None:
    given = given_in(tmp_path)
    file = file_of(given, "spectrogram-all-1")
    whole = pd.read_parquet(file)
    for table, words in (
        (whole.drop(columns="rock"), "no scores of the tag 'rock'"),
        (whole.iloc[:-3], "3 test tracks of the partition are not in it"),
        (whole.assign(rock=np.nan), "found empty ones"),
    ):
        table.to_parquet(file, index=False)
        with pytest.raises(TagscaleError, match=rf"spectrogram-all-1.predictions.parquet: .*{words}.*"):
            _ = given.found
    file.unlink()
    with pytest.raises(
        TagscaleError, match=r"no such file. Run `tagscale evaluate --model spectrogram --size all --seed 1` first"
    ):
        _ = given.found


def test_a_catalog_of_other_data_is_refused(given: Given) -> None:
    catalog = replace(given.catalog, labels=given.catalog.labels.iloc[1:])
    with pytest.raises(TagscaleError, match="the catalog fixture has no track 'track-00000', which the partition has"):
        _ = given._replace(catalog=catalog).found
    catalog = replace(given.catalog, tags=given.catalog.tags.drop(index=["rock", "jazz"]))
    with pytest.raises(TagscaleError, match="has no tag 'rock' and 1 more"):
        _ = given._replace(catalog=catalog).found
