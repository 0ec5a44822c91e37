"""The stage tells what crosses a split, in words and as JSON, before any audio is there."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stores import write_store
from tagscale.params.load import DatasetParams
from tagscale.partition.divide import Partition
from tagscale.runtime.errors import TagscaleError
from tagscale.stages import leaks
from user_folder import rows, settings, write_table

PARTS = ["train", "valid", "test", "train", "valid", "test", "test"]


def dataset(root: Path, split: str | None = None) -> DatasetParams:
    write_table(root, [row | {"split": part} for row, part in zip(rows(7), PARTS, strict=True)])
    return settings(dataset={"name": "mine", "tags": "tags.yaml", "split": split}).dataset


def test_table_and_conclusion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leaks.run(dataset(tmp_path), root=tmp_path)
    out = capsys.readouterr().out
    assert "1 of 3 test artists are in train, too: 1 of 3 test tracks" in out
    assert "artist 0: 1 tracks in train, 0 in valid, 1 in test" in out


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leaks.run(dataset(tmp_path), root=tmp_path, json_output=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["split"], found["artist_filtered"], found["artist_filter_holds"]) == ("column", False, False)
    assert (found["test_artists"], found["test_artists_in_train"]) == (3, 1)
    assert (found["test_tracks"], found["test_tracks_by_train_artists"]) == (3, 1)
    assert found["test_audio"] is None


def test_a_partition_instead_of_the_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = dataset(tmp_path, "stratified")
    with pytest.raises(TagscaleError, match=r"Run `tagscale partition` and give its folder with --partition"):
        leaks.run(chosen, root=tmp_path)
    ids = [row["track_id"] for row in rows(7)]
    parts = ["train", "valid", "test", "train", "valid", "test", "train"]
    table = pd.DataFrame({"track_id": ids, "artist": "", "part": parts, "rank": [0, -1, -1, 1, -1, -1, 2]})
    Partition(table, ["rock"]).save(tmp_path / "made", {})
    leaks.run(chosen, root=tmp_path, partition=tmp_path / "made", json_output=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["split"], found["artist_filtered"], found["artist_filter_holds"]) == ("stratified", True, True)
    assert found["test_tracks"] == 2
    Partition(table.assign(track_id=[f"x{i}" for i in ids]), ["rock"]).save(tmp_path / "other", {})
    with pytest.raises(TagscaleError, match="7 of its tracks, xsong00 for one, are not in mine"):
        leaks.run(chosen, root=tmp_path, partition=tmp_path / "other")


def test_identical_audio_is_found_in_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digests = ["aa", "bb", "cc", "dd", "ee", "aa"]  # song06, in test, is not in the store
    tracks = [(f"song{i:02}", np.zeros(10, np.int16), {"audio_sha256": digest}) for i, digest in enumerate(digests)]
    write_store(tmp_path / "store", tracks)
    leaks.run(dataset(tmp_path), root=tmp_path, store=tmp_path / "store", json_output=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["test_audio"], found["test_audio_in_train"], found["test_tracks_by_train_audio"]) == (2, 1, 1)
    assert found["test_tracks_without_audio"] == 1


def test_unknown_artists_prove_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path, [row | {"split": part, "artist": ""} for row, part in zip(rows(7), PARTS, strict=True)])
    chosen = settings(dataset={"name": "mine", "tags": "tags.yaml"}).dataset
    leaks.run(chosen, root=tmp_path)
    assert "The artists of the test tracks are unknown" in capsys.readouterr().out
    leaks.run(chosen, root=tmp_path, json_output=True)
    assert '"artist_filter_holds": null' in capsys.readouterr().out
