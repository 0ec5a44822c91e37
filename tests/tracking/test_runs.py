"""Runs in a real SQLite store: found again by identity, continued after an interruption, closed with their status."""

import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tagscale import tracking
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import RunIdentity

IDENTITY = RunIdentity("waveform", "300", 0, "corpus", "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc")


def test_run_carries_identity_commit_dataset_params_and_curves(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGSCALE_GIT_COMMIT", "f" * 40)
    (store / "figures").mkdir()
    (store / "figures" / "curve.txt").write_text("curve")
    (store / "note.txt").write_text("note")

    with tracking.start_run("study", IDENTITY, {"train": {"batch": 32}, "loss": "mse"}) as run:
        for epoch in range(3):
            run.log_metrics({"train_loss": 1 / (epoch + 1), "valid_rmse": None}, step=epoch)
        run.log_artifacts(store / "figures", "figures")
        run.log_artifacts(store / "note.txt")
        run.set_tags({"stopped": "early"})

    client = tracking.connect()
    kept = client.get_run(run.run_id)
    assert (kept.info.run_name, kept.info.status) == ("waveform-300-0", "FINISHED")
    axes = {"model": "waveform", "size": "300", "seed": "0"}
    assert kept.data.params == {"train.batch": "32", "loss": "mse"} | axes, "what MLflow's charts can have as axes"
    assert tracking.identity_tags(IDENTITY).items() <= kept.data.tags.items()
    assert kept.data.tags["mlflow.source.git.commit"] == "f" * 40
    assert kept.data.tags["stopped"] == "early"
    assert [point.value for point in client.get_metric_history(run.run_id, "train_loss")] == [1, 1 / 2, 1 / 3]
    assert "valid_rmse" not in kept.data.metrics
    (given,) = kept.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("corpus", "aaaaaaaaaaaa")
    assert kept.info.artifact_uri.startswith((store / "mlartifacts").as_uri())
    assert {entry.path for entry in client.list_artifacts(run.run_id)} == {"figures", "note.txt"}


def test_interrupted_run_is_continued_and_a_finished_one_is_not(store: Path) -> None:
    def trained(settings: dict[str, int], fail: bool = False) -> str:
        with tracking.start_run("study", IDENTITY, settings) as run:
            if fail:
                raise KeyboardInterrupt
        return run.run_id

    with pytest.raises(KeyboardInterrupt):
        trained({"batch": 8}, fail=True)
    client = tracking.connect()
    (killed,) = client.search_runs([client.get_experiment_by_name("study").experiment_id])
    assert killed.info.status == "KILLED"
    first = trained({"batch": 8, "later": 1})
    assert first == killed.info.run_id
    assert client.get_run(first).info.status == "FINISHED"
    assert trained({"batch": 8}) != first


def test_interrupted_run_with_other_settings_is_left_alone(store: Path) -> None:
    with pytest.raises(ZeroDivisionError), tracking.start_run("study", IDENTITY, {"batch": 8}) as failed:
        1 / 0  # noqa: B018
    with tracking.start_run("study", IDENTITY, {"batch": 16}) as other:
        pass
    assert failed.run_id != other.run_id
    assert tracking.connect().get_run(failed.run_id).info.status == "FAILED"


def test_find_run_takes_the_newest_of_its_identity_only(store: Path) -> None:
    with tracking.start_run("study", IDENTITY, {}):
        pass
    time.sleep(0.01)  # start times are milliseconds
    with tracking.start_run("study", IDENTITY, {}) as newest:
        pass
    ended = tracking.connect().get_run(newest.run_id).info.end_time
    with tracking.find_run("study", IDENTITY) as found:
        found.log_metrics({"test_pr_auc": 0.5})
    assert found.run_id == newest.run_id
    assert tracking.connect().get_run(newest.run_id).info.end_time == ended, "duration stays that of the training"

    elsewhere = RunIdentity("waveform", "300", 0, "corpus", "aaaaaaaaaaaa", "another", "cccccccccccc")
    with tracking.find_run("study", elsewhere) as started:
        pass
    assert started.run_id != newest.run_id


def test_study_run_has_its_own_name_and_tags(store: Path) -> None:
    with tracking.study_run("study", "comparison", {"tagscale.partition_hash": "bbbbbbbbbbbb"}) as run:
        run.log_metrics({"best": 1.0})
    kept = tracking.connect().get_run(run.run_id)
    assert kept.info.run_name == "comparison"
    assert kept.data.tags["tagscale.partition_hash"] == "bbbbbbbbbbbb"


def test_absent_server_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        waited: list[float] = []
        clock = SimpleNamespace(monotonic=time.monotonic, sleep=waited.append)
        monkeypatch.setattr("tagscale.tracking.server.time", clock)
        with pytest.raises(TagscaleError, match=rf"{uri}: no MLflow server answers.*MLFLOW_TRACKING_URI"):
            tracking.connect()
        assert not waited


@pytest.mark.parametrize("uri", ["file:///somewhere/mlruns", "mlruns", "teapot://kitchen"])
def test_stores_that_mlflow_cannot_use_are_refused_with_their_address(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TagscaleError, match=uri):
        tracking.connect()


def test_database_of_something_else_is_refused(store: Path) -> None:
    (store / "mlflow.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(TagscaleError, match=r"mlflow\.db.*not a database"), tracking.find_run("study", IDENTITY):
        pass


def test_deleted_experiment_says_how_to_restore_it(store: Path) -> None:
    with tracking.find_run("study", IDENTITY) as run:
        pass
    tracking.connect().delete_experiment(run.experiment_id)
    with pytest.raises(TagscaleError, match="restore"), tracking.find_run("study", IDENTITY):
        pass


@pytest.mark.parametrize("text", ["{", "[]", '{"team": 1}'])
def test_tags_from_the_environment_that_are_none(store: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MLFLOW_RUN_CONTEXT", text)
    with pytest.raises(TagscaleError, match="MLFLOW_RUN_CONTEXT: expected tags as JSON"):
        tracking.study_run("study", "comparison", {}).__enter__()


def test_absent_artifact_is_named(store: Path) -> None:
    with (
        pytest.raises(TagscaleError, match=r"nowhere\.png: no such file"),
        tracking.study_run("study", "comparison", {}) as run,
    ):
        run.log_artifacts(store / "nowhere.png")


@pytest.mark.slow
def test_nothing_is_printed(store: Path) -> None:
    """A user's terminal shows tagscale's words only: no migrations, no links, no hints of MLflow."""
    code = (
        "from tagscale import tracking\nfrom tagscale.runtime import identity\n"
        "me = identity.RunIdentity('waveform', 'all', 0, 'd', 'h', 'p', 's')\n"
        "with tracking.start_run('study', me, {'a': 1}) as run: run.log_metrics({'x': 1.0})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=store, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
    with sqlite3.connect(store / "mlflow.db") as database:
        assert database.execute("select count(*) from runs").fetchone() == (1,)
