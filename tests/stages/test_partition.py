"""The partition stage: what validation left is divided; what it refused is not."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tagscale.data.catalog import Catalog
from tagscale.data.partition import Partition
from tagscale.errors import TagscaleError
from tagscale.files import read_json, write_json
from tagscale.stages import catalog, partition
from user_folder import rows, settings, write_table


def prepare(folder: Path, table: list[dict[str, Any]], tags: list[str], quarantined: list[str]) -> None:
    """A catalog and the two files of validation that the stage reads."""
    write_table(folder / "music", table)
    catalog.run(settings(), root=folder / "music", catalog=folder / "catalog")
    (folder / "validation").mkdir()
    lines = pd.DataFrame({"track_id": quarantined, "path": "a.wav", "reason": "no such file"})
    lines.to_csv(folder / "validation" / "quarantine.csv", index=False)
    found = {"catalog": Catalog.load(folder / "catalog").hash, "passed": True, "tags": tags, "data_hash": "d" * 12}
    write_json(folder / "validation" / "validation.json", found)


def run(folder: Path, **changes: Any) -> Partition:
    folders = {name: folder / name for name in ("catalog", "validation", "partition")}
    partition.run(settings(partition=changes), **folders)
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


def test_fewer_artists_than_parts(tmp_path: Path) -> None:
    prepare(tmp_path, rows(12, 3), ["rock"], [f"song{i:02}" for i in range(0, 12, 3)])
    with pytest.raises(TagscaleError, match=r"the dataset has 2 artist\(s\)"):
        run(tmp_path)
    assert not (tmp_path / "partition").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"passed": False}, r"the dataset did not pass; see validation\.html"),
        ({"catalog": "000000000000"}, "made from another catalog. Run `tagscale validate` again"),
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
