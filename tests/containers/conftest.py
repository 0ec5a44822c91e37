"""What the tests of this folder share: a docker engine, and the image built in it."""

import signal
from collections.abc import Iterator

import pytest

from containers.engine import Engine, running
from containers.images import built


def pytest_configure() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended or interrupted: what was started is cleaned up


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A docker engine. DOCKER_HOST leads to it, so programs, kfp and the Kubeflow SDK find it too."""
    with running() as found:
        yield found


@pytest.fixture(scope="session")
def image(engine: Engine) -> Iterator[str]:
    """Name of the image, built from the Dockerfile."""
    with built(engine) as name:
        yield name
