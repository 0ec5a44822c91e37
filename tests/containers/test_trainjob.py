"""A training on several nodes in containers of the real image, through the Kubeflow SDK's backend for containers.

That backend runs the same function as a cluster does, with torchrun, in one container for each node. It mounts a single
folder, as /workspace: the volume of these tests.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubeflow.trainer.backends.container import utils
from kubeflow.trainer.backends.container.backend import ContainerBackend
from kubeflow.trainer.backends.container.types import ContainerBackendConfig, TrainingRuntimeSource
from kubeflow.trainer.types.types import TrainJob

from containers.engine import Engine
from kubernetes_loopback import shares
from tagscale.cluster import jobs
from tagscale.cluster.trainjob import train_on_nodes
from tagscale.runtime.errors import TagscaleError

ROOT = Path(__file__).parents[2]
WORKSPACE = Path("/workspace")
# Containers start a login shell, which forgets the PATH of the image.
PROFILE = "export PATH=/opt/tagscale/bin:$PATH\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> Iterator[Path]:
    """The volume; the user of the image, who is not the one of these tests, may write to it."""
    shares.volume(tmp_path, pytestconfig)
    (tmp_path / ".bash_profile").write_text(PROFILE)
    monkeypatch.setattr(utils, "create_workdir", lambda name: str(tmp_path))
    monkeypatch.setattr(jobs, "POLL_SECONDS", 1.0)
    before = os.umask(0)
    yield tmp_path
    os.umask(before)


class Backend(ContainerBackend):
    """Sees only the jobs of a test, in an engine that may have others."""

    others: frozenset[str] = frozenset()

    def left(self) -> list[TrainJob]:
        return [job for job in self.list_jobs() if job.name not in self.others]


@pytest.fixture
def backend(engine: Engine) -> Iterator[Backend]:
    source = TrainingRuntimeSource(
        sources=[f"file://{ROOT / 'k8s' / 'components' / 'training-runtime' / 'training-runtime.yaml'}"]
    )
    made = Backend(
        ContainerBackendConfig(
            container_runtime="docker", container_host=engine.address, pull_policy="Never",
            auto_remove=False, runtime_source=source,
        )
    )  # fmt: skip
    made.others = frozenset(job.name for job in made.list_jobs())
    yield made
    for job in made.left():
        made.delete_job(job.name)


def train(folder: Path, backend: Backend, image: str, **different: Any) -> Path:
    arguments: dict[str, Any] = {"model": "waveform", "size": 24, "seed": 0, "inputs": folder / "store"}
    arguments |= {name: folder / name for name in ("catalog", "partition")}
    unfinished = folder / "unfinished" / "waveform-24-0"
    train_on_nodes(
        shares.params_on(2), **(arguments | different), run=folder / "run", unfinished=unfinished, image=image,
        backend=backend, env=shares.environment(WORKSPACE) | {"HOME": str(WORKSPACE)},
        in_pods=lambda path: WORKSPACE / path.relative_to(folder),
    )  # fmt: skip
    return folder / "run"


def test_two_containers_train_what_one_process_does(folder: Path, backend: Backend, image: str) -> None:
    run = train(folder, backend, image)
    whole = shares.one_process(folder, folder / "alone")
    shares.check_alike(run, folder / "alone")
    shares.check_shares(folder, whole)
    assert not backend.left()
    assert not list((folder / "unfinished").iterdir())


def test_a_container_that_cannot_train_says_why(folder: Path, backend: Backend, image: str) -> None:
    reason = r"(?s)TrainJob train-waveform-24-0-\w+ failed.*error .*no-store/store\.json: no such file"
    with pytest.raises(TagscaleError, match=reason):
        train(folder, backend, image, inputs=folder / "no-store")
    (job,) = backend.left()  # kept for inspection
    assert job.status == "Failed"
    assert not (folder / "run").exists()
