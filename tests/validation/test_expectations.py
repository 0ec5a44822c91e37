"""The declared checks: each one fails on exactly the rows that break it, and their running is quick and quiet."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tagscale.validation.expectations import Check, Examination, between, filled, gxe, one_of, same, unique
from tagscale.validation.results import STOP, Result
from tagscale.validation.soundness import check_table
from tagscale.validation.suites import checks_of_tables, checks_of_usable
from user_folder import settings

SETTINGS = settings().validation


def tables() -> dict[str, tuple[pd.DataFrame, str]]:
    """Tables that pass every check."""
    ids = [f"t{i}" for i in range(4)]
    tracks = pd.DataFrame({"track_id": ids, "path": ["a/1.wav", "..a/2.wav", "a..b/3.wav", "C/4.wav"], "artist": "x"})
    tracks = tracks.assign(seconds=[1.0, np.nan, 3, 4], split=["train", None, "valid", "test"], labels_of=ids)
    tags = pd.DataFrame({"tag": ["rock", "pop"], "group": "style", "kind": ["classification", "regression"]})
    labels = pd.DataFrame({"tag": ["rock", "pop"], "column": ["rock", "pop"], "lowest": [0.0, np.nan]})
    labels = labels.assign(highest=[1.0, np.nan], exclusive_together=[0, np.nan])
    audio = pd.DataFrame({"track_id": ids, "state": ["decoded"] * 3 + ["rejected"], "rejected": None})
    audio = audio.assign(unmeasured=None, fault=None, not_numbers=None, source_rate=[16000.0, 44100, 768000, np.nan])
    audio = audio.assign(seconds=[3.0, 30, 31, np.nan], seconds_off=[1.0, np.nan, 0, np.nan])
    audio = audio.assign(rms_dbfs=[-60.0, -20, -3, np.nan], same_audio_as=None)
    audio = audio.assign(clipped=[0, 0.05, 0.01, np.nan], offset=[0, 0.05, 0.01, np.nan], only_channel=0.0)
    tables = {"tracks": tracks, "labels": labels, "tags": tags, "audio": audio}
    return {name: (table, "tag" if "tag" in table else "track_id") for name, table in tables.items()}


def failures(found: list[Result]) -> dict[str, list[str]]:
    return {result.says: result.failing for result in found if not result.success}


def only(table: str) -> list[Check]:
    return [check for check in checks_of_tables(SETTINGS) if check.table == table]


def test_good_tables_pass() -> None:
    found = Examination().run(tables(), checks_of_tables(SETTINGS))
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
        ("labels", 1, "column", "rock", "labels and tags are in the same order", ["pop"]),
        ("tags", 1, "tag", "rock", "no two tags share a name", ["rock", "rock"]),
        ("tags", 1, "tag", " ", "every tag has a name", [" "]),
        ("tags", 1, "kind", "other", "tags are for classification or regression", ["pop"]),
        ("tags", 1, "group", "", "every tag has a group", ["pop"]),
        ("labels", 0, "lowest", -0.01, "no label is below 0", ["rock"]),
        ("labels", 0, "highest", 1.01, "no label is above 1", ["rock"]),
        ("labels", 0, "exclusive_together", 3, "exclusive tags never occur together", ["rock"]),
        ("audio", 2, "state", "unknown", "every track was decoded or rejected", ["t2"]),
        ("audio", 2, "unmeasured", "t2", "all measurements are finite numbers", ["t2"]),
        ("audio", 2, "fault", "cut off", "the dataset's authors know of no fault", ["t2"]),
        ("audio", 3, "not_numbers", "NaN", "no value is NaN or infinite", ["t3"]),
        ("audio", 0, "source_rate", 768_001, "sampled at 4000 to 768000 Hz", ["t0"]),
        ("audio", 0, "source_rate", 15_999, "sampled at 16000 Hz or more", ["t0"]),
        ("audio", 0, "clipped", 0.0501, "at most 5.0% of the values at full scale", ["t0"]),
        ("audio", 0, "offset", 0.051, "mean (DC) of at most 0.05 of full scale", ["t0"]),
        ("audio", 1, "only_channel", 2, "channels do not cancel each other out", ["t1"]),
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
    found = failures(Examination().run({table: all_tables[table]}, only(table)))
    assert found[says] == failing
    related = {"labels and tracks are in the same order"} if column == "track_id" else set()
    assert set(found) - related == {says}


def test_empty_tables() -> None:
    empty = {name: (frame.iloc[:0], key) for name, (frame, key) in tables().items()}
    assert set(failures(Examination().run(empty, checks_of_tables(SETTINGS)))) == {"there are tracks", "there are tags"}


def test_a_check_that_cannot_run_fails() -> None:
    frame, key = tables()["audio"]
    found = Examination().run({"audio": (frame.drop(columns="rms_dbfs"), key)}, only("audio"))
    (result,) = [result for result in found if not result.success]
    assert result.observed.startswith("could not be checked")
    assert "rms_dbfs" in result.observed


def test_usable_tags() -> None:
    table = pd.DataFrame({"tag": ["enough", "few", "constant", "unknown"], "positives": [5, 4, np.nan, np.nan]})
    table = table.assign(annotated=[10, 10, 10, 0], distinct=[2, 2, 1, 0])
    found = failures(Examination().run({"usable": (table, "tag")}, checks_of_usable(SETTINGS)))
    assert found == {
        "at least 5 positive tracks (classification)": ["few"],
        "annotated at all": ["unknown"],
        "not the same label everywhere": ["constant", "unknown"],
    }


def partition() -> pd.DataFrame:
    table = pd.DataFrame({"track_id": list("abcde"), "part": ["train", "test", "train", "valid", "train"]})
    return table.assign(rank=[1, -1, 0, -1, 2], rank_due=[1, -1, 0, -1, 2], parts_of_artist=1)


def as_expectations(results: list[Result]) -> list[Check]:
    """The checks of a partition for Great Expectations, which must come to the same results."""
    parts = ["train", "valid", "test"]
    every_one = gxe.ExpectColumnDistinctValuesToContainSet(column="part", value_set=parts)
    expectations = [filled("track_id"), unique("track_id"), one_of("part", parts), every_one]
    expectations += [same("rank", "rank_due"), between("parts_of_artist", most=1)]
    return [Check("partition", result.says, STOP, each) for result, each in zip(results, expectations, strict=True)]


@pytest.mark.parametrize(
    ("column", "value", "says", "failing"),
    [
        ("track_id", "a", "no track occurs twice", ["a", "a"]),
        ("track_id", "", "every track has an id", [""]),
        ("part", "dev", "a part is train, valid or test", ["d"]),
        ("part", "test", "no part is empty", []),
        ("rank", 0, "ranks are 0, 1, 2 ... in train and -1 elsewhere", ["d"]),
        ("parts_of_artist", 2, "no artist is in two parts", ["d"]),
    ],
)
def test_each_check_of_a_partition_finds_its_fault(column: str, value: Any, says: str, failing: list[str]) -> None:
    table = partition()
    assert failures(check_table(table, False)) == {}
    table.loc[3, column] = value
    results = check_table(table, False)
    assert results == Examination().run({"partition": (table, "track_id")}, as_expectations(results))
    found = failures(results)
    assert found[says] == failing
    assert set(found) - {"no part is empty"} == {says} - {"no part is empty"}


def test_data_docs_name_every_suite_and_leave_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    examination = Examination()
    examination.run(tables(), checks_of_tables(SETTINGS))
    index = examination.write_docs(tmp_path / "docs").read_text(encoding="utf-8")
    assert len(list((tmp_path / "docs" / "validations").rglob("*.html"))) == 4
    assert all(f"expectations/{suite}.html" in index for suite in ("tracks", "labels", "tags", "audio"))
    assert "no two tracks share an id" in (tmp_path / "docs" / "expectations" / "tracks.html").read_text("utf-8")
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.slow
def test_quick_and_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    """100,000 tracks, all of which fail a check: a result with their keys instead of their places takes a minute."""
    all_tables = tables()
    audio = pd.concat([all_tables["audio"][0]] * 25_000, ignore_index=True)
    audio["track_id"] = [f"t{i}" for i in range(len(audio))]
    audio.loc[::100, "rms_dbfs"] = -99.0
    audio["source_rate"] = 8000.0
    labels = pd.concat([all_tables["labels"][0]] * 70, ignore_index=True)
    labels["tag"] = [f"tag{i}" for i in range(len(labels))]
    capfd.readouterr()
    begin = time.process_time()
    found = Examination().run(
        all_tables | {"audio": (audio, "track_id"), "labels": (labels, "tag")}, checks_of_tables(SETTINGS)
    )
    assert time.process_time() - begin < 20  # measured: 2 s
    assert len(failures(found)["not silent: RMS of -60 dBFS or more"]) == 1000
    assert failures(found)["sampled at 16000 Hz or more"] == audio["track_id"].tolist()
    assert capfd.readouterr() == ("", "")
