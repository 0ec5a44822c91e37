"""Runs and their records: found by MLflow's own id, made again where a store lacks them, never left RUNNING."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from registry.tiny import empty_store
from tagscale import tracking
from tagscale.runtime.identity import RunIdentity
from tagscale.runtime.owner import this_process
from tagscale.tracking.runs import ORIGINAL
from tagscale.tracking.unsent import LOGGED, read

IDENTITY = RunIdentity("waveform", "300", 0, "corpus", "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc")
AXES = {"model": "waveform", "size": "300", "seed": "0"}
GONE = json.dumps(json.loads(this_process()) | {"begun": "1"})  # its number belongs to another process now


def train(folder: Path, epochs: int = 3, ends: BaseException | None = None, batch: int = 8) -> str:
    """A training that logs as the train stage does. Returns MLflow's id of its run."""
    with tracking.start_run("study", IDENTITY, {"batch": batch}, folder, folder.with_suffix(".unfinished")) as run:
        run.set_tags({"tagscale.split": "artist"})
        for epoch in range(1, epochs + 1):
            if epoch not in run.steps_of("loss"):
                run.log_metrics({"loss": 1 / epoch, "rate": 0.1}, epoch)
        if ends:
            raise ends
        folder.mkdir(exist_ok=True)
        (folder / "weights").write_text("w")
        run.log_params({"parameters": 7})
        run.log_model("weights")
    return run.run_id


def content(run_id: str) -> dict[str, Any]:
    """All that MLflow has of a run, but for its id and its process."""
    client = tracking.connect()
    run = client.get_run(run_id)
    own = ("tagscale.process", ORIGINAL, tracking.PARENT)
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    return {
        "times": (run.info.status, run.info.start_time, run.info.end_time, run.info.run_name),
        "params": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items() if key not in own},
        "curves": {
            key: [(point.step, point.value, point.timestamp) for point in client.get_metric_history(run_id, key)]
            for key in run.data.metrics
        },
        "models": [(model.name, model.status, model.params) for model in models],
        "files": [file.path for m in models for file in client.list_logged_model_artifacts(m.model_id, "checkpoint")],
        "inputs": [one.dataset.digest for one in run.inputs.dataset_inputs],
    }


def change(database: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement, values)


def found(folder: Path | None) -> str:
    with tracking.find_run("study", IDENTITY, folder) as run:
        pass
    return run.run_id


def test_the_clock_set_back_attaches_nothing_to_an_older_run(store: Path) -> None:
    train(store / "first")
    second = train(store / "second")
    change(store / "mlflow.db", "UPDATE runs SET start_time = 1 WHERE run_uuid = ?", second)
    assert found(store / "second") == second


def test_a_second_evaluation_counts_though_the_clock_was_set_back(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(store / "run")
    for now, value in ((2e9, 0.25), (1e9, 0.5), (1e9, 0.5)):
        monkeypatch.setattr("tagscale.tracking.runs.time", SimpleNamespace(time=lambda now=now: now))
        with tracking.find_run("study", IDENTITY, store / "run") as run:
            run.log_metrics({"test_pr_auc": value, "test_rmse": None, "test_nan": float("nan")})
            assert run.metrics()["test_pr_auc"] == value
    times = {point.timestamp for point in run.client.get_metric_history(run.run_id, "test_pr_auc")}
    assert times == {10**12, 2 * 10**12, 2 * 10**12 + 1}, "the third evaluation changes nothing"


def test_a_training_resumes_the_run_of_its_record_whatever_the_clock_says(store: Path) -> None:
    train(store / "first")
    with pytest.raises(KeyboardInterrupt):
        train(store / "second", epochs=2, ends=KeyboardInterrupt())
    record, entries = read(store / "second.unfinished" / LOGGED)
    change(store / "mlflow.db", "UPDATE runs SET start_time = 1 WHERE run_uuid = ?", record.run_id)
    with open(record.file, "a") as file:
        file.write('{"metrics": [["lo')  # a kill in the middle of a line
    assert train(store / "second") == record.run_id
    record, entries = read(store / "second" / LOGGED)
    assert [entry["metrics"][0][3] for entry in entries if "metrics" in entry] == [1, 2, 3]
    assert [entry["status"] for entry in entries if "status" in entry] == ["FINISHED"]
    assert not (store / "second.unfinished").exists()


@pytest.mark.parametrize("how", ["deleted", "another store"])
def test_a_run_that_the_store_lacks_is_made_again_from_its_record(
    store: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    how: str,
) -> None:
    run_id = train(store / "run")
    expected = content(run_id)
    before = {file.name: file.read_bytes() for file in (store / "run").iterdir()}
    if how == "deleted":
        tracking.connect().delete_run(run_id)
    else:
        (store / "other").mkdir()
        empty_store(request.config, store / "other")
        monkeypatch.chdir(store / "other")
    again = found(store / "run")
    assert again != run_id
    assert content(again) == expected
    news = "was deleted in" if how == "deleted" else "is missing in"
    assert f"Run {run_id} of waveform-300-0 {news} MLflow at sqlite:///" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in (store / "run").iterdir()} == before, "other stages hold its hash"
    assert found(store / "run") == again
    assert capsys.readouterr().err == ""


