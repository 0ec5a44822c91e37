"""`python -m pipelines run` refuses what cannot run. (tests/test_orchestrators.py runs it for real.)"""

from pathlib import Path

import pytest
from pipelines.__main__ import app
from pipelines.run import folders_of, settings_here
from typer.testing import CliRunner

from tagscale.params.load import Params, load
from tagscale.runtime.errors import TagscaleError

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "tiny.yaml"


def folder_settings(tmp_path: Path) -> Params:
    (tmp_path / "preset.yaml").write_text("dataset: {source: folder, root: songs}")
    return load(ROOT / "params.yaml", tmp_path / "preset.yaml")


def test_a_missing_folder(tmp_path):
    with pytest.raises(TagscaleError, match="nowhere: no such folder; give the dataset's"):
        settings_here(folder_settings(tmp_path), Path("nowhere"), tmp_path)


def test_a_root_for_a_composed_corpus(tmp_path):
    with pytest.raises(TagscaleError, match="which reads no folder"):
        settings_here(load(ROOT / "params.yaml", TINY), tmp_path, tmp_path)


def test_the_volume_is_a_folder_of_the_output_and_the_dataset_keeps_its_own(tmp_path, monkeypatch):
    (tmp_path / "songs").mkdir()
    monkeypatch.chdir(tmp_path)
    settings = settings_here(folder_settings(tmp_path), None, tmp_path / "out")
    assert settings.kubernetes.mount == str(tmp_path / "out" / "volume")
    assert settings.dataset.root == str(tmp_path / "songs")
    assert settings.train == load(ROOT / "params.yaml").train


def test_containers_see_the_files_of_a_list_wherever_they_lie(tmp_path):
    lists, music = tmp_path / "lists", tmp_path / "music"
    lists.mkdir()
    (lists / "inside.m3u").write_text("a/1.mp3\ns3://songs/2.mp3\n")
    assert folders_of(lists / "inside.m3u") == [lists]
    (lists / "outside.txt").write_text(f"1.mp3\n{music}/rock/2.mp3\n../music/jazz/3.mp3\n")
    assert folders_of(lists / "outside.txt") == [lists, music]
    assert folders_of(tmp_path) == [tmp_path]
    (lists / "far.csv").write_text(f"path\n/elsewhere/1.mp3\n{music}/2.mp3\n")
    with pytest.raises(TagscaleError, match=r"far\.csv: no folder but / is around the files .* /elsewhere"):
        folders_of(lists / "far.csv")


def test_an_unknown_runner():
    result = CliRunner().invoke(app, ["run", "--runner", "podman"])
    assert result.exit_code == 2
    assert "'podman' is not one of" in result.output


def test_an_unknown_pipeline(tmp_path):
    result = CliRunner().invoke(app, ["run", "--pipeline", "studdy", "--params", str(ROOT / "params.yaml")])
    assert isinstance(result.exception, TagscaleError)
    assert "no pipeline 'studdy'" in str(result.exception)
