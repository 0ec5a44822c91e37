"""A docker engine for the tests of this folder: the one that answers, or their own, which leaves nothing behind.

Their own engine needs root and `dockerd`. Its socket, images and containers lie in a folder that is removed with it. It
changes nothing else on the machine: no firewall rules, no default bridge (so builds use the host's network, and
containers find each other on networks created for them).
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from tagscale.runtime.errors import TagscaleError

FREE_GB = 20  # an image has 6 GB, and its layers exist beside it during a build
FLAGS = ["--iptables=false", "--ip6tables=false", "--bridge=none", "--default-ulimit=nofile=20000:20000"]


@dataclass
class Engine:
    """A docker engine.

    Attributes:
        address: for DOCKER_HOST.
        client: of the docker package, connected to it.
        own: started by these tests and ended by them.
    """

    address: str
    client: docker.DockerClient
    own: bool


@contextmanager
def running(free_gb: float = FREE_GB) -> Iterator[Engine]:
    """The docker engine that answers, else one that runs until the block ends; DOCKER_HOST names it.

    Args:
        free_gb: an engine starts only where its folder's disk has as much free.

    Raises:
        TagscaleError: none answers and none can be started; the message says what is missing.
    """
    present = _answering()
    if present is not None:
        yield Engine(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"), present, own=False)
        return
    _check(free_gb)
    folder = Path(tempfile.mkdtemp(prefix="tagscale-engine-"))
    try:
        with _started(folder) as engine, pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", engine.address)
            yield engine
    finally:
        remove_folder(folder)


def remove(found: list[Any]) -> None:
    """Remove containers (running ones, too) or networks; those that are gone already are no error."""
    for one in found:
        with suppress(docker.errors.NotFound):
            one.remove(**({"force": True, "v": True} if hasattr(one, "kill") else {}))


def remove_folder(folder: Path) -> None:
    """Unmount what a killed engine left mounted in its folder, and remove the folder."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted((place for place in mounted if place.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=False)
    # This takes half a minute: a process of its own survives Ctrl-C.
    subprocess.Popen(["rm", "-rf", "--one-file-system", folder], start_new_session=True).wait()


def _answering() -> docker.DockerClient | None:
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException:
        return None
    return client


def _check(free_gb: float) -> None:
    where = os.environ.get("DOCKER_HOST", "the default socket")
    begun = f"no docker engine answers at {where}, and none can be started here: "
    if os.geteuid() != 0:
        raise TagscaleError(f"{begun}that needs root. Start docker, or set DOCKER_HOST to one that you may use.")
    if shutil.which("dockerd") is None:
        raise TagscaleError(f"{begun}no program dockerd. On Debian and Ubuntu .ci/install.sh installs it.")
    free = shutil.disk_usage(tempfile.gettempdir()).free / 1e9
    if free < free_gb:
        raise TagscaleError(
            f"{begun}{tempfile.gettempdir()} has {free:.0f} GB free, {free_gb} are needed. Free some or set TMPDIR."
        )


@contextmanager
def _started(folder: Path) -> Iterator[Engine]:
    address = f"unix://{folder}/docker.sock"
    places = [f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
    with (folder / "log").open("w") as log:
        # It ends with this process, even a killed one, but not by Ctrl-C: containers must be removed first.
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "dockerd", f"--host={address}", *places, *FLAGS],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        client = _connected(address, process, folder / "log")
        try:
            yield Engine(address, client, own=True)
        finally:  # the engine leaves the bridges of networks on the machine
            remove(client.containers.list(all=True))
            remove([network for network in client.networks.list() if network.name not in ("bridge", "host", "none")])
            client.close()
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _connected(address: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> docker.DockerClient:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and process.poll() is None:
        with suppress(docker.errors.DockerException):
            return docker.DockerClient(base_url=address, timeout=600)  # requests the engine's version
        time.sleep(0.2)
    raise TagscaleError(f"dockerd did not start; its last output:\n{log.read_text()[-2000:]}")
