"""The command of a TrainJob really trains: two pods' worth of processes, run as the cluster would run them."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubeflow.common.types import KubernetesBackendConfig
from kubeflow.trainer.backends.kubernetes.backend import KubernetesBackend
from kubernetes.client import Configuration

from kubernetes_loopback import shares
from kubernetes_loopback.server import NAMESPACE, Cluster, Step, serving
from tagscale.cluster import jobs
from tagscale.cluster.trainjob import train_on_nodes
from tagscale.runtime.errors import TagscaleError


class Pods:
    """Runs a job's command once for each of its nodes, with the environment that Kubeflow Trainer gives torchrun."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.processes: list[subprocess.Popen[str]] = []

    def course(self) -> Iterator[Step]:
        yield ("Pending", "Pending")
        (job,) = self.cluster.jobs.values()
        trainer = job["spec"]["trainer"]
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = str(free.getsockname()[1])
        given = {one["name"]: one["value"] for one in trainer["env"]}
        addresses = {"PET_MASTER_ADDR": "localhost", "PET_MASTER_PORT": port, "PET_NPROC_PER_NODE": "7"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.cluster.prints = [[], []]
        for rank in range(trainer["numNodes"]):
            (self.folder / f"node-{rank}").mkdir()
            ranks = {"PET_NNODES": str(trainer["numNodes"]), "PET_NODE_RANK": str(rank), "PATH": path}
            process = subprocess.Popen(
                trainer["command"], cwd=self.folder / f"node-{rank}", env=os.environ | addresses | ranks | given,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            threading.Thread(target=self._read, args=(process, rank), daemon=True).start()
            self.processes.append(process)
        while True:
            codes = [process.poll() for process in self.processes]
            yield tuple({None: "Running", 0: "Succeeded"}.get(code, "Failed") for code in codes)
            if all(code == 0 for code in codes):
                yield "Complete"
            if any(code not in (None, 0) for code in codes):
                yield "Failed: a pod failed"

    def _read(self, process: "subprocess.Popen[str]", rank: int) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.cluster.prints[rank].append(line.rstrip())

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def train(cluster: Cluster, folder: Path, **different: Any) -> Path:
    there = Configuration(host=cluster.address)
    backend = KubernetesBackend(KubernetesBackendConfig(namespace=NAMESPACE, client_configuration=there))
    arguments: dict[str, Any] = {"model": "waveform", "size": 24, "seed": 0, "inputs": folder / "store"}
    arguments |= {name: folder / name for name in ("catalog", "partition")}
    unfinished = folder / "unfinished" / "waveform-24-0"
    train_on_nodes(
        shares.params_on(2), **(arguments | different), run=folder / "run", unfinished=unfinished, backend=backend,
        env=shares.environment(folder),
    )  # fmt: skip
    return folder / "run"


@pytest.fixture
def pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> Iterator[Pods]:
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0.5)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    shares.volume(tmp_path, pytestconfig)
    with serving() as cluster:
        made = Pods(cluster, tmp_path)
        cluster.course = made.course()  # type: ignore[assignment]
        yield made
        made.end()


@pytest.mark.slow
def test_two_nodes_train_what_one_process_does(pods: Pods, capfd: pytest.CaptureFixture[str]) -> None:
    run = train(pods.cluster, pods.folder)
    whole = shares.one_process(pods.folder, pods.folder / "alone")
    shares.check_alike(run, pods.folder / "alone")
    shares.check_shares(pods.folder, whole)
    assert "node-0 | waveform-24-0: 24 tracks" in capfd.readouterr().out
    assert not list((pods.folder / "unfinished").iterdir())


@pytest.mark.slow
def test_a_node_that_cannot_train_says_why(pods: Pods) -> None:
    with pytest.raises(TagscaleError, match=r"node-\d \(pod train-waveform-24-0-.*\n.*error .*no-store"):
        train(pods.cluster, pods.folder, inputs=pods.folder / "no-store")


@pytest.mark.slow
def test_a_process_that_is_alone_does_not_train(tmp_path: Path) -> None:
    """As where a container has no torchrun: each would train all, and write where the other writes."""
    request = tmp_path / "request.json"
    told = {"processes": 2, "params": {}, "model": "waveform", "size": "all", "seed": 0, "inputs": "store"}
    request.write_text(json.dumps(told | dict.fromkeys(("catalog", "partition", "run", "unfinished"), "x")))
    assert "should be one of 2, but knows of 1 (WORLD_SIZE). Start it by torchrun" in said_by(request)
    assert "Is the volume mounted here where" in said_by(tmp_path / "none.json")


def said_by(request: Path) -> str:
    alone = {key: value for key, value in os.environ.items() if key != "WORLD_SIZE"}
    words = [sys.executable, "-m", "tagscale.cluster.worker", str(request)]
    done = subprocess.run(words, env=alone, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    return done.stderr
