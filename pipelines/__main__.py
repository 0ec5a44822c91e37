"""`python -m pipelines`: compile the pipelines for a cluster and submit them, or run one on this machine."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.commands import (
    Cell,
    Name,
    ParamsFile,
    Preset,
    cancel_command,
    schedule_command,
    submit_command,
    wait_command,
)
from pipelines.cost import costs
from pipelines.definitions import PIPELINES
from pipelines.draw import draw
from pipelines.graph import graph_of
from pipelines.package import compiled_text
from pipelines.run import run_here
from tagscale.params.load import load
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing

app = typer.Typer(
    help="The stages of tagscale as Kubeflow pipelines: data, training, study and retrain.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command(name="compile")
def compile_pipelines(
    output: Annotated[Path, typer.Option(help="Folder for a file per pipeline.")],
    params: ParamsFile = Path("params.yaml"),
    preset: Preset = None,
) -> None:
    """Write OUTPUT/data.yaml, training.yaml, study.yaml and retrain.yaml, which a Kubeflow Pipelines server takes."""
    settings = load(params, preset)
    texts = {name: compiled_text(name, settings) for name in PIPELINES}
    for name, text in texts.items():
        with replacing(output / f"{name}.yaml") as fresh:
            fresh.write_text(text, encoding="utf-8")
        typer.echo(output / f"{name}.yaml")


@app.command(name="draw")
def draw_pipeline(
    output: Annotated[Path, typer.Option(help="Picture to write: .png, .svg or .pdf.")],
    pipeline: Name = "study",
    params: ParamsFile = Path("params.yaml"),
    preset: Preset = None,
) -> None:
    """Draw a pipeline as it is compiled: tasks, loops, and who waits for whom."""
    settings = Cell.narrowed(load(params, preset), pipeline, None, None, None)
    draw(graph_of(compiled_text(pipeline, settings)), output)
    typer.echo(output)


@app.command(name="cost")
def cost_of_study(
    patches_per_second: Annotated[
        float, typer.Option(min=0.001, help="Of one GPU, as `benchmarks/training.py --device cuda` measures it.")
    ],
    tracks: Annotated[int | None, typer.Option(min=1, help="Tracks of the dataset, where a size is `all`.")] = None,
    params: ParamsFile = Path("params.yaml"),
    preset: Preset = None,
) -> None:
    """GPU hours that the trainings of a study take at most: none ends before train.max_epochs."""
    found = costs(load(params, preset), tracks)
    typer.echo(f"{'model':24}{'size':>10}{'runs':>6}{'patches':>16}{'GPU hours':>12}")
    for cost in found:
        hours = cost.gpu_hours(patches_per_second)
        typer.echo(f"{cost.model:24}{cost.size:>10}{cost.runs:>6}{cost.patches:>16,}{hours:>12,.2f}")
    patches, hours = sum(c.patches for c in found), sum(c.gpu_hours(patches_per_second) for c in found)
    typer.echo(f"{'all':24}{'':>10}{sum(c.runs for c in found):>6}{patches:>16,}{hours:>12,.2f}")


@app.command()
def run(
    pipeline: Name = "study",
    runner: Annotated[
        Literal["subprocess", "docker"], typer.Option(help="Each task in a process, or in a container of the image.")
    ] = "subprocess",
    params: ParamsFile = Path("params.yaml"),
    preset: Preset = None,
    model: Cell.Model = None,
    size: Cell.Size = None,
    seed: Cell.Seed = None,
    root: Annotated[Path | None, typer.Option(help="Dataset folder in place of dataset.root.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for results, volume and the tasks' artifacts.")] = Path(
        "pipeline-run"
    ),
) -> None:
    """Run a pipeline on this machine, one task after another.

    OUTPUT/volume is what a cluster's volume is, and stays for the next run; the artifacts of every run stay under
    OUTPUT/artifacts. Reports, results and registration of the newest run that ended well are copied to OUTPUT.
    """
    settings = Cell.narrowed(load(params, preset), pipeline, model, size, seed)
    for kind, path in run_here(pipeline, settings, runner, root, output):
        typer.echo(f"{kind:13}{path}")


app.command("submit")(submit_command)
app.command("wait")(wait_command)
app.command("schedule")(schedule_command)
app.command("cancel")(cancel_command)


def main() -> None:
    """Run the command line; a user's error is one message on stderr and exit status 1, without a traceback."""
    try:
        app()
    except TagscaleError as error:
        typer.echo(f"error {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
