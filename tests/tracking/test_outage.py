"""A training whose MLflow server goes away, in every way that servers do: nothing is lost, sent twice or waited for."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from servers.flaky import FlakyMlflow, flaky_mlflow
from tagscale import tracking
from tagscale.registry.versions import Registry
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import RunIdentity
from tagscale.tracking import outbox
from tagscale.tracking.unsent import LOGGED, UNSENT, Unsent, is_entry, read

LOG_BATCH = "/api/2.0/mlflow/runs/log-batch"


@pytest.fixture(scope="module")
def mlflow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlakyMlflow]:
    with flaky_mlflow(request.config, tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture
def server(mlflow: FlakyMlflow, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyMlflow]:
    """The server, well when a test begins and when it ends."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.address)
    monkeypatch.setattr(outbox, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(outbox, "FIRST_PAUSE", 0.0)
    yield mlflow
    mlflow.mode, mlflow.script, mlflow.fails = "well", [], lambda path: True
    if mlflow.server is None:
        mlflow.start()


class Training:
    """A training of so many epochs, as the train stage does it: with the folder of its run, and that of its state."""

    def __init__(self, folder: Path, name: str) -> None:
        self.run, self.unfinished = folder / "run", folder / "run.unfinished"
        self.identity = RunIdentity("waveform", "all", 0, name, "d", "p", "s")
        self.run_ids: list[str] = []

    def __call__(self, epochs: int = 3, at: dict[int, Any] | None = None) -> None:
        """`at`: what happens before an epoch is logged; epochs + 1: before the end."""
        with tracking.start_run("outage", self.identity, {"batch": 8}, self.run, self.unfinished) as run:
            self.run_ids.append(run.run_id)
            run.set_tags({"split": "artist"})
            for epoch in range(1, epochs + 2):
                if at and epoch in at:
                    at[epoch]()
                if epoch <= epochs and epoch not in run.steps_of("loss"):
                    run.log_metrics({"loss": 1 / epoch, "rate": 0.1}, epoch)
            self.run.mkdir(exist_ok=True)
            (self.run / "weights").write_text("w")
            run.log_params({"parameters": 7})
            run.log_model("weights")

    @property
    def journal(self) -> Path:
        return self.unfinished / UNSENT


@pytest.fixture
def training(tmp_path: Path, request: pytest.FixtureRequest) -> Training:
    return Training(tmp_path, request.node.name)


def check_complete(server: FlakyMlflow, training: Training, epochs: int = 3, runs: int = 1) -> None:
    """Every number of every epoch once, in one run, FINISHED, with its files."""
    client = MlflowClient(f"sqlite:///{server.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("outage").experiment_id
    own = f"tags.`tagscale.model` = 'waveform' and tags.`tagscale.dataset` = '{training.identity.dataset}'"
    found = client.search_runs([experiment], own)
    assert len(found) == runs
    run = found[0]
    assert run.info.status == "FINISHED"
    for name in ("loss", "rate"):
        points = client.get_metric_history(run.info.run_id, name)
        assert [point.step for point in points] == list(range(1, epochs + 1))
        assert [point.timestamp for point in points] == sorted(point.timestamp for point in points)
        assert points[-1].timestamp <= run.info.end_time
    assert run.data.params == {"batch": "8", "parameters": "7", "model": "waveform", "size": "all", "seed": "0"}
    assert run.data.tags["split"] == "artist"
    (model,) = client.search_logged_models([experiment], f"source_run_id = '{run.info.run_id}'")
    assert (model.status, model.params["parameters"]) == ("READY", "7")
    stored = server.folder / "artifacts" / experiment / "models" / model.model_id / "artifacts" / "checkpoint"
    assert [path.name for path in stored.iterdir()] == ["weights"]
    assert [given.dataset.digest for given in run.inputs.dataset_inputs] == ["d"]
    assert client.get_run(run.data.tags[tracking.PARENT]).data.tags["tagscale.partition_hash"] == "p"


def crash() -> None:
    raise SystemExit


def test_without_an_outage_nothing_is_left_behind(server, training, capsys: pytest.CaptureFixture) -> None:
    training()
    check_complete(server, training)
    assert not training.unfinished.exists()
    assert sorted(path.name for path in training.run.iterdir()) == [LOGGED, "weights"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("mode", ["refused", "reset", "lost", "500", "502", "503", "429"])
def test_an_outage_in_the_middle(server, training, mode: str, capsys: pytest.CaptureFixture) -> None:
    def gone() -> None:
        if mode == "refused":
            server.stop()
        else:
            server.mode = mode

    def back() -> None:
        lines = training.journal.read_text().splitlines()
        assert json.loads(lines[0]) == {"format": 1, "run": training.run_ids[0]}
        assert json.loads(lines[1])["metrics"][0][0::3] == ["loss", 2]
        server.mode = "well"
        if server.server is None:
            server.start()

    training(epochs=4, at={2: gone, 4: back})
    check_complete(server, training, epochs=4)
    assert not training.unfinished.exists()
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2, "one line for the outage, one for its end"
    reason = {"refused": "Connection refused", "reset": "connection lost", "lost": "connection lost"}
    assert f"does not answer ({reason.get(mode, f'status {mode}')}). Training continues" in told[0]
    assert str(training.journal) in told[0]
    assert "answers again" in told[1]


@pytest.mark.slow
def test_a_server_that_falls_silent_costs_seconds(server, training, monkeypatch: pytest.MonkeyPatch) -> None:
    patience = outbox._ANSWER_SECONDS
    monkeypatch.setattr(outbox, "_ANSWER_SECONDS", 1)
    monkeypatch.setattr(outbox, "FIRST_PAUSE", 60.0)
    asked: list[str] = []

    def silent() -> None:
        server.mode = "hang"
        server.fails = lambda path: not asked.append(path)  # type: ignore[func-returns-value]

    def back() -> None:
        assert len(asked) == 2, "one attempt and its repetition; then nothing is tried for a while"
        monkeypatch.setattr(outbox, "_ANSWER_SECONDS", patience)
        server.mode = "well"

    training(epochs=20, at={2: silent, 20: back})
    check_complete(server, training, epochs=20)


def test_away_at_the_end_the_journal_stays_with_the_run_and_evaluate_sends_it(server, training, capsys) -> None:
    training(at={2: server.stop})
    assert not training.unfinished.exists()
    kept = training.run / UNSENT
    assert kept.is_file()
    assert f"still does not answer. The run is complete. Unsent entries are in {kept}" in capsys.readouterr().out
    content = kept.read_bytes()

    with pytest.raises(TagscaleError, match="no MLflow server answers"):
        tracking.find_run("outage", training.identity, training.run).__enter__()
    server.start()
    with tracking.find_run("outage", training.identity, training.run) as run:
        run.log_metrics({"test_pr_auc": 0.5})
    assert run.run_id == training.run_ids[0]
    check_complete(server, training)
    assert kept.read_bytes() == content, "the folder is another stage's, and others hold its hash"
    assert "5 unsent entries were sent to MLflow." in capsys.readouterr().out

    server.asked.clear()
    with tracking.find_run("outage", training.identity, training.run):
        pass
    assert not any(LOG_BATCH in asked or "PUT" in asked for asked in server.asked), "once is enough"
    training()  # the run is finished: another one
    check_complete(server, training, runs=2)


def test_another_start_sends_what_the_run_before_could_not(server, training) -> None:
    training(at={2: server.stop})
    server.start()
    training()
    assert training.run_ids[0] != training.run_ids[1], "the first is finished"
    check_complete(server, training, runs=2)
    first = tracking.connect().get_run(training.run_ids[0])
    assert first.info.status == "FINISHED"


@pytest.mark.parametrize("how", ["asked to end", "killed"])
def test_ended_in_an_outage_it_goes_on_in_the_same_run(server, training, how: str, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        if how == "killed":  # then nobody says how it ended
            patch.setattr(tracking.TrackedRun, "end", lambda *_: None)
        with pytest.raises(SystemExit):
            training(at={2: server.stop, 4: crash})
    assert ("status" in training.journal.read_text()) == (how != "killed")
    before = training.journal.read_text()
    with pytest.raises(TagscaleError, match="no MLflow server answers"):
        training()
    assert training.journal.read_text() == before
    server.start()
    training(epochs=4)
    assert len(set(training.run_ids)) == 1
    check_complete(server, training, epochs=4)
    assert not training.unfinished.exists()


def test_killed_while_it_sends_nothing_is_there_twice(server, training, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has an entry, and the process dies before it notes that."""
    with monkeypatch.context() as patch:
        keep = Unsent.keep
        patch.setattr(Unsent, "keep", lambda self, *some: crash() if self.file.name == UNSENT else keep(self, *some))
        with pytest.raises(SystemExit):
            training()
    assert training.journal.is_file()
    training()
    check_complete(server, training)


def test_killed_while_it_waits_at_the_end_the_model_has_the_files_of_the_run(server, training, monkeypatch) -> None:
    """Beside the journal are states of the training, and they are not the model."""
    with monkeypatch.context() as patch:
        patch.setattr(outbox.Outbox, "finish", lambda _: crash())
        with pytest.raises(SystemExit):
            training(at={4: server.stop})
    assert '"model"' in training.journal.read_text()
    (training.unfinished / "state").write_text("s")
    server.start()
    training()
    check_complete(server, training, runs=len(set(training.run_ids)))


def test_killed_while_it_writes_the_journal(server, training) -> None:
    with pytest.raises(SystemExit):
        training(at={2: server.stop, 4: crash})
    lines = training.journal.read_text().splitlines(keepends=True)
    assert '"metrics"' in lines[2]
    training.journal.write_text("".join(lines[:2]) + lines[2][:25])  # epoch 3 is cut
    server.start()
    training()
    check_complete(server, training)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\0" * 500, b"[]\n{}\n", b'{"format": 2, "run": "a"}\n', b'{"format": 1, "run": "../a"}\n']
)
def test_a_journal_that_is_none_is_left_out(server, training, content: bytes) -> None:
    training.unfinished.mkdir()
    training.journal.write_bytes(content)
    training()
    check_complete(server, training)
    assert not training.journal.exists()


def test_lines_that_are_damaged_or_hostile_are_left_out_with_a_line(server, training, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        training(at={2: server.stop, 4: crash})
    capsys.readouterr()
    head, *lines = training.journal.read_text().splitlines()
    bad = ["garbage", "[" * 5000, '{"artifacts": "../secret", "folder": null}', '{"status": "DELETED", "time": 1}']
    training.journal.write_text("\n".join([head, *bad, *lines]) + "\n")
    server.start()
    training()
    check_complete(server, training)
    assert f"{training.journal}: 4 of {5 + len(lines)} lines are unreadable, the first is line 2" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "found",
    [
        None,
        3,
        {},
        {"metrics": [["a", 1.0, 2]]},
        {"metrics": [["a", "1.0", 2, 3]]},
        {"metrics": [["a", True, 2, 3]]},
        {"metrics": [], "more": 1},
        {"params": {"a": 1}},
        {"tags": ["a"]},
        {"artifacts": "/etc/passwd", "folder": None},
        {"artifacts": "a/../../b", "folder": None},
        {"artifacts": "."},
        {"model": "waveform-300-0", "path": "../run"},
        {"model": "waveform-300-0"},
        {"dataset": {"name": "mtt", "digest": "d"}},
        {"dataset": {"name": "mtt", "digest": "d", "source_type": "local", "source": "{}", "uri": "s3://mtt"}},
        {"status": "RUNNING", "time": 1},
        {"status": "FINISHED", "time": "now"},
    ],
)
def test_what_is_no_entry(found: Any) -> None:
    assert not is_entry(found)


def test_a_number_that_is_none_survives_the_journal(server, training) -> None:
    def log_and_crash() -> None:
        with tracking.start_run("outage", training.identity, {}, training.run, training.unfinished) as run:
            training.run_ids.append(run.run_id)
            server.stop()
            run.log_metrics({"nan": float("nan"), "infinite": float("inf")}, 1)
            crash()

    with pytest.raises(SystemExit):
        log_and_crash()
    found = read(training.journal)
    assert found
    assert [entry for entry in found[1] if not is_entry(entry)] == []
    server.start()
    training()
    history = MlflowClient(f"sqlite:///{server.folder}/mlflow.db").get_metric_history(training.run_ids[0], "nan")
    assert [str(point.value) for point in history] == ["nan"]


def test_a_run_that_was_deleted_meanwhile_is_begun_anew(server, training, capsys) -> None:
    with pytest.raises(SystemExit):
        training(at={2: server.stop, 4: crash})
    server.start()
    tracking.connect().delete_run(training.run_ids[0])
    training()
    check_complete(server, training)
    assert training.run_ids[0] != training.run_ids[1]


def test_an_entry_that_the_server_refuses_is_left_out_with_a_line(server, training, capsys) -> None:
    with pytest.raises(SystemExit):
        training(at={2: server.stop, 4: crash})
    journal, entries = read(training.journal)
    journal.keep([{"params": {"batch": "9"}}, *entries])  # a parameter that has another value
    server.start()
    training()
    check_complete(server, training)
    assert "2 unsent entries were sent to MLflow; 1 were refused, the first with: INVALID" in capsys.readouterr().out


@pytest.mark.parametrize("status", ["400", "401", "403"])
def test_a_refusal_ends_the_training_at_once(server, training, status: str) -> None:
    def refusing() -> None:
        server.mode = status

    with pytest.raises(TagscaleError, match=rf"MLflow at {server.address}.*{status}"):
        training(at={2: refusing})
    server.mode = "well"
    training()
    assert len(set(training.run_ids)) == 1
    check_complete(server, training)


def test_files_that_cannot_be_stored_wait(server, training, capsys) -> None:
    """The server answers, but the storage behind it does not."""
    server.mode, server.fails = "500", lambda path: "mlflow-artifacts" in path
    training()
    kept = read(training.run / UNSENT)
    assert kept
    assert [next(iter(entry)) for entry in kept[1]] == ["model", "status"]
    server.mode = "well"
    with tracking.find_run("outage", training.identity, training.run):
        pass
    check_complete(server, training)


def test_a_journal_of_another_store_is_left_alone(server, training, tmp_path, request, monkeypatch) -> None:
    from registry.tiny import empty_store

    training(at={2: server.stop})
    (tmp_path / "elsewhere").mkdir()
    empty_store(request.config, tmp_path / "elsewhere")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere/mlflow.db")
    with tracking.find_run("outage", training.identity, training.run) as run:
        pass
    assert run.run_id != training.run_ids[0]


def test_a_full_disk_costs_the_journal_and_not_the_training(server, training, monkeypatch, capsys) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def back() -> None:
        server.mode = "well"

    def gone() -> None:
        server.mode = "503"

    monkeypatch.setattr(Unsent, "append", full)
    training(at={2: gone, 4: back})
    check_complete(server, training)
    warning = f"warning: The disk is full: {training.journal} could not be written (no space left on the device)."
    assert capsys.readouterr().out.count(warning) == 1


def test_an_outage_of_other_stages_is_a_clear_error(server, training, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def evaluate() -> None:
        with tracking.find_run("outage", training.identity, training.run) as run:
            server.stop()
            run.log_metrics({"test_pr_auc": 0.5})

    training()
    with pytest.raises(TagscaleError, match=r"does not answer \(Connection refused\)\. When it does, run the same com"):
        evaluate()
    server.start()
    check_complete(server, training)


def test_the_stages_themselves(
    server, tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Trees are trained while MLflow goes away for good; evaluate tells it all when it is back."""
    from sounds import write_study
    from stages.conftest import SoundStudy
    from tagscale.descriptors.baseline import DescriptorTrees

    write_study(tmp_path)
    study = SoundStudy(tmp_path)
    params = study.params(baseline={"trees": 2}, evaluate={"resamples": 0}, tracking={"experiment": "stages"})
    fit = DescriptorTrees.fit

    def struck(*arguments: Any) -> Any:
        server.stop()
        return fit(*arguments)

    monkeypatch.setattr(DescriptorTrees, "fit", struck)
    run = study.train(params, "descriptors", "all", 0, "runs/descriptors")
    assert (run / UNSENT).is_file()
    assert not (tmp_path / "runs" / "descriptors.unfinished").exists()
    told = [line for line in capsys.readouterr().out.splitlines() if "MLflow" in line]
    assert ["Training continues" in told[0], "The run is complete" in told[-1], len(told)] == [True, True, 2]
    with pytest.raises(TagscaleError, match="no MLflow server answers"):
        study.evaluate(params, run, "results/trees")
    server.start()
    study.evaluate(params, run, "results/trees")
    client = MlflowClient(f"sqlite:///{server.folder}/mlflow.db")
    (kept,) = client.search_runs([client.get_experiment_by_name("stages").experiment_id], "params.model != ''")
    assert kept.info.status == "FINISHED"
    assert kept.data.params["descriptors"].isdigit()
    assert "test_pr_auc" in kept.data.metrics
    artifacts = server.folder / "artifacts" / kept.info.experiment_id
    (model,) = kept.outputs.model_outputs
    assert (artifacts / "models" / model.model_id / "artifacts" / "checkpoint" / "run.json").is_file()
    assert (artifacts / kept.info.run_id / "artifacts" / "results" / "metrics.json").is_file()


def test_the_address_of_a_server_may_hold_a_password_which_no_message_shows(server, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address.replace("//", "//ann:secret@"))
    with pytest.raises(TagscaleError) as error:
        Registry.open("nobody")
    assert f"registry at {server.address} (there: none)" in str(error.value)
    server.stop()
    with pytest.raises(TagscaleError, match=rf"^{server.address}: no MLflow server answers there \(.*refused\)"):
        tracking.connect()


def test_a_task_waits_for_a_server_that_restarts(
    server: FlakyMlflow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAGSCALE_MLFLOW_WAIT", "60")
    monkeypatch.setattr("tagscale.tracking.server.WAIT_PAUSE", 0.05)
    server.stop()
    threading.Timer(0.5, server.start).start()
    tracking.connect().search_experiments()
    assert capsys.readouterr().err.count("Connection refused); waiting up to 60 s for it") == 1


def test_a_task_waits_for_a_missing_server_no_longer_than_it_is_told(
    server: FlakyMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGSCALE_MLFLOW_WAIT", "1")
    server.stop()
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr("tagscale.tracking.server.time", clock)
    with pytest.raises(TagscaleError, match=r"no MLflow server answers there \(\[Errno 111\] Connection refused\)"):
        tracking.connect()
    assert slept == [1]


def test_mlflow_takes_the_patience_of_tasks(server: FlakyMlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses more than ten retries, in the first request."""
    config = yaml.safe_load((Path(__file__).parents[2] / "k8s" / "tasks" / "config.yaml").read_text())["data"]
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR"):
        monkeypatch.setenv(name, config[name])
    server.script = ["well", "reset"]  # the first retry comes at once
    assert tracking.connect().search_experiments()
    assert not server.script
