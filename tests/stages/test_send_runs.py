"""Send runs: a store that has lost runs, or never had them, gets all that is in the folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from registry.tiny import empty_store
from tagscale import tracking
from tagscale.cli import main
from tagscale.params.load import Params
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import SEAL, write_json
from tagscale.stages import send_runs

NAME = "descriptors-16-7"


@pytest.fixture
def sent(study: Any, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A run with results, and another store as the current one."""
    params: Params = study.params(evaluate={"resamples": 20})
    if not (study.root / "results" / NAME).exists():
        study.evaluate(params, study.train(params, "descriptors", 16, 7, f"runs/{NAME}"), f"results/{NAME}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{empty_store(request.config, tmp_path)}/mlflow.db")
    return params


def send(study: Any, params: Params, *names: str) -> None:
    names = names or (NAME,)
    folders = {part: [study.root / part / name for name in names] for part in ("runs", "results")}
    send_runs.run(params, **folders)


def runs_there() -> list[Any]:
    client = tracking.connect()
    experiment = client.get_experiment_by_name("sounds").experiment_id
    return list(client.search_runs([experiment], "tags.`tagscale.model` != ''"))


def test_a_run_is_sent_with_settings_files_and_results(study, sent: Params, capsys: pytest.CaptureFixture) -> None:
    send(study, sent)
    (run,) = runs_there()
    assert f"{NAME}: run {run.info.run_id}, with its results, which are sent now" in capsys.readouterr().out
    assert (run.info.status, run.info.run_name) == ("FINISHED", NAME)
    assert run.data.params["baseline.trees"] == "20"
    assert run.data.params["train_tracks"] == "16"
    numbers = json.loads((study.root / "results" / NAME / "metrics.json").read_text())
    assert run.data.metrics["test_pr_auc"] == numbers["test"]["pr_auc"]
    assert run.data.metrics["test_pr_auc_low"] == numbers["intervals"]["test"]["pr_auc"][0]
    client = tracking.connect()
    (model,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    files = {file.path for file in client.list_logged_model_artifacts(model.model_id, "checkpoint")}
    assert "checkpoint/trees.ubj.gz" in files
    scores = {metric.key: metric for metric in client.get_logged_model(model.model_id).metrics}
    assert scores["test_pr_auc"].value == numbers["test"]["pr_auc"], "MLflow's page of models has the scores"
    assert scores["test_pr_auc"].dataset_digest == run.inputs.dataset_inputs[0].dataset.digest
    assert {file.path for file in client.list_artifacts(run.info.run_id, "results")} == {
        "results/decisions.json",
        "results/metrics.json",
        "results/per_tag.csv",
    }

    send(study, sent)
    assert len(runs_there()) == 1
    points = client.get_metric_history(run.info.run_id, "test_pr_auc")
    assert len(points) == 1, "what is there is left alone"
    assert capsys.readouterr().out == f"{NAME}: run {run.info.run_id}, with its results\n"


def test_one_bad_run_does_not_end_the_others(study, sent: Params, capsys: pytest.CaptureFixture) -> None:
    bad = study.root / "runs" / "bad-16-7"
    bad.mkdir(exist_ok=True)
    (bad / "run.json").write_text("{")
    with pytest.raises(TagscaleError, match=r"^1 of 2 runs were not sent"):
        send(study, sent, bad.name, NAME)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{bad}: not sent: {bad}/run.json: not")
    assert lines[1].startswith(f"{NAME}: run ")
    shutil.rmtree(bad)


def test_results_of_another_run_are_refused(study, sent: Params, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.copytree(study.root / "results" / NAME, tmp_path / "results" / NAME)
    file = tmp_path / "results" / NAME / "metrics.json"
    numbers = json.loads(file.read_text())
    numbers["identity"]["seed"] = 8
    write_json(file, numbers | {SEAL: ""})
    with pytest.raises(TagscaleError, match="1 of 1"):
        send_runs.run(sent, runs=[study.root / "runs" / NAME], results=[file.parent])
    expected = "holds the results of another run. Run `tagscale evaluate --model descriptors --size 16 --seed 7` again."
    assert expected in capsys.readouterr().out


def test_names_that_are_not_there_are_refused(study, sent: Params, capsys: pytest.CaptureFixture) -> None:
    params = Path(__file__).parents[2] / "params.yaml"
    with pytest.raises(SystemExit):
        main(["send-runs", "nothing", "--params", str(params)])
    said = " ".join(capsys.readouterr().err.split())
    assert "runs: no nothing there. Trained runs: " in said
    assert NAME in said
