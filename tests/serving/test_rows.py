"""Rows of scores: the three formats hold the same, whatever files and tags are called."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tagscale.runtime.errors import TagscaleError
from tagscale.serving.rows import COLUMNS, SUFFIXES, Row, read_known, read_records, read_rows, write_rows

TAGS = ("path", 'drum, "bass"\r\n', "a.b", "Señal 音楽")
PATHS = ("plain.mp3", "a, b.wav", "two\nlines\r.wav", '"quoted".flac', "楽\\xe9.ogg")
MODEL: dict[str, Any] = {"model": "tagscale-tagger", "version": "3", "sha256": "ab12"}


def rows(embeddings: bool = False) -> list[Row]:
    """A row a path; the second is of a file without audio."""
    random = np.random.default_rng(0)
    made = []
    for number, path in enumerate(PATHS):
        if number == 1:
            made.append(Row(path, error="empty file, (0 bytes)\n", state="0 17", **MODEL))
            continue
        scores = dict(zip(TAGS, map(float, random.random(4, np.float32)), strict=True))
        probabilities = {tag: scores[tag] / 3 for tag in TAGS[:2]}
        embedding = random.normal(size=3).astype(np.float32) if embeddings else None
        more = {"warnings": ['short, "very"', "x\n"][:number], "tags": list(TAGS[:number]), "state": "1 2"}
        more |= {"seconds": 1 / 3 + number, "rate": 44_100, "channels": 2, "format": "mp3", "rms_dbfs": -20.1}
        of_tags = {"scores": scores, "probabilities": probabilities, "embedding": embedding}
        made.append(Row(path, peak=0.5, clipped=0.0, **of_tags, **more, **MODEL))
    return made


@pytest.mark.parametrize("embeddings", [False, True])
def test_the_three_formats_hold_the_same(tmp_path: Path, embeddings: bool) -> None:
    made = rows(embeddings)
    for suffix in SUFFIXES:
        write_rows(tmp_path / f"scores{suffix}", (row.record() for row in made), TAGS, embeddings)
        read = read_rows(tmp_path / f"scores{suffix}")
        assert list(read.files["path"]) == list(PATHS)
        assert list(read.files.columns) == COLUMNS.names
        assert list(read.tagged) == [True, False, True, True, True]
        assert [list(cell) for cell in read.files["tags"]] == [row.tags for row in made]
        assert [list(cell) for cell in read.files["warnings"]] == [row.warnings for row in made]
        assert read.files["error"][1] == "empty file, (0 bytes)\n"
        assert read.files["rate"].tolist()[2] == 44_100
        assert pd.isna(read.files["rate"][1])
        for row, seconds in zip(made, read.files["seconds"], strict=True):
            assert seconds == row.seconds or row.seconds is None
        assert list(read.scores.columns) == list(TAGS)
        wanted = np.array([[row.scores.get(tag, np.nan) for tag in TAGS] for row in made], np.float32)
        np.testing.assert_array_equal(read.scores.to_numpy(), wanted)
        wanted = np.array([[row.probabilities.get(tag, np.nan) for tag in TAGS] for row in made], np.float32)
        np.testing.assert_array_equal(read.probabilities.to_numpy(), wanted)
        if embeddings:
            np.testing.assert_array_equal(read.embeddings[[0, 2]], [made[0].embedding, made[2].embedding])
            assert np.isnan(read.embeddings[1]).all()
        else:
            assert read.embeddings is None
        records = list(read_records(tmp_path / f"scores{suffix}"))
        assert [record.keys() for record in records] == [row.record().keys() for row in made]
        known = list(read_known(tmp_path / f"scores{suffix}"))
        assert [(one.path, one.error, one.state) for one in known] == [(row.path, row.error, row.state) for row in made]
        assert [one.is_embedded for one in known] == [row.embedding is not None for row in made]
        assert {(one.model, one.version, one.sha256) for one in known} == {tuple(MODEL.values())}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_of_errors_alone_need_no_tags(tmp_path: Path, suffix: str) -> None:
    """A part of what a server was asked for may hold nothing else."""
    failed = [Row(path, error="damaged", **MODEL) for path in PATHS]
    write_rows(tmp_path / f"failed{suffix}", (row.record() for row in failed), [])
    assert list(read_records(tmp_path / f"failed{suffix}")) == [row.record() for row in failed]
    write_rows(tmp_path / f"tagged{suffix}", (row.record() for row in rows()), TAGS)
    read = read_rows(tmp_path)
    assert list(read.files["path"]) == [*PATHS, *PATHS]
    assert list(read.scores.columns) == list(TAGS)
    assert read.scores[: len(PATHS)].isna().all(axis=None)


def test_records_of_one_format_make_the_bytes_of_another(tmp_path: Path) -> None:
    write_rows(tmp_path / "first.jsonl", (row.record() for row in rows(True)), TAGS, True)
    for before, suffix in (("first.jsonl", ".csv"), ("first.csv", ".parquet")):
        write_rows(tmp_path / f"first{suffix}", read_records(tmp_path / before), TAGS, True)
    back = [json.dumps(record, sort_keys=True) for record in read_records(tmp_path / "first.csv")]
    assert back == [json.dumps(row.record(), sort_keys=True) for row in rows(True)]
    assert read_rows(tmp_path / "first.parquet").scores.equals(read_rows(tmp_path / "first.jsonl").scores)


def test_parquet_is_read_without_tagscale(tmp_path: Path) -> None:
    write_rows(tmp_path / "scores.parquet", (row.record() for row in rows()), TAGS)
    table = pd.read_parquet(tmp_path / "scores.parquet")
    assert table["scores"][0]["a.b"] == pytest.approx(rows()[0].scores["a.b"])
    assert pq.read_table(tmp_path / "scores.parquet", columns=["scores.Señal 音楽"]).num_rows == len(PATHS)


def test_a_folder_of_files_of_two_models_is_read_as_one(tmp_path: Path) -> None:
    write_rows(tmp_path / "part-1.parquet", (row.record() for row in rows()[:2]), TAGS)
    write_rows(tmp_path / "part-2.jsonl", [Row("other.wav", "b", "1", "cd", scores={"rock": 0.5}).record()], ["rock"])
    (tmp_path / "_part-3.jsonl").write_text("{")  # another process's
    read = read_rows(tmp_path)
    assert list(read.files["path"]) == [*PATHS[:2], "other.wav"]
    assert list(read.scores.columns) == [*TAGS, "rock"]
    assert read.scores["rock"].tolist()[2] == 0.5
    assert np.isnan(read.scores["rock"][0])


def test_rows_are_read_while_they_are_written(tmp_path: Path) -> None:
    write_rows(tmp_path / "scores.jsonl", (row.record() for row in rows()), TAGS)
    with open(tmp_path / "scores.jsonl", "a") as file:
        file.write('{"path": "half')
    assert len(read_rows(tmp_path / "scores.jsonl")) == len(PATHS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows_and_files_of_errors_alone(tmp_path: Path, suffix: str) -> None:
    write_rows(tmp_path / f"none{suffix}", [], TAGS)
    assert len(read_rows(tmp_path / f"none{suffix}")) == 0
    write_rows(tmp_path / f"bad{suffix}", [rows()[1].record()], TAGS, True)
    read = read_rows(tmp_path / f"bad{suffix}")
    assert not read.tagged.any()


def test_what_holds_no_rows_is_named_with_the_command_that_mends_it(tmp_path: Path) -> None:
    for name, content, words in (
        (
            "other.csv",
            b"track_id,artist\n1,2\n",
            r"column\(s\) path, error, .* missing\)\. If it is a file of another kind",
        ),
        ("bad.parquet", b"PAR1", "no rows of scores, or damaged"),
        ("bad.jsonl", b"[1]\n", "line 1 is no JSON object"),
        ("scores.xlsx", b"", "found the suffix '.xlsx', expected one of .parquet, .csv, .jsonl"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TagscaleError, match=words):
            read_rows(tmp_path / name)
    with pytest.raises(TagscaleError, match="no such file"):
        read_rows(tmp_path / "nowhere.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TagscaleError, match="no rows in this folder"):
        read_rows(tmp_path / "empty")
