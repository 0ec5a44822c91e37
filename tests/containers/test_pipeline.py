"""The study as a Kubeflow pipeline with every task in a container of the image: the same numbers as by DVC."""

import json
import sqlite3
from pathlib import Path

import pytest

from tagscale.params import laid_over
from tiny_project import NAMES, Project, pipeline_state, pipelines_run, tiny_settings


@pytest.fixture(scope="module")
def by_dvc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("dvc"))
    project.repro()
    return project.folder


@pytest.fixture(scope="module")
def by_docker(image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docker")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAGSCALE_IMAGE", image)
        in_slices = laid_over(tiny_settings(), {"kubernetes": {"shards": 2}})  # so that every component has its turn
        done = pipelines_run(folder, in_slices, runner="docker")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]
    return folder


def test_the_same_numbers_as_by_dvc(by_dvc: Path, by_docker: Path) -> None:
    for name in NAMES:
        expected = (by_dvc / "results" / name / "metrics.json").read_bytes()
        assert (by_docker / "pipeline-run" / "results" / name / "metrics.json").read_bytes() == expected
        assert 0 < json.loads(expected)["test"]["pr_auc"] <= 1
    for file in ("reports/metrics.json", "registration/candidate.json"):
        assert (by_docker / "pipeline-run" / file).read_bytes() == (by_dvc / file).read_bytes()


def test_mlflow_knows_runs_versions_and_the_end(by_docker: Path) -> None:
    with sqlite3.connect(by_docker / "mlflow.db") as store:
        names = {name for (name,) in store.execute("SELECT name FROM runs WHERE status = 'FINISHED'")}
        versions = store.execute("SELECT count(*) FROM model_versions").fetchone()
    assert set(NAMES) <= names
    assert versions == (1,)
    assert pipeline_state(by_docker) == ["SUCCEEDED"]


def test_a_task_that_fails_fails_the_pipeline(image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGSCALE_IMAGE", image)
    wrong = {"synth": {"tracks": 12, "artists": 12}, "validation": {"min_seconds": 60.0, "max_quarantined": 0.0}}
    done = pipelines_run(tmp_path, laid_over(tiny_settings(), wrong), runner="docker", pipeline="data")
    assert done.returncode == 1
    assert "'validate'" in done.stderr.splitlines()[-1]
    assert "did not pass validation" in done.stdout, "the message of the stage is shown"
    assert pipeline_state(tmp_path) == ["FAILED"]