def test_a_record_does_not_name_the_run_that_its_run_nests_in(store: Path) -> None:
    """A store that gets the run from the record has no such run."""
    folder = store / "run"
    with tracking.nested_in("3f0c"), pytest.raises(KeyboardInterrupt):
        train(folder, ends=KeyboardInterrupt())
    shutil.rmtree(folder.with_suffix(".unfinished"))  # the record begins with what MLflow's run has
    with tracking.nested_in("77aa"):
        run_id = train(folder)
    assert tracking.connect().get_run(run_id).data.tags[tracking.PARENT] == "77aa", "of the pipeline that resumed it"
    assert tracking.PARENT not in (folder / LOGGED).read_text()


def test_a_run_that_was_sent_in_part_is_completed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = train(store / "run")
    expected = content(run_id)
    tracking.connect().delete_run(run_id)

    def interrupted(folder: Path) -> Iterator[tuple[Path, str]]:
        yield folder / "weights", ""
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tagscale.tracking.outbox.files_in", interrupted)
        with pytest.raises(KeyboardInterrupt):
            found(store / "run")
    assert content(found(store / "run")) == expected
    (made,) = tracking.connect().search_runs(["1"], f"tags.`{ORIGINAL}` = '{run_id}'")
    assert made.info.status == "FINISHED"


def test_the_run_of_a_record_is_the_one_that_this_store_has(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = train(store / "run")
    assert tracking.recorded_run(store / "run") == run_id
    tracking.connect().delete_run(run_id)
    assert tracking.recorded_run(store / "run") is None
    made = found(store / "run")
    assert tracking.recorded_run(store / "run") == made != run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("TAGSCALE_MLFLOW_WAIT", "600")
    assert tracking.recorded_run(store / "run") == run_id, "nobody answers"
    assert tracking.recorded_run(store) is None


def status(run_id: str, process: str | None = None) -> str:
    """Status of a run, after it was left RUNNING by a process if one is given, and another run was opened."""
    client = tracking.connect()
    if process is not None:
        client.update_run(run_id, status="RUNNING")
        client.set_tag(run_id, tracking.PROCESS, process)
        with tracking.study_run("study", "comparison", {}):
            pass
    return str(client.get_run(run_id).info.status)


def test_a_run_that_a_killed_process_left_is_killed(store: Path) -> None:
    run_id = train(store / "run")
    assert status(run_id, GONE) == "KILLED"
    run = tracking.connect().get_run(run_id)
    assert run.info.end_time == tracking.connect().get_metric_history(run_id, "loss")[-1].timestamp
    assert train(store / "run") == run_id, "the training resumes it"
    assert status(run_id) == "FINISHED"


@pytest.mark.parametrize("facts", [{"host": "other"}, {"machine": "other"}, {"pid": os.getppid()}, None])
def test_a_run_that_may_be_in_work_is_left_running(store: Path, facts: dict[str, Any] | None) -> None:
    from tagscale.runtime import owner

    run_id = train(store / "run")
    if facts and "pid" in facts:  # a live process of this machine
        facts = facts | {"begun": owner._begun(os.getppid())}
    process = "" if facts is None else json.dumps(json.loads(GONE) | facts)
    assert status(run_id, process) == "RUNNING"
    if facts and "pid" in facts:
        assert train(store / "run") != run_id, "a second training has a run of its own"


def test_a_record_that_cannot_be_written_costs_no_training(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tagscale.tracking.unsent.Unsent.append", full)
        run_id = train(store / "run")
    assert content(run_id)["times"][0] == "FINISHED"
    assert capsys.readouterr().out.count("could not be written (no space left on the device). Training continues") == 1
    assert not (store / "run" / LOGGED).exists()


def test_a_copied_folder_of_another_identity_is_not_taken(store: Path) -> None:
    run_id = train(store / "run")
    shutil.copytree(store / "run", store / "copy")
    other = RunIdentity("waveform", "300", 1, "corpus", "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc")
    with tracking.find_run("study", other, store / "copy") as run:
        pass
    assert run.run_id != run_id
