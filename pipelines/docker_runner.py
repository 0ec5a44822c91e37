"""Tasks in containers on this machine: kfp's DockerRunner, repaired.

kfp lets the engine remove a container as soon as it ends. Where a container is gone when kfp asks for its exit code,
kfp takes that for success, so some failed tasks count as done. Here a container is created, started, followed, waited
for, and only then removed. This replaces one function of kfp while `docker_runner` is open.

A task is as confined as on a cluster: the root file system is read-only, /tmp is writable, and no rights can be gained.
It runs as the user who runs the pipeline, so its files belong to that user.
"""

import codecs
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import docker
from docker.types import DeviceRequest, Mount
from kfp import local
from kfp.local import docker_task_handler

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.signals import Interrupted, answered

LABEL = "tagscale.pipeline-run"  # of every container, with the id of its run: `docker ps --filter label=...`


@contextmanager
def docker_runner(
    volumes: Mapping[Path, str] | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[local.DockerRunner]:
    """A runner for `kfp.local.init`. It leaves no container behind, not even after Ctrl-C.

    Tasks use the network of this machine: an address means the same in them as outside. kfp itself mounts the folder of
    the pipeline's artifacts.

    Args:
        volumes: folders for every task: path on this machine -> path in the container, with ":ro" to only read it.
        environment: variables for every task.

    Raises:
        TagscaleError: no docker engine answers; a folder of `volumes` or, in a task, its image is missing.
    """
    client = _client()
    containers = _Containers(client, uuid4().hex)
    runner = local.DockerRunner(
        mounts=[_mount(source, target) for source, target in (volumes or {}).items()],
        environment=dict(environment or {}),
        labels={LABEL: containers.run_id},
        network_mode="host",
        read_only=True,
        tmpfs={"/tmp": "exec,mode=1777"},  # exec: torch loads compiled kernels from there
        shm_size="2g",  # the loader's workers hand batches on through it; the default is 64 MB
        security_opt=["no-new-privileges"],
        **_of_engine(client.info()),
    )

    def interrupt(number: int) -> NoReturn:
        containers.stop()  # at once: the main thread may wait for a thread that follows them
        raise Interrupted(number)

    kept = docker_task_handler.run_docker_container
    docker_task_handler.run_docker_container = containers.run
    try:
        with answered(interrupt, signal.SIGINT, signal.SIGTERM):
            yield runner
    finally:
        docker_task_handler.run_docker_container = kept
        containers.stop()
        client.close()


class _Containers:
    """The containers of one run of a pipeline."""

    def __init__(self, client: docker.DockerClient, run_id: str) -> None:
        self.client, self.run_id, self.stopped = client, run_id, False

    def run(
        self, client: docker.DockerClient, image: str, command: list[str], volumes: dict[str, Any], **arguments: Any
    ) -> int:
        """Run a container to its end and print its output; returns its exit code. Takes the place of kfp's function."""
        try:
            client.images.get(image)
        except docker.errors.ImageNotFound:
            raise TagscaleError(
                f"{image}: the docker engine of this machine has no such image. `make image` builds tagscale:latest; "
                "pull the image first where TAGSCALE_IMAGE names another."
            ) from None
        for folder in volumes:
            Path(folder).mkdir(parents=True, exist_ok=True)  # the engine would create it for root
        container = client.containers.create(image, command, volumes=volumes, **arguments)
        try:
            if self.stopped:  # checked after the creation: either `stop` sees the container, or this sees `stop`
                raise TagscaleError("the run was interrupted")
            container.start()
            _print_lines(container.logs(stream=True, follow=True))
            code: int = container.wait()["StatusCode"]
            if code:
                container.reload()
                reason = ", because it ran out of memory" if container.attrs["State"].get("OOMKilled") else ""
                print(f"The container ended with exit code {code}{reason}.")
            return code
        finally:
            _remove(container)

    def stop(self) -> None:
        """Remove all containers and start no more: kfp waits for tasks in loops, and would start the next ones."""
        self.stopped = True
        for container in self.client.containers.list(all=True, filters={"label": f"{LABEL}={self.run_id}"}):
            _remove(container)


def _client() -> docker.DockerClient:
    try:
        return docker.from_env()
    except docker.errors.DockerException as error:
        address = os.environ.get("DOCKER_HOST", "its usual socket")
        raise TagscaleError(
            f"no docker engine answers at {address} ({error}): start docker, set DOCKER_HOST, or use "
            "`--runner subprocess`, which needs none."
        ) from None


def _of_engine(engine: dict[str, Any]) -> dict[str, Any]:
    """Options that depend on the engine: the user, and GPUs where it can pass them on."""
    rootless = any("rootless" in option for option in engine.get("SecurityOptions") or [])  # its root is the user
    options: dict[str, Any] = {"user": "0:0" if rootless else f"{os.getuid()}:{os.getgid()}"}
    if "nvidia" in (engine.get("Runtimes") or {}):
        options["device_requests"] = [DeviceRequest(count=-1, capabilities=[["gpu"]])]
    return options


def _mount(source: Path, target: str) -> Mount:
    if not Path(source).is_dir():
        raise TagscaleError(f"{source}: no such folder; tasks need it as {target}.")
    path, _, mode = target.partition(":")
    return Mount(target=path, source=str(Path(source).resolve()), type="bind", read_only=mode == "ro")


def _print_lines(chunks: Iterator[bytes]) -> None:
    """Print whole lines, which kfp indents; a chunk may end within a line or a character."""
    decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
    for chunk in chunks:
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in lines:
            print(line)
    if rest:
        print(rest)


def _remove(container: Any) -> None:
    try:
        container.remove(force=True, v=True)
    except docker.errors.APIError as error:
        if error.status_code not in (404, 409):  # gone, or being removed by another thread
            raise
