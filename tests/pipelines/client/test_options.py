"""The client knows nothing of tagging; options that commands share are written once."""

import ast
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from pipelines.__main__ import app
from pipelines.client.options import with_shared_options
from typer.testing import CliRunner

import pipelines.client

FOLDER = Path(pipelines.client.__file__).parent


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_imports_nothing_of_tagging(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            package = name.split(".")[0]
            assert package not in ("tagscale", "pipelines", "components") or name.startswith(
                ("tagscale.runtime.", "pipelines.client.")
            ), f"{path.name} imports {name}"


def test_no_command_has_more_than_eight_parameters_of_its_own() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        own = inspect.signature(inspect.unwrap(command.callback)).parameters
        assert len(own) <= 8, command.callback.__name__


@dataclass(frozen=True)
class Place:
    city: Annotated[str, typer.Option(help="Where.")]
    floor: int = 0


def command_line(*words: str) -> str:
    tiny = typer.Typer()

    @tiny.command()
    @with_shared_options
    def visit(place: Place, guest: Annotated[str, typer.Argument()], late: bool = False) -> None:
        """Visit a place."""
        typer.echo(f"{place} {guest} {late}")

    return CliRunner().invoke(tiny, words).output


def test_fields_of_a_dataclass_are_options() -> None:
    assert command_line("--city", "Oslo", "ann") == "Place(city='Oslo', floor=0) ann False\n"
    assert command_line("--late", "--floor", "2", "--city", "Oslo", "ann") == "Place(city='Oslo', floor=2) ann True\n"


def test_a_field_without_a_default_is_required() -> None:
    assert "Missing option '--city'" in command_line("ann")
    assert "Visit a place." in command_line("--help")
