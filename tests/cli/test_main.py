"""The command line as its users meet it: what it prints, what it refuses, what it changes."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tagscale.cli import main
from tagscale.evaluation.metrics import METRICS
from tagscale.params.load import load
from tiny_project import run as command

ROOT = Path(__file__).parents[2]


def run(*words: str) -> int:
    """Exit status of `tagscale` with these words."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def test_a_preset_changes_its_values_and_keeps_the_comments(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("preset", "gtzan") == 0
    said = capsys.readouterr().out
    assert re.match(r"params\.yaml now follows presets/gtzan\.yaml: \d+ values changed\.\n", said)
    assert "dataset.source: synth -> gtzan" in said
    assert "git" not in said, "the folder is no repository"
    assert load(Path("params.yaml")) == load(ROOT / "params.yaml", ROOT / "presets" / "gtzan.yaml")
    before, after = (re.findall("#.*", (folder / "params.yaml").read_text()) for folder in (ROOT, project))
    assert before == after


@pytest.mark.slow
@pytest.mark.parametrize("table", [1, 2, 3, 4])
def test_a_dry_run_lists_the_runs_of_a_table(project: Path, table: int, programs: Path) -> None:
    """Without the data, too: `--force` keeps DVC from looking for it, `--dry` from running anything."""
    assert run("preset", f"table-{table}") == 0
    grid = load(Path("params.yaml")).train
    shutil.copy(ROOT / "dvc.yaml", project)

    def dvc(*words: str) -> str:
        done = command(project, "dvc", *words, programs=programs)
        assert done.returncode == 0, done.stderr
        return done.stdout

    dvc("init", "--no-scm", "--quiet")
    listed = [line.removeprefix("> tagscale ") for line in dvc("repro", "--dry", "--force").splitlines()]
    wanted = {
        f"train --model {model} --size {size} --seed {seed}"
        for model in grid.everyone
        for size in grid.sizes
        for seed in grid.seeds
    }
    assert {line for line in listed if line.startswith("train ")} == wanted


def test_an_unknown_preset_names_those_that_exist(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("preset", "magnatune") == 1
    known = "all-models, basic, fma, gtzan, jamendo, magnatune160, mgphot, msd, mtt, own, table-1, table-2"
    assert f"In presets/: {known}" in capsys.readouterr().err


def test_the_first_stage_refuses_a_metric_that_the_last_one_does_not_know(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = project / "params.yaml"
    settings.write_text(settings.read_text().replace("metric: pr_auc", "metric: pr_uac"))
    assert run("synth") == 1
    expected = f"registry.metric: found 'pr_uac', expected a metric: {', '.join(METRICS)}."
    assert expected in capsys.readouterr().err
    assert not (project / "data").exists()


def test_a_wrong_preset_leaves_the_settings_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "presets" / "mine.yaml").write_text("train: {btach: 4}\n")
    assert run("preset", "mine") == 1
    assert "did you mean `batch`?" in capsys.readouterr().err
    assert (project / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()


def test_a_size_that_is_no_number_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--model", "waveform", "--size", "many") == 1
    assert "--size many: expected a number of training tracks, or `all`" in capsys.readouterr().err


@pytest.mark.slow
def test_the_champion_tags_files_and_can_be_moved(
    tiny_study: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tiny_study.folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = ("--params", str(ROOT / "params.yaml"))
    song = next((tiny_study.folder / "data" / "corpus" / "audio").rglob("*.flac"))
    capsys.readouterr()

    assert run("tag", str(song), "nowhere.mp3", "--json", *settings) == 1, "one of the two files is missing"
    tagged, missing = json.loads(capsys.readouterr().out)["files"]
    assert all(0 <= score <= 1 for score in tagged["scores"].values())
    assert "error" in missing

    assert run("promote", "1", *settings) == 1
    assert "is the champion already" in capsys.readouterr().err
    assert run("rollback", *settings) == 1
    assert "no earlier one to go back to" in capsys.readouterr().err
    assert run("history", "--json", *settings) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert (record["champion"], record["replaced"]) == ("1", None)
