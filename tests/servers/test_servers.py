"""On real servers, as a cluster has them: PostgreSQL, S3, and MLflow with users, started as the manifests say."""

import base64
import json
import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from registry.tiny import TinyStudy, make_study, package_little_code
from servers.kfp_plugin import Plugin
from servers.manifest import champion_command, job_command
from servers.processes import Process, free_port
from servers.real import ADMIN, ADMIN_PASSWORD, NAME, RealServers, real_servers
from sounds import write_study
from stages.conftest import SoundStudy
from tagscale import tracking
from tagscale.cluster import backup, pipeline
from tagscale.params.load import Params, laid_over, parse, read_yaml
from tagscale.registry.package import example_wav, load_version
from tagscale.registry.promote import history, promote
from tagscale.registry.versions import CHAMPION, Registry
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import sha256_of
from tagscale.runtime.identity import RunIdentity
from tagscale.stages import register
from tagscale.store.read import Store
from tagscale.tracking.unsent import UNSENT
from tagscale.training import loop, running_loss
from threads import at_once

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
MODEL = "tagscale-tagger"
CURVES = ("train_loss", "valid_loss", "learning_rate")


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServers]:
    with real_servers(request.config, tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture
def servers(real: RealServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RealServers:
    """The servers, for a client that knows MLflow's user and nothing of S3."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "MLFLOW_TRACKING", "MLFLOW_S3"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.aws, no ~/.mlflow
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in real.client.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    package_little_code(monkeypatch, tmp_path)
    return real


def identity(dataset: str) -> RunIdentity:
    return RunIdentity("spectrogram", "all", 0, dataset, "d", "p", "s")


def test_a_study_is_logged_registered_and_promoted_without_s3_keys(servers: RealServers, tmp_path: Path) -> None:
    study: TinyStudy = make_study(tmp_path / "study")
    checkpoint = study.root / "runs" / "spectrogram-all-0"
    with tracking.start_run("study", identity("tiny"), {"batch": 8}, checkpoint, tmp_path / "unfinished") as run:
        run.log_metrics({"train_loss": 0.5}, step=1)
        run.log_model("spectrogram-all-0")
    register.run(study.params, **study.paths())

    stored = servers.stored()
    (logged,) = tracking.connect().get_run(run.run_id).outputs.model_outputs
    place = f"{logged.model_id}/artifacts/checkpoint/weights.safetensors"
    weights = [name for name in stored if name.endswith(place)]
    assert len(weights) == 1
    assert weights[0].startswith("mlflow/")
    content = servers.s3().get_object(Bucket=servers.bucket, Key=weights[0])["Body"].read()
    assert content == (checkpoint / "weights.safetensors").read_bytes()
    assert any(name.endswith("/artifacts/MLmodel") for name in stored)

    assert Registry.open(MODEL).aliases() == {CHAMPION: "1"}
    assert [record["action"] for record in history(MODEL)] == ["promote"]
    tagger, version = load_version(MODEL)
    assert version.number == "1"
    assert tagger.tags == ("rock", "jazz", "energy")
    kept = tracking.connect().get_run(run.run_id)
    assert kept.info.status == "FINISHED"
    assert kept.data.metrics["train_loss"] == 0.5


def pipeline_params(tmp_path: Path, experiment: str) -> Params:
    changes = {"kubernetes": {"mount": str(tmp_path)}, "tracking": {"experiment": experiment}}
    return parse(laid_over(read_yaml(ROOT / "params.yaml"), changes))


def test_kubeflows_plugin_and_a_pipeline_share_a_run(servers: RealServers, tmp_path: Path) -> None:
    """The plugin makes the experiment and the run; who fails ends what is its own."""
    params = pipeline_params(tmp_path, "shared")
    about = {"pipeline": "study", "pipeline_run": "0a5e", "title": "weekly"}
    plugin = Plugin(servers.address, NAME, servers.client["MLFLOW_TRACKING_PASSWORD"])
    plugin.open_run("shared", "0a5e", "weekly")
    with tracking.environment(plugin.environment):
        parent = pipeline.begin(params, **about)
        assert parent == plugin.config["parentRunId"]
        task = plugin.open_task("train")
        with tracking.nested_in(parent), tracking.start_run("shared", identity("shared"), {"batch": 8}) as run:
            run.log_metrics({"train_loss": 0.5}, step=1)
        client = tracking.connect()
        client.update_run(run.run_id, status="RUNNING")  # as its pod leaves it that is gone
        pipeline.end(params, **about, state="FAILED")
        assert [client.get_run(one).info.status for one in (parent, run.run_id, task)] == ["FAILED"] * 2 + ["RUNNING"]
    plugin.end_run("FAILED")
    assert client.get_run(task).info.status == "FAILED"
    within = client.search_runs([run.experiment_id], f"tags.`{tracking.PARENT}` = '{parent}'")
    assert {one.info.run_name for one in within} == {"train", "spectrogram-all-0"}


def test_a_plugin_of_another_user_owns_the_experiment(servers: RealServers, tmp_path: Path) -> None:
    """So its secret must hold the tasks' user."""
    params, plugin = pipeline_params(tmp_path, "of the plugin"), Plugin(servers.address, ADMIN, ADMIN_PASSWORD)
    plugin.open_run("of the plugin", "77aa", "weekly")
    with tracking.environment(plugin.environment), pytest.raises(TagscaleError, match=r"does not allow user .*403"):
        pipeline.begin(params, pipeline="study", pipeline_run="77aa", title="weekly")


def test_the_champion_is_served_by_a_user_who_changes_nothing(servers: RealServers, tmp_path: Path) -> None:
    """`tagscale serve` as a process, with arguments and environment of the champion's manifest."""
    study = make_study(tmp_path / "study")
    params = study.params.model_copy(update={"registry": study.params.registry.model_copy(update={"name": "served"})})
    register.run(params, **study.paths())
    port, words = free_port(), champion_command("served", "1")
    words = [word.replace("0.0.0.0", "127.0.0.1").replace("8080", str(port)) for word in words]
    environment = {"PATH": servers.path, "HOME": str(tmp_path)}

    def answers() -> bool:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1).status == 200

    (tmp_path / "served").mkdir()
    server = Process(words, environment | servers.reader, tmp_path / "served", answers)
    try:
        server.start()
        song = example_wav(2.0)
        body = json.dumps({"dataframe_records": [{"audio": base64.b64encode(song).decode()}]}).encode()
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, headers)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert answer.headers["X-Tagscale-Model"] == "served/1"
            (scores,) = json.load(answer)["predictions"]
        expected = load_version("served", 1)[0].predict(pd.DataFrame({"audio": [song]})).iloc[0]
        assert scores == pytest.approx(expected.to_dict(), abs=1e-5)
        assert server.running
        server.running.terminate()
        server.running.wait(120)
    finally:
        server.stop()

    registry = Registry.open("served")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in servers.reader.items():
            patch.setenv(name, value)
        for change in (
            lambda: promote("served", 1, "again", force=True),
            lambda: registry.tag("1", {"tagscale.test.pr_auc": "1"}),
            lambda: registry.client.delete_registered_model("served"),
            lambda: registry.client.log_metric(registry.version(1).run_id, "pr_auc", 1.0),
        ):
            with pytest.raises((TagscaleError, MlflowException), match=r"403|[Pp]ermission"):
                change()
    assert Registry.open("served").version(1).tags == registry.version(1).tags


