"""The command line: the stages in the order of the data, then the commands that use a trained tagger."""

from typing import Annotated, Any

import typer
from rich.console import Console

from tagscale import __version__
from tagscale.cli import (
    data,
    deploy,
    export,
    index,
    init,
    learn,
    models,
    pipelines,
    reproduce,
    serve,
    stages,
    store,
    tag,
    use,
    watch,
)
from tagscale.runtime.command import command
from tagscale.runtime.machine import respect_quota

app = typer.Typer(
    help="Train, compare, register and use music taggers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(store.app, name="store", rich_help_panel=data.DATASETS)
for part in (init, data, stages, models, learn, reproduce, tag, use, index, watch, serve, export, deploy, pipelines):
    app.registered_commands += part.app.registered_commands


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error of its user, or a signal, ends in one message on stderr, without a traceback."""
    console = Console(stderr=True)

    def say(message: str) -> None:
        kind, _, rest = message.partition(" ")
        console.print(kind, style="bold red", end=" ")
        console.print(rest, markup=False, highlight=False, soft_wrap=True)  # commands in it stay whole

    respect_quota()
    with command(say):
        app(arguments)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tagscale {__version__}")
        raise typer.Exit


@app.callback()
def _options(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> Any:
    """Train, compare, register and use music taggers."""
