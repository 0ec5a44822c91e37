"""The declared checks: each one fails on exactly the rows that break it, and their running is quick and quiet."""

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tagscale.data.expectations import Check, Result, checks_of_tables, checks_of_usable, examine
from user_folder import settings

SETTINGS = settings().validation


def tables() -> dict[str, tuple[pd.DataFrame, str]]:
    """Tables that pass every check."""
    ids = [f"t{i}" for i in range(4)]
    tracks = pd.DataFrame({"track_id": ids, "path": ["a/1.wav", "..a/2.wav", "a..b/3.wav", "C/4.wav"], "artist": "x"})
    tracks = tracks.assign(seconds=[1.0, np.nan, 3, 4], split=["train", None, "valid", "test"], labels_of=ids)
    labels = pd.DataFrame({"tag": ["rock", "pop"], "group": "style", "kind": ["classification", "regression"]})
    labels = labels.assign(lowest=[0.0, np.nan], highest=[1.0, np.nan], exclusive_together=[0, np.nan])
    audio = pd.DataFrame({"track_id": ids, "state": ["decoded"] * 3 + ["rejected"], "rejected": None})
    audio = audio.assign(seconds=[3.0, 30, 31, np.nan], seconds_off=[1.0, np.nan, 0, np.nan])
    audio = audio.assign(rms_dbfs=[-60.0, -20, -3, np.nan], same_audio_as=None)
    return {"tracks": (tracks, "track_id"), "labels": (labels, "tag"), "audio": (audio, "track_id")}


def failures(found: list[Result]) -> dict[str, list[str]]:
    return {result.says: result.failing for result in found if not result.success}


def only(table: str) -> list[Check]:
    return [check for check in checks_of_tables(SETTINGS) if check.table == table]


def test_good_tables_pass() -> None:
    found = examine(tables(), checks_of_tables(SETTINGS))
    assert failures(found) == {}
    assert [result.says for result in found] == [check.says for check in checks_of_tables(SETTINGS)]
    assert {result.consequence for result in found} == {"stop", "quarantine", "mention"}


@pytest.mark.parametrize(
    ("table", "row", "column", "value", "says", "failing"),
    [
        ("tracks", 1, "track_id", "", "every track has an id", [""]),
        ("tracks", 1, "track_id", "t0", "no two tracks share an id", ["t0", "t0"]),
        ("tracks", 2, "path", " ", "every track has a path", ["t2"]),
        ("tracks", 2, "path", "/x.wav", "every path is relative and stays in the dataset's folder", ["t2"]),
        ("tracks", 2, "path", "a/../../x.wav", "every path is relative and stays in the dataset's folder", ["t2"]),
        ("tracks", 2, "path", r"C:\x.wav", "every path is relative and stays in the dataset's folder", ["t2"]),
        ("tracks", 3, "artist", "", "every track has an artist", ["t3"]),
        ("tracks", 3, "seconds", 0, "annotated durations are positive", ["t3"]),
        ("tracks", 3, "split", "dev", "a split is train, valid or test", ["t3"]),
        ("tracks", 3, "labels_of", "t9", "labels and tracks are in the same order", ["t3"]),
        ("labels", 1, "tag", "rock", "no two tags share a name", ["rock", "rock"]),
        ("labels", 1, "kind", "other", "tags are for classification or regression", ["pop"]),
        ("labels", 1, "group", "", "every tag has a group", ["pop"]),
        ("labels", 0, "lowest", -0.01, "no label is below 0", ["rock"]),
        ("labels", 0, "highest", 1.01, "no label is above 1", ["rock"]),
        ("labels", 0, "exclusive_together", 3, "exclusive tags never occur together", ["rock"]),
        ("audio", 2, "state", "unknown", "every track was decoded or rejected", ["t2"]),
        ("audio", 3, "rejected", "no such file", "the file could be decoded", ["t3"]),
        ("audio", 0, "seconds", 2.99, "at least 3 s long", ["t0"]),
        ("audio", 0, "seconds_off", 1.01, "as long as annotated, within 1 s", ["t0"]),
        ("audio", 0, "rms_dbfs", -60.1, "not silent: RMS of -60 dBFS or more", ["t0"]),
        ("audio", 1, "same_audio_as", "t0", "no earlier track has the same audio", ["t1"]),
    ],
)
def test_each_check_finds_its_fault(
    table: str, row: int, column: str, value: Any, says: str, failing: list[str]
) -> None:
    all_tables = tables()
    frame, _ = all_tables[table]
    frame[column] = frame[column].astype(object if isinstance(value, str) else float)
    frame.loc[row, column] = value
    found = failures(examine({table: all_tables[table]}, only(table)))
    assert found[says] == failing
    related = {"labels and tracks are in the same order"} if column == "track_id" else set()
    assert set(found) - related == {says}


def test_empty_tables() -> None:
    empty = {name: (frame.iloc[:0], key) for name, (frame, key) in tables().items()}
    assert set(failures(examine(empty, checks_of_tables(SETTINGS)))) == {"there are tracks", "there are tags"}


def test_a_check_that_cannot_run_fails() -> None:
    frame, key = tables()["audio"]
    found = examine({"audio": (frame.drop(columns="rms_dbfs"), key)}, only("audio"))
    (result,) = [result for result in found if not result.success]
    assert result.observed.startswith("could not be checked")
    assert "rms_dbfs" in result.observed


def test_usable_tags() -> None:
    table = pd.DataFrame({"tag": ["enough", "few", "constant", "unknown"], "positives": [5, 4, np.nan, np.nan]})
    table = table.assign(annotated=[10, 10, 10, 0], distinct=[2, 2, 1, 0])
    found = failures(examine({"usable": (table, "tag")}, checks_of_usable(SETTINGS)))
    assert found == {
        "at least 5 positive tracks (classification)": ["few"],
        "annotated at all": ["unknown"],
        "not the same label everywhere": ["constant", "unknown"],
    }


def test_quick_and_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    """A catalog of 20,000 tracks and 139 tags; its 2.8 million labels come as one row a tag."""
    all_tables = tables()
    audio = pd.concat([all_tables["audio"][0]] * 5000, ignore_index=True)
    audio["track_id"] = [f"t{i}" for i in range(len(audio))]
    audio.loc[::100, "rms_dbfs"] = -99.0
    labels = pd.concat([all_tables["labels"][0]] * 70, ignore_index=True)
    labels["tag"] = [f"tag{i}" for i in range(len(labels))]
    capfd.readouterr()
    begin = time.process_time()
    found = examine(all_tables | {"audio": (audio, "track_id"), "labels": (labels, "tag")}, checks_of_tables(SETTINGS))
    assert time.process_time() - begin < 8  # measured: under 1 s
    assert len(failures(found)["not silent: RMS of -60 dBFS or more"]) == 200
    assert capfd.readouterr() == ("", "")