def test_promotions_at_once_are_all_made_and_recorded(servers: RealServers) -> None:
    registry = Registry.open_or_create("at-once", "for tests")
    for _ in range(4):
        registry.client.create_model_version(registry.name, source="s3://elsewhere/model")
    at_once(4, lambda number: promote(registry.name, number + 1, "by hand", force=True))
    records = history(registry.name)
    before = [None, *(record["champion"] for record in records)]
    assert [record["number"] for record in records] == [1, 2, 3, 4]
    assert [record["replaced"] for record in records] == before[:-1]
    assert sorted(before[1:]) == ["1", "2", "3", "4"]
    assert registry.aliases() == {CHAMPION: before[-1]}
    tags = registry.client.get_registered_model(registry.name).tags
    assert len(tags) == 4, "no claim of a turn is left"


def test_what_the_server_refuses_is_told(servers: RealServers, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(because: str, experiment: str = "study") -> None:
        with pytest.raises(TagscaleError, match=because), tracking.find_run(experiment, identity("refused")):
            raise AssertionError("it is let in")

    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
        refused(rf"{servers.address} does not know user '{NAME}' with the password in MLFLOW_TRACKING_PASSWORD \(401\)")
        patch.delenv("MLFLOW_TRACKING_PASSWORD")
        patch.delenv("MLFLOW_TRACKING_USERNAME")
        refused(r"refuses an anonymous user \(MLFLOW_TRACKING_USERNAME is not set\) \(401\)\. Set MLFLOW_TRACKING_U")
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN_PASSWORD)
        tracking.connect().create_experiment("of the administrator")
    refused(rf"does not allow user '{NAME}' to do this \(403: .*[Pp]ermission.*\)", "of the administrator")

    found = socket.getaddrinfo
    with monkeypatch.context() as patch:  # a name that leads here, but that the server does not know as its own
        patch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: found("127.0.0.1", *rest, **more))
        patch.setenv("MLFLOW_TRACKING_URI", servers.address.replace("127.0.0.1", "mlflow.example.org"))
        refused(r"mlflow\.example\.org:\d+ does not answer under this host name \(403\).* --allowed-hosts")


