"""`python -m pipelines`: compile the pipelines for a cluster and submit them, or run the training on this machine."""

import os
import re
import shutil
import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

import typer
from kfp import local

from pipelines.commands import cancel_command, schedule_command, submit_command, wait_command
from pipelines.package import PIPELINES, compiled_text
from pipelines.training import training_pipeline
from tagscale.errors import TagscaleError
from tagscale.files import read_json, replacing
from tagscale.identity import run_name
from tagscale.params import Params, load

app = typer.Typer(
    help="The stages of tagscale as a Kubeflow pipeline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ParamsFile = Annotated[Path, typer.Option("--params", help="Settings.")]
Preset = Annotated[Path | None, typer.Option(help="File with the settings that differ, laid over --params.")]


@app.command(name="compile")
def compile_pipeline(
    output: Annotated[Path, typer.Option(help="Folder for a file per pipeline.")],
    params: ParamsFile = Path("params.yaml"),
    preset: Preset = None,
) -> None:
    """Write OUTPUT/training.yaml, which a Kubeflow Pipelines server takes."""
    settings = load(params, preset)
    for name in PIPELINES:
        text = compiled_text(name, settings)
        with replacing(output / f"{name}.yaml") as fresh:
            fresh.write_text(text, encoding="utf-8")
        typer.echo(output / f"{name}.yaml")


@app.command()
def run(
    runner: Annotated[Literal["subprocess"], typer.Option(help="How each task runs.")] = "subprocess",
    params: ParamsFile = Path("params.yaml"),
    preset: Preset = None,
    root: Annotated[Path | None, typer.Option(help="Dataset folder in place of dataset.root (source: folder).")] = None,
    output: Annotated[Path, typer.Option(help="Folder for results and the tasks' artifacts.")] = Path("pipeline-run"),
) -> None:
    """Run the pipeline on this machine: a process for each task, one task after another.

    The artifacts of every run stay under OUTPUT/artifacts; reports, results and registration of the newest one that
    ended well are copied to OUTPUT.
    """
    settings = load(params, preset)
    arguments, pipeline = _dataset(settings, root), training_pipeline(settings, on_this_machine=True)
    from tagscale import tracking  # mlflow takes seconds to import, and only this needs it

    os.environ["MLFLOW_TRACKING_URI"] = tracking.configure()  # the tasks' processes inherit it
    artifacts = output / "artifacts"
    # Cached tasks would be wrong here: kfp's key knows neither the code of the stages nor the content of a folder.
    local.init(local.SubprocessRunner(use_venv=False), str(artifacts), workspace_root=str(artifacts / "workspace"))
    warnings.filterwarnings("ignore", module=r"kfp\.local")  # image and display names have no effect here: known
    try:
        pipeline(**arguments)
    except RuntimeError as error:
        told = re.sub(r"\x1b\[\d+m", "", str(error))  # kfp colours task names even where nobody sees it
        raise TagscaleError(f"{told} What the task said is printed above.") from None
    for kind, path in _copied(newest := max(artifacts.glob("tagscale-training-*")), output):
        typer.echo(f"{kind:13}{path}")
    typer.echo(f"{'artifacts':13}{newest}")


app.command("submit")(submit_command)
app.command("wait")(wait_command)
app.command("schedule")(schedule_command)
app.command("cancel")(cancel_command)


def _dataset(settings: Params, root: Path | None) -> dict[str, str]:
    """The pipeline's argument `root`, where it has one. Raises TagscaleError for a folder that is not there."""
    if settings.dataset.source == "synth":
        if root is not None:
            raise TagscaleError(f"--root {root}: dataset.source is `synth`, which reads no folder; set it to `folder`.")
        return {}
    folder = root or Path(settings.dataset.root)
    if not folder.is_dir():
        raise TagscaleError(f"{folder}: no such folder; give the dataset's with --root or dataset.root.")
    return {"root": str(folder.resolve())}


def _copied(run_folder: Path, output: Path) -> list[tuple[str, Path]]:
    """Copy the results of a run from kfp's folders to plain ones; what they are and where they lie."""
    sources = {"reports": run_folder / "compare" / "reports", "registration": run_folder / "register" / "registration"}
    for metrics in sorted(run_folder.rglob("results/metrics.json")):
        identity = read_json(metrics)["identity"]
        sources[f"results/{run_name(identity['model'], identity['size'], identity['seed'])}"] = metrics.parent
    for name, source in sources.items():
        with replacing(output / name) as fresh:
            shutil.copytree(source, fresh)
    return [
        ("report", output / "reports" / "report.html"),
        ("metrics", output / "reports" / "metrics.json"),
        ("results", output / "results"),
        ("registration", output / "registration" / "registration.json"),
    ]


def main() -> None:
    """Run the command line; a user's error is one message on stderr and exit status 1, without a traceback."""
    try:
        app()
    except TagscaleError as error:
        typer.echo(f"error {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
