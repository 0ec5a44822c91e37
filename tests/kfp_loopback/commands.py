"""The command line of the pipelines, against a server on this machine."""

from pathlib import Path

from pipelines.__main__ import app
from typer.testing import CliRunner

from kfp_loopback.server import KfpLoopback
from tagscale.runtime.errors import TagscaleError

ROOT = Path(__file__).parents[2]


def call(command: str, server: KfpLoopback, *arguments: str, status: int = 0) -> str:
    """The output of a command."""
    given = () if command in ("wait", "cancel") else ("--params", str(ROOT / "params.yaml"))
    done = CliRunner().invoke(app, [command, "--host", server.address, *given, *arguments])
    if isinstance(done.exception, TagscaleError):
        raise done.exception  # main() prints it
    assert done.exit_code == status, done.output
    return done.output


def only(records: dict[str, dict]) -> dict:
    (one,) = records.values()
    return one


def lists(server: KfpLoopback) -> dict[str, int]:
    return {name: len(getattr(server, name)) for name in ("pipelines", "versions", "experiments", "runs", "recurring")}
