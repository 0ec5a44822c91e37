"""A server for every test, and pipelines that are compiled once."""

from collections.abc import Iterator

import pytest

from kfp_loopback.server import KfpLoopback, serving
from pipelines import __main__ as commands
from pipelines import package
from pipelines.client import follow
from tagscale.params.load import Params

COMMIT = "0d40257" + "0" * 33
VARIABLES = ("TAGSCALE_KFP_TOKEN", "TAGSCALE_KFP_COOKIE", "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_SA_TOKEN_PATH")
TEXTS: dict[tuple[str, str], str] = {}
COMPILE = package.compiled_text


def compiled_once(name: str, settings: Params) -> str:
    """The compiler's output, compiled once for the same settings."""
    key = (name, settings.model_dump_json())
    if key not in TEXTS:
        TEXTS[key] = COMPILE(name, settings)
    return TEXTS[key]


@pytest.fixture
def server() -> Iterator[KfpLoopback]:
    with serving() as loopback:
        yield loopback


@pytest.fixture(autouse=True)
def outside_of_git(tmp_path, monkeypatch):
    """A folder that is no repository, with the commit in the environment, so that the version's name is known."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAGSCALE_GIT_COMMIT", COMMIT)
    monkeypatch.setattr(follow, "FIRST_PAUSE", 0.01)
    for module in (package, commands):
        monkeypatch.setattr(module, "compiled_text", compiled_once)
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