def test_dvc_keeps_the_data_in_the_same_storage(servers: RealServers, tmp_path: Path) -> None:
    """With address and keys from the environment, as tasks on a cluster have them."""
    write_study(tmp_path / "data")
    before = Store.open(tmp_path / "data" / "store").hash
    environment = os.environ | servers.keys | {"PATH": servers.path}

    def dvc(*words: str) -> None:
        done = subprocess.run(["dvc", *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    dvc("init", "--no-scm", "--quiet")
    dvc("remote", "add", "--default", "storage", f"s3://{servers.bucket}/dvc")
    dvc("add", "data/store", "--quiet")
    dvc("push", "--quiet")
    assert any(name.startswith("dvc/files/md5/") for name in servers.stored())
    shutil.rmtree(tmp_path / "data" / "store")
    shutil.rmtree(tmp_path / ".dvc" / "cache")
    dvc("pull", "--quiet")
    assert Store.open(tmp_path / "data" / "store").hash == before


def test_servers_that_are_killed_and_restarted_in_a_training_lose_nothing(
    servers: RealServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_study(tmp_path)
    study = SoundStudy(tmp_path)
    settings = {"max_steps": "5 epochs", "patches_per_track": 1, "patience": "9 epochs"}
    alone = study.params(train=settings, tracking={"experiment": "alone"})
    outage = study.params(train=settings, tracking={"experiment": "outage"})
    monkeypatch.setattr(running_loss, "SECONDS", 3600.0)  # points between validations depend on the clock
    study.train(alone, "spectrogram", 16, 0, "runs/alone")

    step_loss, steps = loop.step_loss, 2  # of an epoch

    def struck(state: Any, *arguments: Any) -> Any:
        if state.step == 1 * steps + 1:  # in epoch 2
            servers.mlflow.stop()
            servers.postgres.stop()
        elif state.step == 3 * steps + 1:  # in epoch 4
            journal = (tmp_path / "runs" / "outage.unfinished" / UNSENT).read_text()
            assert journal.count('"valid_loss"') == 2
            servers.postgres.start()
            servers.mlflow.start()
        return step_loss(state, *arguments)

    capsys.readouterr()
    monkeypatch.setattr(loop, "step_loss", struck)
    study.train(outage, "spectrogram", 16, 0, "runs/outage")
    told = capsys.readouterr().out
    assert told.count("does not answer (Connection refused). Training continues") == 1
    assert "answers again" in told

    client = tracking.connect()
    (first,), (second,) = (
        client.search_runs([client.get_experiment_by_name(name).experiment_id], "params.model != ''")
        for name in ("alone", "outage")
    )
    assert second.info.status == "FINISHED"
    assert second.data.params == first.data.params
    assert second.data.tags["tagscale.settings_hash"] == first.data.tags["tagscale.settings_hash"]
    for name in (*CURVES, "kept_step", "system/data_wait"):
        before, after = (client.get_metric_history(run.info.run_id, name) for run in (first, second))
        assert [point.step for point in after] == [point.step for point in before] != []
        if name in CURVES:
            assert [point.value for point in after] == [point.value for point in before]
        times = [point.timestamp for point in after]
        assert times == sorted(times)
    models = [client.get_logged_model(run.outputs.model_outputs[0].model_id) for run in (first, second)]
    assert [model.status for model in models] == ["READY", "READY"]
    files = [{one.path for one in client.list_logged_model_artifacts(one.model_id, "checkpoint")} for one in models]
    assert files[0] == files[1]
    assert "checkpoint/weights.safetensors" in files[0]
    weights = [tmp_path / "runs" / name / "weights.safetensors" for name in ("alone", "outage")]
    assert sha256_of(weights[0]) == sha256_of(weights[1])
    assert not (tmp_path / "runs" / "outage" / UNSENT).exists()


def test_a_backup_is_restored_while_the_server_is_stopped(servers: RealServers, tmp_path: Path) -> None:
    """The commands of docs/cluster.md, in their order."""
    with tracking.start_run("kept", identity("kept"), {"batch": 8}) as run:
        run.log_metrics({"train_loss": 0.25}, step=1)
    dump = servers.postgres.backup(tmp_path)
    with tracking.start_run("later", identity("later"), {"batch": 8}):
        pass
    refused = servers.postgres.job("tagscale-database-restore", tmp_path, RESTORE_FILE=dump.name)
    assert "error the database is in use by " in refused.stderr

    servers.mlflow.stop()
    servers.postgres.wait_until_unused()
    done = servers.postgres.job("tagscale-database-restore", tmp_path, RESTORE_FILE=dump.name)
    assert done.returncode == 0, done.stderr
    assert servers.initialise("schema").count("as this image expects") == 2
    assert servers.initialise("user").count("as it was") == 2
    servers.mlflow.start()
    kept = tracking.connect().get_run(run.run_id)
    assert (kept.data.metrics, kept.info.status) == ({"train_loss": 0.25}, "FINISHED")
    names = {experiment.name for experiment in tracking.connect().search_experiments()}
    assert "kept" in names
    assert "later" not in names


@pytest.mark.parametrize("second", ["folder", "bucket"])
def test_lost_artifacts_come_back_from_their_backup(
    servers: RealServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, second: str
) -> None:
    """The job artifact-backup, to a folder of its volume and to another bucket."""
    assert job_command("tagscale-artifact-backup")[1:] == ["-m", "tagscale.cluster.backup"]
    s3, place = servers.s3(), str(tmp_path / "copies")
    if second == "bucket":
        s3.create_bucket(Bucket="second")
        place = "s3://second/mlflow"
    content = bytes(range(256)) * 40_000  # 10 MB: in several parts
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "weights").write_bytes(content)
    with tracking.start_run("lost", identity(second), {}) as run:
        run.log_artifacts(tmp_path / "checkpoint", "checkpoint")

    for name, value in servers.keys.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BACKUP_FROM", servers.manifest.environment("mlflow")["MLFLOW_ARTIFACTS_DESTINATION"])
    monkeypatch.setenv("BACKUP_TO", place)
    stored = [name for name in servers.stored() if name.startswith("mlflow/")]
    backup.main()
    backup.main()
    first, again = capsys.readouterr().out.splitlines()
    assert f" {len(stored)} new (" in first
    assert " 0 new (0.0 MB), 0 changed" in again

    (lost,) = [name for name in stored if name.endswith(f"{run.run_id}/artifacts/checkpoint/weights")]
    s3.delete_object(Bucket=servers.bucket, Key=lost)
    monkeypatch.setenv("BACKUP_DIRECTION", "restore")
    backup.main()
    assert "1 were missing (10.2 MB) and are back" in capsys.readouterr().out
    assert set(stored) <= set(servers.stored())
    assert s3.get_object(Bucket=servers.bucket, Key=lost)["Body"].read() == content
