"""The repaired DockerRunner without an engine: its calls to one, and its error when none answers."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest
from kfp import dsl, local
from kfp.local import docker_task_handler
from pipelines.docker_runner import docker_runner

from pipelines import docker_runner as module
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.signals import Interrupted


class Container:
    """Prints something in chunks that end anywhere, then ends with a code."""

    def __init__(self, code: int, killed: bool = False) -> None:
        self.code, self.steps = code, []
        self.attrs = {"State": {"OOMKilled": killed}}

    def start(self) -> None:
        self.steps.append("start")

    def logs(self, **_: Any) -> list[bytes]:
        said = "one\nzwölf\nend".encode()
        return [said[:6], said[6:8], said[8:]]

    def wait(self) -> dict[str, int]:
        self.steps.append("wait")
        return {"StatusCode": self.code}

    def reload(self) -> None:
        pass

    def remove(self, **_: Any) -> None:
        self.steps.append("remove")


class Client:
    """The part of the docker package that the runner uses."""

    def __init__(self, container: Container | None = None, **info: Any) -> None:
        self.container, self.created = container, {}
        self.info = lambda: info
        self.images = SimpleNamespace(get=lambda name: name)
        self.containers = SimpleNamespace(list=lambda **_: [], create=self.create)

    def create(self, image: str, command: list[str], **arguments: Any) -> Container | None:
        self.created = {"image": image, "command": command, **arguments}
        return self.container

    def close(self) -> None:
        pass


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client(Container(3))
    monkeypatch.setattr(docker, "from_env", lambda: client)
    return client


@dsl.container_component
def task() -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image="tagscale:latest", command=["false"])


def test_a_container_is_waited_for_and_then_removed(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with docker_runner(environment={"TOLD": "yes"}) as runner:
        local.init(runner, str(tmp_path / "artifacts"))
        with pytest.raises(RuntimeError, match="FAILURE"):
            task()
    assert client.container.steps == ["start", "wait", "remove"]
    assert client.created["user"] == f"{os.getuid()}:{os.getgid()}"
    assert client.created["environment"] == {"TOLD": "yes"}
    assert client.created["read_only"]
    assert "auto_remove" not in client.created
    assert (tmp_path / "artifacts").is_dir(), "the engine would make it, for root"
    said = capsys.readouterr().out
    assert "    one\n    zwölf\n    end\n    The container ended with exit code 3.\n" in said


def test_a_container_out_of_memory_is_reported(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client.container = Container(137, killed=True)
    with docker_runner() as runner:
        local.init(runner, str(tmp_path))
        with pytest.raises(RuntimeError, match="FAILURE"):
            task()
    assert "exit code 137, because it ran out of memory" in capsys.readouterr().out


def test_no_task_starts_once_the_run_is_stopped(client: Client) -> None:
    containers = module._Containers(client, "run")
    containers.stop()
    with pytest.raises(TagscaleError, match="interrupted"):
        containers.run(client, "tagscale:latest", ["true"], {})
    assert client.container.steps == ["remove"]


def test_kfp_and_signals_are_restored(client: Client) -> None:
    before = docker_task_handler.run_docker_container, signal.getsignal(signal.SIGINT)
    with docker_runner():
        assert docker_task_handler.run_docker_container is not before[0]
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
    assert (docker_task_handler.run_docker_container, signal.getsignal(signal.SIGINT)) == before


def test_folders_are_mounted_and_must_exist(client: Client, tmp_path: Path) -> None:
    with docker_runner({tmp_path: "/songs:ro", tmp_path / "..": "/all"}) as runner:
        songs, everything = runner.container_run_args["mounts"]
    assert (songs["Source"], songs["Target"], songs["ReadOnly"]) == (str(tmp_path), "/songs", True)
    assert (everything["Source"], everything["ReadOnly"]) == (str(tmp_path.parent), False)
    with pytest.raises(TagscaleError, match=r"gone: no such folder"), docker_runner({tmp_path / "gone": "/songs"}):
        pass


def test_gpus_are_passed_on_and_the_root_of_a_rootless_engine_is_the_user() -> None:
    assert set(module._of_engine({})) == {"user"}
    found = module._of_engine({"SecurityOptions": ["name=seccomp", "name=rootless"], "Runtimes": {"nvidia": {}}})
    assert found["user"] == "0:0"
    assert found["device_requests"][0]["Capabilities"] == [["gpu"]]


def test_a_missing_engine_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(TagscaleError, match=r"no docker engine answers at unix:.*start docker"), docker_runner():
        pass
