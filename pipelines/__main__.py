"""`tagscale pipelines`: compile the pipelines for a cluster and submit them, or run one on this machine."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.client.options import with_shared_options
from pipelines.commands import cancel_command, schedule_command, submit_command, wait_command
from pipelines.cost import costs
from pipelines.definitions import PIPELINES
from pipelines.graph import graph_of
from pipelines.mermaid import flowchart
from pipelines.options import Cell, Name, Run, Settings
from pipelines.package import compiled_text
from pipelines.run import run_here
from tagscale.runtime.command import command
from tagscale.runtime.files import replacing

app = typer.Typer(
    help="The stages of tagscale as Kubeflow pipelines: data, training, study, retrain, tag and watch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command(name="compile")
@with_shared_options
def compile_pipelines(
    output: Annotated[Path, typer.Option(help="Folder for a file per pipeline.")],
    settings: Settings,
) -> None:
    """Write OUTPUT/data.yaml, study.yaml, retrain.yaml ... for a Kubeflow Pipelines server, a file a pipeline."""
    params = settings.load()
    texts = {name: compiled_text(name, params) for name in PIPELINES}
    for name, text in texts.items():
        with replacing(output / f"{name}.yaml") as fresh:
            fresh.write_text(text, encoding="utf-8")
        typer.echo(output / f"{name}.yaml")


@app.command()
@with_shared_options
def draw(cell: Cell, pipeline: Name = "study") -> None:
    """Print a compiled pipeline as a mermaid flowchart: tasks, loops, and which task waits for which."""
    typer.echo(flowchart(graph_of(compiled_text(pipeline, cell.of(pipeline)))), nl=False)


@app.command(name="cost")
@with_shared_options
def cost_of_study(
    settings: Settings,
    patches_per_second: Annotated[
        float, typer.Option(min=0.001, help="Of one GPU, as `benchmarks/training.py --device cuda` measures it.")
    ],
    tracks: Annotated[int | None, typer.Option(min=1, help="Tracks of the dataset, where a size is `all`.")] = None,
) -> None:
    """GPU hours that the trainings of a study take at most: none stops before train.max_steps."""
    lines = costs(settings.load(), tracks)
    typer.echo(f"{'model':24}{'size':>10}{'runs':>6}{'patches':>16}{'GPU hours':>12}")
    for cost in lines:
        hours = cost.gpu_hours(patches_per_second)
        typer.echo(f"{cost.model:24}{cost.size:>10}{cost.runs:>6}{cost.patches:>16,}{hours:>12,.2f}")
    patches, hours = sum(cost.patches for cost in lines), sum(cost.gpu_hours(patches_per_second) for cost in lines)
    typer.echo(f"{'all':24}{'':>10}{sum(cost.runs for cost in lines):>6}{patches:>16,}{hours:>12,.2f}")


@app.command()
@with_shared_options
def run(
    chosen: Run,
    pipeline: Name = "study",
    runner: Annotated[
        Literal["subprocess", "docker"], typer.Option(help="Each task in a process, or in a container of the image.")
    ] = "subprocess",
    root: Annotated[Path | None, typer.Option(help="Dataset folder in place of dataset.root.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for results, volume and the tasks' artifacts.")] = Path(
        "pipeline-run"
    ),
) -> None:
    """Run a pipeline on this machine, one task after another.

    OUTPUT/volume takes the place of a cluster's volume, and stays for the next run, which trains nothing that is there
    already. The artifacts of every run stay
    under OUTPUT/artifacts. Reports, results and registration of the newest successful run are copied to OUTPUT.
    """
    arguments = chosen.arguments(pipeline)
    for kind, path in run_here(pipeline, chosen.of(pipeline), runner, root, output, arguments):
        typer.echo(f"{kind:13}{path}")


app.command("submit")(submit_command)
app.command("wait")(wait_command)
app.command("schedule")(schedule_command)
app.command("cancel")(cancel_command)


def main() -> None:
    """Run the command line; an error of its user, or a signal, ends in one message on stderr, without a traceback."""
    with command(partial(typer.echo, err=True)):
        app()


if __name__ == "__main__":
    main()
