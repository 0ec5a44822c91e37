"""Copies of folders: tests/servers has those of MLflow's artifacts, from and to a real object store."""

import os
import shutil
from pathlib import Path

import pytest
import yaml

from manifests import K8S
from tagscale.cluster import backup
from tagscale.cluster.backup import Place
from tagscale.cluster.volume import Volume
from tagscale.params.load import load
from tagscale.runtime.errors import TagscaleError


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def read(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def run(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"BACKUP_{name.upper()}", value)
    backup.main()


FILES = {"mtt/versions/ab.json": "1", "mtt/partitions/p/partition.json": "old", "finished/runs/x/weights": "w" * 1000}


def test_what_is_lost_comes_back_and_what_is_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    data, copies = tmp_path / "data", tmp_path / "copies"
    write(data, FILES | {"mtt/store/shard": "large", "mtt/versions/.x.replacing/y": "half"})
    only = "*/versions */partitions finished"
    run(monkeypatch, **{"from": str(data), "to": str(copies), "only": only})
    assert read(copies) == FILES
    assert "3 files (0.0 MB): 3 new" in capsys.readouterr().out

    run(monkeypatch)
    assert "0 new (0.0 MB), 0 changed" in capsys.readouterr().out

    shutil.rmtree(data / "mtt")
    write(data, {"finished/runs/x/weights": "shorter"})
    run(monkeypatch, direction="restore")
    assert read(data) == FILES | {"finished/runs/x/weights": "shorter"}
    said = capsys.readouterr().out
    assert "3 files in the backup: 2 were missing (0.0 MB) and are back; 1 are there with another size and stay" in said
    assert read(copies) == FILES


def test_the_older_copy_of_a_changed_file_stays(tmp_path: Path) -> None:
    """A file of the same size and with an older time, too: a copied folder brings its files' times with it."""
    data, copies = tmp_path / "data", tmp_path / "copies"
    write(data, FILES)
    backup.backup(Place(str(data)), Place(str(copies)))
    partition = data / "mtt/partitions/p/partition.json"
    partition.write_text("new")
    os.utime(partition, (0, 0))
    os.utime(data / "finished/runs/x/weights")  # touched, not changed

    assert "0 new (0.0 MB), 1 changed" in backup.backup(Place(str(data)), Place(str(copies)))
    held = read(copies)
    assert held.pop("mtt/partitions/p/partition.json") == "new"
    (older,) = set(held) - set(FILES)
    assert older.startswith("mtt/partitions/p/partition.json~20")
    assert held[older] == "old"
    assert "3 files in the backup: 0 were missing" in backup.restore(Place(str(data)), Place(str(copies)))


def test_an_empty_backup_and_a_wrong_setting_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"from": str(tmp_path / "data"), "to": str(tmp_path / "none")}
    with pytest.raises(
        TagscaleError, match=r"none: holds no files; expected a backup\. Is BACKUP_TO that of the backup"
    ):
        run(monkeypatch, direction="restore", **settings)
    with pytest.raises(TagscaleError, match="BACKUP_DIRECTION: found 'back'; expected backup or restore"):
        run(monkeypatch, direction="back", **settings)
    with pytest.raises(TagscaleError, match="BACKUP_TO: not set; expected a folder or s3://bucket/prefix"):
        run(monkeypatch, to="")


def test_the_volumes_backup_names_the_folders_that_tasks_write(tmp_path: Path) -> None:
    params = load(K8S.parent / "params.yaml")
    volume = Volume(tmp_path, "mtt")
    written = {
        volume.partition(params) / "partition.json",
        volume.finished("runs", "run", "key") / "run.json",
        volume.finished("results", "run", "key") / "scores.parquet",
    }
    for file in written:
        write(file.parent, {file.name: ""})
    volume.record_version("ab", {})
    write(volume.store, {"shard": ""})
    job = next(one for one in yaml.safe_load_all((K8S / "tasks/backup.yaml").read_text()) if one["kind"] == "CronJob")
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    (only,) = [variable["value"] for variable in container["env"] if variable["name"] == "BACKUP_ONLY"]
    names = {str(path.relative_to(tmp_path)) for path in written} | {"mtt/versions/ab.json"}
    assert set(Place(str(tmp_path), only.split()).entries()) == names
