"""The partition stage: what validation left is divided; what it refused is not."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tagscale.catalog.tables import Catalog
from tagscale.partition.divide import Partition
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, write_json
from tagscale.stages import catalog, partition
from user_folder import rows, settings, write_table


def prepare(folder: Path, table: list[dict[str, Any]], tags: list[str], quarantined: list[str]) -> None:
    """A catalog and the two files of validation that the stage reads."""
    write_table(folder / "music", table)
    catalog.run(settings(), root=folder / "music", catalog=folder / "catalog")
    (folder / "validation").mkdir()
    lines = pd.DataFrame({"track_id": quarantined, "path": "a.wav", "reason": "no such file"})
    lines.to_csv(folder / "validation" / "quarantine.csv", index=False)
    found = {
        "catalog": Catalog.load(folder / "catalog").hash,
        "passed": True,
        "dropped_tags": [],
        "tags": tags,
        "data_hash": "d" * 12,
        "other_version": None,
    }
    write_json(folder / "validation" / "validation.json", found)


def run(folder: Path, **changes: Any) -> Partition:
    folders = {name: folder / name for name in ("catalog", "validation", "partition")}
    partition.run(settings(partition=changes), **folders, previous=folder / "partition")
    return Partition.load(folder / "partition")


def test_partition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path, rows(60, 20), ["energy", "rock"], ["song03", "song30"])
    found = run(tmp_path)
    assert found.tags == ["energy", "rock"]
    assert set(found.table["track_id"]) == {row["track_id"] for row in rows(60)} - {"song03", "song30"}
    assert (found.table.groupby("artist")["part"].nunique() == 1).all()
    facts = read_json(tmp_path / "partition" / "partition.json")
    assert facts["hash"] == found.hash
    assert facts["counts"]["train"] == len(found.training_subset("all"))
    printed = capsys.readouterr().out
    for expected in ("train", "random split by artists", f"{facts['deviation']['max']:.4f}"):
        assert expected in printed
    assert run(tmp_path).hash == found.hash
    assert run(tmp_path, seed=2).hash != found.hash


def test_own_split_whose_artists_cross_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = [row | {"split": ("train", "train", "val", "test")[i % 4]} for i, row in enumerate(rows(12, 3))]
    prepare(tmp_path, table, ["rock", "energy"], [])
    found = run(tmp_path)
    assert found.tracks("valid") == ["song02", "song06", "song10"]
    assert read_json(tmp_path / "partition" / "partition.json")["artists_crossing"] == 3
    printed = capsys.readouterr().out
    assert "3 artists have tracks in more than one part" in printed
    assert "no positive track in valid, so not scored there: rock" in printed


def test_spellings_of_one_artist_in_two_parts_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("The Beatles", "the  beatles", "Can", "CAN", "Abba")
    parts = ("train", "test", "train", "train", "val")
    table = [row | {"artist": names[i % 5], "split": parts[i % 5]} for i, row in enumerate(rows(15))]
    prepare(tmp_path, table, ["rock", "energy"], [])
    run(tmp_path)
    printed = capsys.readouterr().out
    assert "different parts that may be one artist in several spellings: The Beatles / the beatles. If they" in printed


def test_fewer_artists_than_parts(tmp_path: Path) -> None:
    prepare(tmp_path, rows(12, 3), ["rock"], [f"song{i:02}" for i in range(0, 12, 3)])
    with pytest.raises(TagscaleError, match=r"the dataset has 2 artist\(s\)"):
        run(tmp_path)
    assert not (tmp_path / "partition").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"passed": False}, r"the dataset did not pass. Open validation\.html"),
        ({"other_version": "params.yaml: dataset.version is v1"}, "dataset.version is v1"),
        ({"catalog": "000000000000"}, "belongs to another catalog. Run `tagscale validate` again"),
    ],
)
def test_validation_must_have_passed_for_this_catalog(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    prepare(tmp_path, rows(), ["rock"], [])
    file = tmp_path / "validation" / "validation.json"
    write_json(file, read_json(file) | changed)
    with pytest.raises(TagscaleError, match=message):
        run(tmp_path)
    file.unlink()
    with pytest.raises(TagscaleError, match="Run `tagscale validate` first"):
        run(tmp_path)


def regrow(folder: Path, table: list[dict[str, Any]], tags: list[str]) -> None:
    """Another table of the same dataset, as its next version has it."""
    for name in ("music", "catalog", "validation"):
        shutil.rmtree(folder / name)
    prepare(folder, table, tags, [])


def parts_of(found: Partition) -> dict[str, str]:
    return dict(zip(found.table["track_id"], found.table["part"], strict=True))


def test_a_dataset_that_grows_keeps_its_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path, rows(60, 20), ["energy", "rock"], ["song03"])
    first = run(tmp_path)
    assert "every track gets its part for the first time" in capsys.readouterr().out
    newcomers = [row | {"artist": f"newcomer {i % 3}"} for i, row in enumerate(rows(90, 20)[75:])]
    regrow(tmp_path, [*rows(90, 20)[:75], *newcomers[:-5]], ["energy"])
    grown = run(tmp_path)
    before, after = parts_of(first), parts_of(grown)
    assert {track: after[track] for track in before} == before
    assert grown.training_subset("all")[: len(first.tracks("train"))] == first.training_subset("all")
    assert "59 tracks stay where the previous partition put them, 26 are new (3 new artists)" in capsys.readouterr().out
    files = {path.name: path.read_bytes() for path in (tmp_path / "partition").iterdir()}
    run(tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "partition").iterdir()} == files


def test_other_settings_start_afresh_and_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path, rows(60, 20), ["energy", "rock"], [])
    run(tmp_path)
    changed = run(tmp_path, seed=2)
    assert "other settings (seed 1 -> 2): all tracks are divided afresh" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "partition")
    assert run(tmp_path, seed=2).hash == changed.hash


def test_corrected_artists_cross_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path, rows(60, 20), ["energy", "rock"], [])
    first = run(tmp_path)
    artists = {part: first.table.loc[first.table["part"] == part, "artist"].iloc[0] for part in ("train", "test")}
    merged = [row | {"artist": artists["train"]} if row["artist"] == artists["test"] else row for row in rows(60, 20)]
    regrow(tmp_path, merged, ["energy", "rock"])
    capsys.readouterr()
    assert parts_of(run(tmp_path)) == parts_of(first)
    printed = capsys.readouterr().out
    assert f"1 artists have tracks in more than one part: {artists['train']} (3 in train, 3 in test)" in printed
    assert "listed under other artists when they got their parts" in printed


def test_an_own_split_that_changed_is_followed_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = [row | {"split": ("train", "train", "val", "test")[i % 4]} for i, row in enumerate(rows(12, 3))]
    prepare(tmp_path, table, ["rock", "energy"], [])
    run(tmp_path)
    run(tmp_path)
    assert "has changed" not in capsys.readouterr().out
    regrow(tmp_path, [table[0] | {"split": "test"}, *table[1:]], ["rock", "energy"])
    assert "song00" in run(tmp_path).tracks("test")
    assert "1 tracks are in another part now: song00 (train -> test)" in capsys.readouterr().out
    assert not (tmp_path / "partition" / "assigned.parquet").exists()


def test_a_partition_that_fails_its_checks_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, rows(60, 20), ["energy", "rock"], [])
    first = run(tmp_path)
    divide = partition.divide

    def broken(*arguments: Any) -> Any:
        found, quality = divide(*arguments)
        found.table.loc[found.table["rank"].idxmax(), ["part", "rank"]] = ["test", -1]  # a track leaves its artist
        return found, quality

    monkeypatch.setattr(partition, "divide", broken)
    with pytest.raises(TagscaleError, match=r"(?s)partition stays as it was:.*no artist is in two parts"):
        run(tmp_path)
    assert Partition.load(tmp_path / "partition").hash == first.hash


def test_folds_are_made_shown_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path, rows(60, 20), ["energy", "rock"], [])
    made = run(tmp_path, folds=4)
    assert made.folds == 4
    printed = capsys.readouterr().out
    assert all(f"fold-{number}" in printed for number in (1, 2, 3, 4))
    assert run(tmp_path, folds=4).hash == made.hash
    assert "60 tracks stay where the previous partition put them" in capsys.readouterr().out
    assert run(tmp_path).folds == 0
    assert "train not stated -> " in capsys.readouterr().out


def test_folds_beside_an_own_split_are_refused(tmp_path: Path) -> None:
    table = [row | {"split": ("train", "train", "val", "test")[i % 4]} for i, row in enumerate(rows(12, 3))]
    prepare(tmp_path, table, ["rock"], [])
    with pytest.raises(TagscaleError, match=r"partition.folds: found 3, but the dataset brings its own split"):
        run(tmp_path, folds=3)
