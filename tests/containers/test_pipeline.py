"""The study as a Kubeflow pipeline with every task in a container of the image, against real servers.

That is what a cluster does, without one: PostgreSQL, S3 and MLflow with users as the manifests start them, tasks
that have MLflow's user and no S3 keys, on a root file system that is read-only. The numbers are those of `dvc repro`.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from servers.real import RealServers, real_servers
from tagscale.params.load import laid_over
from tiny_project import NAMES, Project, headline_of, pipeline_state, pipelines_run, tiny_settings


@dataclass
class Ran:
    folder: Path
    servers: RealServers


@pytest.fixture(scope="module")
def by_dvc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("dvc"))
    project.repro()
    return project.folder


@pytest.fixture(scope="module")
def by_docker(request: pytest.FixtureRequest, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("docker")
    with real_servers(request.config, tmp_path_factory.mktemp("servers")) as servers, pytest.MonkeyPatch.context() as p:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            p.delenv(name)
        p.setenv("TAGSCALE_IMAGE", image)
        in_slices = laid_over(tiny_settings(), {"kubernetes": {"shards": 2}})  # so that every component has its turn
        done = pipelines_run(folder, in_slices, runner="docker", environment=servers.client)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]
        yield Ran(folder, servers)


def test_the_same_numbers_as_by_dvc(by_dvc: Path, by_docker: Ran) -> None:
    made = by_docker.folder / "pipeline-run"
    for name in NAMES:
        expected = (by_dvc / "results" / name / "metrics.json").read_bytes()
        assert (made / "results" / name / "metrics.json").read_bytes() == expected
        assert 0 < json.loads(expected)["test"]["pr_auc"] <= 1
    assert headline_of(made) == headline_of(by_dvc)
    assert (made / "reports" / "scores.json").read_bytes() == (by_dvc / "reports" / "scores.json").read_bytes()
    for name in ("waveform-all-0", "spectrogram-all-0"):
        weights = (made / "runs" / name / "weights.safetensors").read_bytes()
        assert weights == (by_dvc / "runs" / name / "weights.safetensors").read_bytes()
    candidates = [json.loads((at / "registration" / "candidate.json").read_text()) for at in (made, by_dvc)]
    for candidate in candidates:  # of trees, whose thresholds end as another C library rounds
        assert len(candidate.pop("weights_sha256")) == 64
    assert candidates[0] == candidates[1]


def test_mlflow_has_runs_the_champion_and_the_end(by_docker: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in by_docker.servers.client.items():
        monkeypatch.setenv(name, value)
    client = MlflowClient(by_docker.servers.address)
    settings = tiny_settings()
    experiment = client.get_experiment_by_name(settings["tracking"]["experiment"])
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(NAMES) <= runs.keys()
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    (pipeline,) = [run for run in runs.values() if "tagscale.pipeline_run" in run.data.tags]
    assert pipeline.data.tags["tagscale.state"] == "SUCCEEDED"
    assert client.get_model_version_by_alias(settings["registry"]["name"], "champion").version == "1"
    assert any(key.endswith("weights.safetensors") for key in by_docker.servers.stored())
    assert not (by_docker.folder / "mlflow.db").exists()


def test_what_tasks_wrote_is_of_who_ran_them(by_docker: Ran) -> None:
    owners = {path.lstat().st_uid for path in (by_docker.folder / "pipeline-run").rglob("*")}
    assert owners == {os.getuid()}


def test_a_task_that_fails_fails_the_pipeline(image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGSCALE_IMAGE", image)
    wrong = {"synth": {"tracks": 12, "artists": 12}, "validation": {"min_seconds": 60.0, "max_quarantined": 0.0}}
    done = pipelines_run(tmp_path, laid_over(tiny_settings(), wrong), runner="docker", pipeline="data")
    assert done.returncode == 1
    assert "'validate'" in done.stderr.splitlines()[-1], f"{done.stdout[-5000:]}\n{done.stderr[-2000:]}"
    assert "did not pass validation" in done.stdout, "the message of the stage is shown"
    assert pipeline_state(tmp_path) == ["FAILED"]
