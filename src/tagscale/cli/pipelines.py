"""`tagscale pipelines`: the commands of the folder `pipelines`, which a wheel has, too."""

import runpy
import sys

import typer

from tagscale.cli.use import USE
from tagscale.runtime.project import shipped

app = typer.Typer()


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    rich_help_panel=USE,
)
def pipelines(context: typer.Context) -> None:
    """Kubeflow: compile the pipelines, submit or schedule them, run one here; --help lists the commands.

    The same as `python -m pipelines` in the repository.
    """
    sys.path.insert(0, str(shipped()))
    sys.argv = [context.command_path, *context.args]
    runpy.run_module("pipelines", run_name="__main__")
