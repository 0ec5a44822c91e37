"""A training on several nodes, through the Kubeflow SDK and a Kubernetes API server on this machine."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kubeflow.common.types import KubernetesBackendConfig
from kubeflow.trainer.backends.kubernetes.backend import KubernetesBackend
from kubernetes.client import Configuration

from kubernetes_loopback.rights import granted
from kubernetes_loopback.server import NAMESPACE, Cluster, serving
from tagscale import tracking
from tagscale.cluster import jobs, trainjob
from tagscale.cluster.trainjob import job_name, processes_on_nodes, train_on_nodes
from tagscale.params.load import Params, laid_over, parse, read_yaml
from tagscale.runtime.errors import TagscaleError

ROOT = Path(__file__).parents[2]


def params_with(**changes: Any) -> Params:
    return parse(laid_over(read_yaml(ROOT / "params.yaml"), {"train": {"nodes": 2}} | changes))


@dataclass
class Task:
    """A pipeline's task with its artifacts, the volume and the cluster."""

    folder: Path
    cluster: Cluster
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("catalog", "partition"):
            (self.folder / name).mkdir()
            (self.folder / name / "table").write_text(name)
        self.cluster.at_end = self.write_run

    def backend(self) -> KubernetesBackend:
        there = Configuration(host=self.cluster.address)
        there.retries = 0
        return KubernetesBackend(KubernetesBackendConfig(namespace=NAMESPACE, client_configuration=there))

    def train(self, **different: Any) -> None:
        self.cluster.faults.clear()
        arguments: dict[str, Any] = {
            "model": "waveform", "size": "all", "seed": 0, "image": "registry/tagscale:1", "backend": self.backend(),
            "catalog": self.folder / "catalog", "partition": self.folder / "partition",
            "inputs": self.folder / "volume" / "store", "run": self.folder / "run",
            "unfinished": self.folder / "volume" / "unfinished" / "waveform-all-0",
        }  # fmt: skip
        train_on_nodes(params_with(**self.settings), **(arguments | different))

    @property
    def shared(self) -> Path:
        return self.folder / "volume" / "unfinished" / "waveform-all-0.nodes"

    def write_run(self, job: dict[str, Any]) -> None:
        """What the pods do at their end; their input must lie where their request says."""
        assert (self.shared / "catalog" / "table").read_text() == "catalog"
        request = json.loads((self.shared / "request.json").read_text())
        assert f"train_share(**{{'request': '{self.shared}/request.json'}})" in job["spec"]["trainer"]["command"][2]
        assert Path(request["run"]) == self.shared / "run"
        Path(request["run"]).mkdir()
        (Path(request["run"]) / "run.json").write_text('{"who": "the pods"}')

    @property
    def name(self) -> str:
        return self.cluster.created[0]


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.05)
    with serving() as cluster:
        yield Task(tmp_path, cluster)


