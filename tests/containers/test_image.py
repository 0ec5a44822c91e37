"""The image as a cluster runs it: a user without rights, a read-only root file system, /tmp alone to write to."""

from pathlib import Path
from typing import Any

import pytest

from containers.engine import Engine

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def attributes(engine: Engine, image: str) -> dict[str, Any]:
    return engine.client.images.get(image).attrs


def said(engine: Engine, image: str, *command: str, **options: Any) -> str:
    """What a command says in a container that is confined as the pods of k8s/ are."""
    confined = {"read_only": True, "tmpfs": {"/tmp": "exec"}, "cap_drop": ["ALL"], "network_mode": "none"}
    output: bytes = engine.client.containers.run(
        image, list(command), remove=True, security_opt=["no-new-privileges"], stderr=True, **confined | options
    )
    return output.decode()


def test_the_user_has_no_rights(engine: Engine, image: str, attributes: dict[str, Any]) -> None:
    assert attributes["Config"]["User"] == "1000:1000"
    assert said(engine, image, "id") == "uid=1000(tagscale) gid=1000(tagscale) groups=1000(tagscale)\n"
