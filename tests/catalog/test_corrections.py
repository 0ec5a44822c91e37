"""Corrections: rows that are appended whole, and what the catalog makes of them."""

import csv
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tagscale.catalog import corrections
from tagscale.catalog.corrections import COLUMNS, FILE, Correction, append, corrected
from tagscale.catalog.tables import Catalog, catalog_of
from tagscale.runtime.errors import TagscaleError
from tagscale.stages import catalog as stage
from user_folder import rows, settings, write_table

ROCK = Correction("Ada", "b", "b.wav", "00ff", "rock", 1.0)


def make() -> Catalog:
    """Tracks a, b and =c; rock and jazz exclude each other, energy is a number."""
    tracks = pd.DataFrame({"track_id": ["a", "b", "=c"], "path": "", "artist": ""})
    labels = pd.DataFrame({"rock": [1.0, 0.0, np.nan], "jazz": [0.0, 1.0, np.nan], "energy": [0.5, 0.5, 0.5]})
    tags = pd.DataFrame(
        {"group": "g", "kind": ["classification", "classification", "regression"], "exclusive": ["style", "style", ""]},
        index=["rock", "jazz", "energy"],
    )
    return catalog_of("music", tracks, labels, tags, None)


def written(file: Path) -> list[dict[str, str]]:
    with open(file, encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def test_the_last_correction_wins_and_exclusive_tags_stay_so(tmp_path: Path) -> None:
    file, before = tmp_path / FILE, make()
    assert corrected(before, file) == (before, "")
    append(file, [ROCK, replace(ROCK, tag="energy", value=0.25)])
    append(file, [replace(ROCK, track_id="=c", who="Bob"), replace(ROCK, track_id="", file="mine.mp3", tag="harp")])
    append(file, [replace(ROCK, tag="energy", value=0.75), replace(ROCK, track_id="a", value=0)])
    after, note = corrected(before, file)
    assert (
        note == f"{file}: 5 correction(s) of 3 track(s) by 2 person(s) are applied; 1 of other recordings are left out"
    )
    assert after.labels.loc["b"].tolist() == [1, 0, 0.75]
    assert after.labels.loc["=c"].tolist() == [1, 0, 0.5]
    assert after.labels.loc["a"].tolist() == [0, 0, 0.5], "that it is no rock does not make it jazz"
    assert after.hash != before.hash
    assert before.labels.loc["b"].tolist() == [0, 1, 0.5]


def test_no_cell_is_a_formula_or_ends_its_row(tmp_path: Path) -> None:
    file = tmp_path / FILE
    hostile = replace(ROCK, who='=cmd|" /C calc"!A0\r\n2026,', file="-1+1,\x00\n@x\ud800", tag="+tag")
    append(file, [hostile])
    (row,) = written(file)
    assert list(row) == COLUMNS
    assert (row["who"], row["file"], row["tag"]) == ('\'=cmd|" /C calc"!A0 2026,', "'-1+1, @x?", "'+tag")
    assert file.read_bytes().count(b"\n") == 2
    tags = make().tags.rename(index={"rock": "+tag"})
    catalog = replace(make(), tags=tags, labels=make().labels.set_axis(tags.index, axis=1))
    assert corrected(catalog, file)[0].labels.loc["b", "+tag"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"who": " \u200b"}, "who: found no name"),
        ({"value": 1.5}, "value: found 1.5, expected a number from 0 to 1"),
        ({"value": float("nan")}, "value: found nan"),
    ],
)
def test_what_is_refused_leaves_no_file(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(TagscaleError, match=message):
        append(tmp_path / FILE, [ROCK, replace(ROCK, **change)])  # type: ignore[arg-type]
    assert not (tmp_path / FILE).exists()


def test_other_files_and_full_ones_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(TagscaleError, match=r"other\.csv: its first line is not `when,who,.*Rename this file"):
        append(other, [ROCK])
    assert other.read_text() == "a,b\n1,2\n"
    append(tmp_path / FILE, [ROCK])
    size = (tmp_path / FILE).stat().st_size
    monkeypatch.setattr(corrections, "MOST_BYTES", size + 10)
    with pytest.raises(TagscaleError, match=f"{size} bytes; no more than {size + 10} are kept"):
        append(tmp_path / FILE, [ROCK])
    with pytest.raises(TagscaleError, match=r"is not recorded"):
        append(tmp_path, [ROCK])
    assert (tmp_path / FILE).stat().st_size == size


def test_many_at_once_and_a_link_into_a_cache(tmp_path: Path) -> None:
    file, cache = tmp_path / FILE, tmp_path / "cache.csv"
    append(cache, [ROCK])
    content = cache.read_bytes()
    file.symlink_to(cache)
    append(file, [ROCK])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: append(file, [replace(ROCK, who=f"p{number}")]), range(40)))
    assert cache.read_bytes() == content, "DVC's copy is another version's"
    assert {row["who"] for row in written(file)} == {"Ada", *(f"p{number}" for number in range(40))}


def test_a_row_that_was_cut_off_is_named_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    file = tmp_path / FILE
    append(file, [ROCK])
    os.truncate(file, file.stat().st_size - 5)
    append(file, [ROCK])
    with pytest.raises(TagscaleError, match=r"corrections\.csv, line 2: 6 cells, expected 7"):
        corrected(make(), file)
    assert file.read_text().splitlines()[2].endswith(",rock,1")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2026,Ada,z,,,rock,1", "tracks that the dataset does not have: line 2 `z`; correct or remove these rows"),
        ("2026,Ada,a,,,harp,1", "tags that the dataset does not have: line 2 `harp`; correct or remove these rows"),
        ("2026,Ada,a,,,rock,", "empty value: line 2"),
        ("2026,Ada,a,,,rock,yes", "no number from 0 to 1: line 2 `yes`"),
        ("2026,Ada,a", "line 2: 3 cells, expected 7"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / FILE).write_text(",".join(COLUMNS) + f"\n{row}\n")
    with pytest.raises(TagscaleError, match=message):
        corrected(make(), tmp_path / FILE)


def test_the_stage_applies_them_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path / "music", rows())
    append(tmp_path / "music" / FILE, [replace(ROCK, track_id="song00")])
    stage.run(settings(), root=tmp_path / "music", catalog=tmp_path / "catalog")
    assert Catalog.load(tmp_path / "catalog").labels.loc["song00", "rock"] == 1
    assert "1 correction(s) of 1 track(s) by 1 person(s) are applied" in capsys.readouterr().out
