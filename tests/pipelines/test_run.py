"""`python -m pipelines run`: a tiny study through every stage as Kubeflow tasks, and one that must stop."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pipelines.__main__ import app, run
from typer.testing import CliRunner

from tagscale.errors import TagscaleError
from tagscale.params import laid_over, read_yaml

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "tiny.yaml"
NAMES = ["waveform-all-0", "spectrogram-all-0", "descriptors-all-0"]


def pipelines_run(folder: Path, preset: dict, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the pipeline in `folder` with the tiny study's settings and what `preset` changes of them."""
    smaller = {"train": {"sizes": ["all"], "max_epochs": 1}}
    settings = laid_over(laid_over(read_yaml(TINY), smaller), preset)
    (folder / "preset.yaml").write_text(yaml.safe_dump(settings))
    files = ["--params", str(ROOT / "params.yaml"), "--preset", str(folder / "preset.yaml")]
    command = [sys.executable, "-m", "pipelines", "run", "--runner", "subprocess", *files, *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_the_tiny_study_ends_with_a_report_and_a_registered_version(tmp_path):
    done = pipelines_run(tmp_path, {})
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

    output = tmp_path / "pipeline-run"
    for name in NAMES:
        metrics = json.loads((output / "results" / name / "metrics.json").read_text())
        identity = metrics["identity"]
        assert f"{identity['model']}-{identity['size']}-{identity['seed']}" == name
        assert identity["dataset"] == "tiny-corpus"
        assert 0 < metrics["test"]["pr_auc"] <= 1
        assert 0 <= metrics["test"]["roc_auc"] <= 1
        assert 0 <= metrics["test"]["rmse"] <= 1
    report = (output / "reports" / "report.html").read_text()
    assert "waveform" in report
    assert "spectrogram" in report
    assert json.loads((output / "registration" / "registration.json").read_text())
    assert (tmp_path / "mlflow.db").is_file(), "the tasks tracked somewhere else than their caller"
    for line in ("reports/report.html", "reports/metrics.json", "registration/registration.json"):
        assert f"pipeline-run/{line}" in done.stdout


@pytest.mark.slow
def test_a_stage_that_stops_stops_the_run_and_is_named(tmp_path):
    done = pipelines_run(
        tmp_path, {"synth": {"tracks": 12, "artists": 12}, "validation": {"min_seconds": 60.0, "max_quarantined": 0.0}}
    )
    assert done.returncode == 1
    assert "'validate'" in done.stderr.splitlines()[-1]
    assert "TagscaleError" in done.stdout, "the message of the stage is shown"
    assert not (tmp_path / "pipeline-run" / "reports").exists()


def test_a_folder_that_is_not_there(tmp_path):
    (tmp_path / "preset.yaml").write_text("dataset: {source: folder}")
    with pytest.raises(TagscaleError, match="nowhere: no such folder; give the dataset's"):
        run(params=ROOT / "params.yaml", preset=tmp_path / "preset.yaml", root=Path("nowhere"), output=tmp_path)


def test_a_root_for_a_composed_corpus(tmp_path):
    with pytest.raises(TagscaleError, match="which reads no folder"):
        run(params=ROOT / "params.yaml", preset=TINY, root=tmp_path, output=tmp_path)


def test_an_unknown_runner():
    told = CliRunner().invoke(app, ["run", "--runner", "docker"])
    assert told.exit_code == 2
    assert "'docker' is not one of" in told.output
