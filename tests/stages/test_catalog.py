"""The catalog stage: a folder in, a catalog out; a bad folder leaves the old catalog as it was."""

from pathlib import Path

import pytest

from tagscale.catalog.tables import Catalog
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json
from tagscale.stages import catalog
from user_folder import rows, settings, write_table


def test_catalog_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path / "music", rows())
    params = settings(dataset={"name": "mine"})
    catalog.run(params, root=tmp_path / "music", catalog=tmp_path / "catalog")
    found = Catalog.load(tmp_path / "catalog")
    assert found.name == "mine"
    assert len(found.tracks) == 12
    facts = read_json(tmp_path / "catalog" / "dataset.json")
    assert facts["hash"] == found.hash
    assert facts["root"] == (tmp_path / "music").as_posix()
    assert facts["source"] == "folder"
    assert "12 tracks by 6 artists, 2 tags (1 classification, 1 regression)" in capsys.readouterr().out


def test_other_table_and_inferred_tags(tmp_path: Path) -> None:
    write_table(tmp_path, rows())
    (tmp_path / "tracks.csv").rename(tmp_path / "list.csv")
    params = settings(dataset={"table": "list.csv", "tags": None})
    catalog.run(params, root=tmp_path, catalog=tmp_path / "catalog")
    assert Catalog.load(tmp_path / "catalog").tags["kind"].tolist() == ["classification", "regression"]


def test_missing_column_leaves_the_old_catalog(tmp_path: Path) -> None:
    write_table(tmp_path / "music", rows())
    catalog.run(settings(), root=tmp_path / "music", catalog=tmp_path / "catalog")
    before = Catalog.load(tmp_path / "catalog").hash
    without = [{key: cell for key, cell in row.items() if key != "artist"} for row in rows()]
    write_table(tmp_path / "music", without)
    with pytest.raises(TagscaleError, match=r"tracks\.csv: missing column `artist`.*expected track_id, path, artist"):
        catalog.run(settings(), root=tmp_path / "music", catalog=tmp_path / "catalog")
    assert Catalog.load(tmp_path / "catalog").hash == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["catalog", "music"]  # nothing half-written
