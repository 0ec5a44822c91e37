"""What the Dockerfile says, without building it."""

import re
import subprocess
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PACKAGE = re.compile(r"^([a-z0-9][a-z0-9.-]*)==", re.MULTILINE)


def lock(name: str) -> set[str]:
    return set(PACKAGE.findall((ROOT / name).read_text()))


def without_cuda() -> str:
    """The lock as the build arguments TORCH_INDEX leaves it."""
    program = re.search(r"awk '(.*?)'", DOCKERFILE, re.DOTALL)
    assert program
    command = ["awk", program[1], ROOT / "requirements-image.lock"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_for_cpus_torch_and_what_only_its_cuda_build_needs_are_left_out() -> None:
    rest = without_cuda()
    left_out = lock("requirements-image.lock") - set(PACKAGE.findall(rest))
    wanted = {Requirement(one).name for one in requires("torch") or [] if "Linux" in one}
    assert {"torch", "torchaudio", "triton"} <= left_out
    assert wanted <= left_out
    assert all(re.match(r"torch$|torchaudio$|triton$|nvidia-|cuda-", name) for name in left_out)
    assert rest.count("--hash=sha256:") > len(PACKAGE.findall(rest)), "every one with its hashes"
    assert "lightning-fabric==" in rest


@pytest.mark.parametrize(("name", "least"), [("requirements-image.lock", 200), ("requirements-serve.lock", 100)])
def test_the_lock_of_an_image_is_a_part_of_the_whole_lock(name: str, least: int) -> None:
    whole = (ROOT / "requirements.lock").read_text()
    pinned = re.findall(r"^[a-z0-9][^ \n]*==[^ \n]+", (ROOT / name).read_text(), re.MULTILINE)
    assert len(pinned) > least
    assert not [one for one in pinned if f"\n{one}" not in whole], "run `make lock`"
    assert not {"pytest", "mypy", "ruff", "moto"} & lock(name)


def test_what_serves_runs_no_pipelines() -> None:
    served = lock("requirements-serve.lock")
    assert served < lock("requirements-image.lock")
    assert {"litserve", "mlflow", "av", "soundfile", "torch"} <= served
    assert not {"kfp", "dvc", "great-expectations", "kubeflow"} & served


@pytest.mark.parametrize("name", ["requirements-image.lock", "requirements-serve.lock"])
def test_the_build_sees_the_lock_of_each_image(name: str) -> None:
    assert f"!{name}" in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_older_builder_can_read_it() -> None:
    assert not re.search(r"--mount=|--link|--chmod|<<|^# *syntax|TARGETARCH|COPY --parents", DOCKERFILE, re.MULTILINE)


def test_it_names_no_hosts() -> None:
    assert "://" not in DOCKERFILE
