"""A docker engine for the tests of this folder, and the image built in it."""

import signal
from collections.abc import Iterator

import pytest

from containers.engine import Engine, running
from containers.images import built


def pytest_configure() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up after SIGTERM as after Ctrl-C


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A docker engine. DOCKER_HOST names it, so programs, kfp and the Kubeflow SDK find it, too."""
    with running() as found:
        yield found


@pytest.fixture(scope="session")
def image(engine: Engine) -> Iterator[str]:
    """Name of the image, built from the Dockerfile."""
    with built(engine) as name:
        yield name
