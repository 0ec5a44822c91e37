"""The image of these tests: `make image`, on a stand-in for the base image where no registry is reachable."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker

from containers.engine import Engine, remove, remove_folder
from tagscale.runtime.errors import TagscaleError

ROOT = Path(__file__).parents[2]
BASE = "python:3.11-slim-bookworm"
STAND_IN = "tagscale-stand-in:bookworm"
NAME = "tagscale-test"
STAGE = "tagscale.stage=build"  # label of the intermediate stages
BUNDLE = Path("etc/ssl/certs/ca-certificates.crt")


@contextmanager
def built(engine: Engine) -> Iterator[str]:
    """The image's name until the block ends; then the image and its containers are removed.

    TAGSCALE_IMAGE names one that the docker engine has already; that one stays.

    Raises:
        TagscaleError: no base image, or the build failed, after its output.
    """
    if os.environ.get("TAGSCALE_IMAGE"):
        yield os.environ["TAGSCALE_IMAGE"]
        return
    before = {image.id for image in engine.client.images.list(filters={"label": STAGE})}
    base = base_image(engine)
    program, environment = builder()
    try:
        words = ["make", "image", f"IMAGE={NAME}", f"BASE={base}", f"DOCKER={program}", "BUILD_FLAGS=--network=host"]
        done = subprocess.run(words, cwd=ROOT, env=os.environ | environment)
        if done.returncode:
            raise TagscaleError(f"`{' '.join(words)}` failed; its output is printed above.")
        yield f"{NAME}:latest"
    finally:
        if not engine.own:  # our own engine is removed whole
            _clean(engine, before)


def base_image(engine: Engine) -> str:
    """BASE of the environment, else the Dockerfile's own, else the stand-in, built once for each engine."""
    if os.environ.get("BASE"):
        return os.environ["BASE"]
    for name in (BASE, STAND_IN):
        with suppress(docker.errors.ImageNotFound):
            engine.client.images.get(name)
            return name
    with suppress(docker.errors.APIError):
        engine.client.images.pull(BASE)
        return BASE
    print(f"{BASE} cannot be pulled: making a stand-in from Debian's packages", flush=True)
    _import_stand_in(engine)
    return STAND_IN


def builder() -> tuple[str, dict[str, str]]:
    """A docker program that builds with BuildKit (twice as fast), else any, and its environment."""
    found = [program for program in (shutil.which("docker"), "/usr/bin/docker") if program and Path(program).exists()]
    if not found:
        raise TagscaleError("no program docker: .ci/install.sh installs it on Debian and Ubuntu.")
    for program in found:
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        major = int(version.split("version ")[1].split(".")[0])
        plugin = subprocess.run([program, "buildx", "version"], capture_output=True).returncode == 0
        if plugin or major < 23:  # older programs have it built in
            return program, {"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}
    return found[0], {"DOCKER_BUILDKIT": "0"}


def _import_stand_in(engine: Engine) -> None:
    """Import Debian's own Python 3.11, with the C library of the base image, in another folder."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise TagscaleError(
            f"{BASE} cannot be pulled, and a stand-in needs root and debootstrap (.ci/install.sh "
            "installs it). Or set BASE to an image with Python 3.11 that this docker engine has."
        )
    folder = Path(tempfile.mkdtemp(prefix="tagscale-base-"))
    try:
        _debian(folder)
        apart = ["--exclude=./var/cache/apt", "--exclude=./var/lib/apt/lists"]
        with subprocess.Popen(["tar", "-C", folder, *apart, "-c", "."], stdout=subprocess.PIPE) as tar:
            engine.client.api.import_image_from_data(tar.stdout, *STAND_IN.split(":"))
    finally:
        remove_folder(folder)  # an interrupted debootstrap may leave /proc mounted in it


def _debian(root: Path) -> None:
    packages = "ca-certificates,python3,python3-pip,python3-venv"
    command = ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(root)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        raise TagscaleError(f"debootstrap failed: {made.stdout[-1000:]}{made.stderr[-1000:]}")
    (root / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink(missing_ok=True)
    (root / "usr/bin/python").symlink_to("python3")
    with suppress(FileNotFoundError):  # certificates that this machine trusts, for instance a proxy's
        shutil.copyfile(Path("/") / BUNDLE, root / BUNDLE)


def _clean(engine: Engine, before: set[str]) -> None:
    client = engine.client
    tags = [tag for image in client.images.list(NAME) for tag in image.tags]
    for tag in tags:
        remove(client.containers.list(all=True, filters={"ancestor": tag}))
        client.images.remove(tag)
    for image in client.images.list(filters={"label": STAGE, "dangling": True}):
        if image.id not in before:
            with suppress(docker.errors.APIError):  # another build uses it
                client.images.remove(image.id)
    with suppress(docker.errors.ImageNotFound):
        client.images.remove(STAND_IN)