def test_a_job_that_trains(task: Task, capfd: pytest.CaptureFixture[str]) -> None:
    """The run comes back, both pods' logs are printed, nothing is left; and the account has no right too many."""
    seen: list[dict[str, Any]] = []
    task.cluster.at_end = lambda job: (seen.append(job), task.write_run(job))
    task.train()
    assert (task.folder / "run" / "run.json").read_text() == '{"who": "the pods"}'
    assert not task.shared.exists()
    assert task.cluster.deleted == [task.name]
    output = capfd.readouterr().out
    assert "node-0 | hello from the first\n" in output
    assert "node-1 | hello from the second\n" in output
    assert f"TrainJob {task.name}: node-0 Running, node-1 Running" in output
    assert task.cluster.used == granted()

    (job,) = seen
    spec, trainer = job["spec"], job["spec"]["trainer"]
    assert spec["runtimeRef"] == {"name": "tagscale-torch", "kind": "ClusterTrainingRuntime"}
    assert spec["activeDeadlineSeconds"] == 72 * 3600
    assert (trainer["image"], trainer["numNodes"]) == ("registry/tagscale:1", 2)
    limits = {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"}
    assert trainer["resourcesPerNode"] == {"requests": limits, "limits": limits}
    assert trainer["env"] == [{"name": "OMP_NUM_THREADS", "value": "8"}]
    assert 'exec torchrun --nproc-per-node=1 --rdzv-conf=timeout=3600 "trainjob.py"' in trainer["command"][2]
    replicated = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = replicated[0]["template"]["spec"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "tagscale-data"}}]
    assert pod["containers"] == [{"name": "node", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_processes_of_pods_without_gpus(task: Task) -> None:
    task.settings = {"train": {"nodes": 2, "devices": 4}, "kubernetes": {"tasks": {"train": {"gpus": 0, "cpu": 8}}}}
    jobs: list[dict[str, Any]] = []
    task.cluster.at_end = lambda job: (jobs.append(job), task.write_run(job))
    with tracking.nested_in("3f0c"):
        task.train(env={"MLFLOW_TRACKING_URI": "http://mlflow"})
    trainer = jobs[0]["spec"]["trainer"]
    assert "--nproc-per-node=4" in trainer["command"][2]
    assert {one["name"]: one["value"] for one in trainer["env"]} == {
        "OMP_NUM_THREADS": "2", "MLFLOW_TRACKING_URI": "http://mlflow",
        "MLFLOW_RUN_CONTEXT": '{"mlflow.parentRunId": "3f0c"}',
    }  # fmt: skip
    assert trainer["resourcesPerNode"]["limits"] == {"cpu": "8", "memory": "32Gi"}
    assert "tolerations" not in json.dumps(jobs[0]["spec"]["runtimePatches"])


def test_a_pod_that_fails(task: Task) -> None:
    task.cluster.prints[1] = [*(f"line {number}" for number in range(40)), "error no patches"]
    why = "Failed: jobset failed due to one or more job failures"
    task.cluster.course = [("Running", "Running"), ("Running", "Failed"), why]
    with pytest.raises(TagscaleError) as error:
        task.train()
    message, pod = str(error.value), f"{task.name}-node-0-1-x7k2p"
    assert f"TrainJob {task.name} failed (JobsFailed: jobset failed due to" in message
    assert f"node-1 (pod {pod}) failed; its last lines:\n    line 21\n" in message
    assert "    error no patches\n" in message
    assert f"kubectl -n tagscale describe trainjob {task.name}; kubectl -n tagscale logs {pod}" in message
    assert not task.cluster.deleted
    assert not (task.folder / "run").exists()

    task.cluster.course, task.cluster.lingers = [("Running", "Running"), "Complete"], 2
    task.train()  # the task is repeated: the failed job makes room, once its pods are gone
    assert len(set(task.cluster.created)) == 1
    assert len(task.cluster.created) == len(task.cluster.deleted) == 2
    assert (task.folder / "run" / "run.json").is_file()


def test_a_trainer_that_drops_what_a_job_says(task: Task) -> None:
    task.cluster.trainer = "2.1.0"
    message = r"TrainJobs without runtimePatches and activeDeadlineSeconds: its Kubeflow Trainer is older than 2\.2"
    with pytest.raises(TagscaleError, match=message):
        task.train()
    assert task.cluster.deleted == [task.name]
    task.cluster.trainer = "2.2.0"
    task.train()
    assert (task.folder / "run" / "run.json").is_file()


@pytest.mark.parametrize("mark", ["Evicted", "Drained"])
def test_a_job_that_loses_a_pod_is_started_again(task: Task, mark: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The other pod fails for lack of it, with an error of its own."""
    lost: list[Any] = [("Running", "Running"), (mark, "Failed"), "Failed: jobset failed"]
    courses = iter([lost, lost, [("Running", "Running"), "Complete"]])
    add = task.cluster.add
    task.cluster.add = lambda body, course=None: add(body, course or next(courses))  # type: ignore[method-assign]
    task.train()
    assert len(task.cluster.created) == len(task.cluster.deleted) == 3
    output = capfd.readouterr().out
    assert "after the cluster took pod" in output
    assert "(retries left: 1): training resumes from its state." in output
    assert (task.folder / "run" / "run.json").is_file()


def test_a_pod_that_is_lost_when_the_run_is_written(task: Task) -> None:
    """The state of the training is gone by then: starting the job again would train from the beginning."""

    def course() -> Iterator[Any]:
        yield ("Running", "Running")
        task.write_run(task.cluster.jobs[task.name])
        yield ("Succeeded", "Drained")
        yield "Failed: jobset failed"

    task.cluster.course = course()  # type: ignore[assignment]
    task.train()
    assert len(task.cluster.created) == 1
    assert (task.folder / "run" / "run.json").is_file()


def test_a_job_that_loses_pods_too_often(task: Task) -> None:
    task.settings = {"kubernetes": {"retries": 1}}
    task.cluster.course = [("Evicted", "Failed"), "Failed: jobset failed"]
    with pytest.raises(
        jobs.PodsLost, match=r"failed \(JobsFailed: jobset failed\), after the cluster took pod .*Kubelet"
    ):
        task.train()
    assert len(task.cluster.created) == 2
    assert len(task.cluster.deleted) == 1, "the last one is kept"


def test_a_job_that_is_seen_failed_before_its_pods_are(task: Task) -> None:
    task.cluster.course = [("Running", "Running"), "Failed: jobset failed", ("Running", "Failed")]
    with pytest.raises(TagscaleError, match=r"jobset failed\)\.\nnode-1 \(pod .*\) failed; its last lines"):
        task.train()


def test_a_job_out_of_time_without_pods(task: Task) -> None:
    task.cluster.course = [(), "Failed: Job was active longer than specified deadline"]
    with pytest.raises(TagscaleError, match=r"longer than specified deadline\)\.\nNo failed pod is left"):
        task.train()


def test_the_api_goes_away(task: Task, capfd: pytest.CaptureFixture[str]) -> None:
    """While the job is followed, and between its creation and the answer."""
    task.cluster.course = [("Running", "Running")] * 3 + ["Complete"]
    task.cluster.away_after_create = 12
    task.train()
    assert len(task.cluster.created) == 1
    output = capfd.readouterr().out
    assert "Kubernetes does not answer (RemoteDisconnected" in output
    assert output.count("hello from the first") == 1
    assert (task.folder / "run" / "run.json").is_file()


def test_the_api_stays_away(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "AWAY_SECONDS", 0.3)
    task.cluster.away_after_create = 10_000
    with pytest.raises(
        TagscaleError, match=r"Kubernetes has not answered for .*The job goes on; start this task again"
    ):
        task.train()
    assert not task.cluster.deleted
    task.cluster.away_for = 0
    task.train()
    assert len(task.cluster.created) == 1


@pytest.mark.parametrize(("verb", "resource"), [("create", "trainjobs"), ("list", "pods"), ("get", "trainjobs")])
def test_a_missing_right(task: Task, verb: str, resource: str) -> None:
    task.cluster.rights = {right for right in task.cluster.rights if (right.verb, right.resource) != (verb, resource)}
    message = rf"Kubernetes refuses: {resource}.* cannot {verb} resource .*apply k8s/tasks/pipeline-account\.yaml"
    with pytest.raises(TagscaleError, match=message):
        task.train()


def test_a_missing_right_to_logs_is_no_failure(task: Task) -> None:
    task.cluster.rights = {right for right in task.cluster.rights if right.resource != "pods/log"}
    task.train()
    assert (task.folder / "run" / "run.json").is_file()


def test_without_the_runtime(task: Task) -> None:
    task.cluster.runtime = None
    with pytest.raises(TagscaleError, match=r"no ClusterTrainingRuntime tagscale-torch.*kubectl apply -k k8s/overlays"):
        task.train()


def test_a_retried_task_follows_the_running_job(task: Task, capfd: pytest.CaptureFixture[str]) -> None:
    """The first attempt lost its node without any clean-up."""

    def killed(*_: Any) -> None:
        raise RuntimeError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs.Jobs, "follow", killed)
        with pytest.raises(RuntimeError, match="killed"):
            task.train()
    task.train()
    assert (task.folder / "run" / "run.json").is_file()
    assert len(task.cluster.created) == 1
    assert "an earlier attempt of this task started it, and this one follows it" in capfd.readouterr().out


def test_a_job_that_somebody_deletes(task: Task) -> None:
    task.cluster.course = [("Running", "Running")] * 1000
    with deleted_soon(task), pytest.raises(TagscaleError, match=r"somebody deleted it while it was training"):
        task.train()
    assert len(task.cluster.created) == 1


@contextmanager
def deleted_soon(task: Task) -> Iterator[None]:
    def delete() -> None:
        while not task.cluster.created:
            time.sleep(0.01)
        time.sleep(0.2)
        del task.cluster.jobs[task.name]

    thread = threading.Thread(target=delete)
    thread.start()
    yield
    thread.join()


def test_a_task_that_is_cancelled_deletes_its_job(task: Task) -> None:
    task.cluster.course = [("Running", "Running")] * 1000

    def cancel() -> None:
        while not task.cluster.created:
            time.sleep(0.01)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=cancel).start()
    with pytest.raises(SystemExit) as ended:
        task.train()
    assert ended.value.code == 143
    assert task.cluster.deleted == [task.name]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_task_that_is_cancelled_within_a_request_ends_after_it(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal's handler that raises leaves locks taken that the next request needs."""
    task.cluster.course = [("Running", "Running")] * 1000
    find, ended = jobs.Jobs.find, list[str]()

    def cancelled(self: jobs.Jobs, name: str) -> Any:
        if task.cluster.created and not ended:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            ended.append(name)
        return find(self, name)

    monkeypatch.setattr(jobs.Jobs, "find", cancelled)
    with pytest.raises(SystemExit) as stopped:
        task.train()
    assert stopped.value.code == 143
    assert ended == [task.name]
    assert task.cluster.deleted == [task.name]


def test_a_job_that_writes_elsewhere(task: Task) -> None:
    task.cluster.at_end = lambda job: None
    with pytest.raises(
        TagscaleError, match=r"is complete, but .*run is missing\. Check that its pods mount the same volume"
    ):
        task.train()


def test_a_finished_run_is_fetched_without_training_again(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task was killed after the pods had ended, before it fetched their run."""
    with monkeypatch.context() as patch:
        patch.setattr(trainjob, "_fetch", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            task.train()
    task.train()
    assert len(task.cluster.created) == 1
    assert task.cluster.deleted == [task.name]
    assert (task.folder / "run" / "run.json").is_file()


def test_a_path_that_a_shell_would_change(task: Task) -> None:
    with pytest.raises(TagscaleError, match=r"a shell of the pods reads this path"):
        task.train(unfinished=task.folder / "volume" / "waveform $HOME")
    assert not task.cluster.created


def test_without_a_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(TagscaleError, match=r"train\.nodes is more than 1, which needs a Kubernetes cluster"):
        trainjob.cluster()


def test_a_batch_that_nodes_cannot_share() -> None:
    assert processes_on_nodes(params_with()) == 2
    assert processes_on_nodes(params_with(train={"nodes": 2, "devices": 4})) == 8
    with pytest.raises(TagscaleError, match=r"train\.nodes 3 x train\.devices 2 = 6 processes\. Take 30"):
        processes_on_nodes(params_with(train={"nodes": 3, "devices": 2}))


def test_names_fit_pods_and_tell_trainings_apart() -> None:
    long = job_name("spectrogram-a_very_long_capacity-1000000-10", {"a": 1})
    assert long.startswith("train-spectrogram-a-very-long-ca")
    assert len(f"{long}-node-0-100-x7k2p") <= 63
    assert long != job_name("spectrogram-a_very_long_capacity-1000000-10", {"a": 2})
