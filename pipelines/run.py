"""A pipeline on this machine: kfp's local runners, a process or a container for each task.

A folder takes the place of a cluster's volume, so a second run skips what the first has decoded, trained and evaluated.
"""

import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kfp import local

from pipelines.definitions import defined, server_name
from pipelines.tasks import pipeline
from tagscale.cluster.volume import address_in
from tagscale.params.load import Params, laid_over, parse
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, replacing
from tagscale.runtime.identity import run_name
from tagscale.serving.catalogue import entries

PASSED = ("MLFLOW_", "AWS_", "OMP_")  # prefixes of the variables that containers get


def run_here(
    name: str, params: Params, runner: str, root: Path | None, output: Path, arguments: Mapping[str, Any] | None = None
) -> list[tuple[str, Path]]:
    """Run a pipeline and copy its results to plain folders; returns the kind and the path of each result.

    Args:
        name: one of PIPELINES.
        runner: subprocess or docker.
        root: the dataset's folder, in place of dataset.root.
        output: folder for everything.
        arguments: of the run, by the names of the pipeline's parameters; a catalogue is one of this machine

    Raises:
        TagscaleError: the dataset, the image or MLflow is missing, or a task failed.
    """
    output, arguments, tags = output.absolute(), dict(arguments or {}), defined(name).tags
    settings = settings_here(params, root, output, reads_dataset=not tags)
    audio = [] if tags or settings.dataset.source == "synth" else [Path(settings.dataset.root)]
    if tags and "://" not in arguments["catalogue"]:
        catalogue = Path(arguments["catalogue"]).resolve()
        arguments["catalogue"] = str(catalogue)
        audio = folders_of(catalogue) if runner == "docker" else []
    built = pipeline(name, settings, on_this_machine=True)
    from tagscale import tracking  # only this needs mlflow, whose import takes seconds

    os.environ["MLFLOW_TRACKING_URI"] = tracking.configure()  # the tasks' processes inherit it
    artifacts = output / "artifacts"
    artifacts.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", module=r"kfp\.local")  # warns that image and display names have no effect
    try:
        with _runner(runner, audio, output) as chosen:
            local.init(chosen, str(artifacts), workspace_root=str(artifacts / "workspace"))
            built(**arguments)
    except RuntimeError as error:
        message = re.sub(r"\x1b\[\d+m", "", str(error))  # kfp colours the names of tasks
        raise TagscaleError(f"{message} The output of the task is printed above.") from None
    newest = max(artifacts.glob(f"{server_name(name)}-*"), key=lambda folder: folder.stat().st_mtime)
    return [*_copied(newest, output), ("volume", output / "volume"), ("artifacts", newest)]


def settings_here(params: Params, root: Path | None, output: Path, reads_dataset: bool = True) -> Params:
    """The settings with paths of this machine. Raises TagscaleError where the dataset is missing."""
    changes: dict[str, dict[str, str]] = {"kubernetes": {"mount": str(output / "volume")}}
    (output / "volume").mkdir(parents=True, exist_ok=True)
    if not reads_dataset:
        if root is not None:
            raise TagscaleError(f"--root {root}: the pipeline tag reads no dataset; give --catalogue.")
    elif params.dataset.source == "synth":
        if root is not None:
            raise TagscaleError(f"--root {root}: dataset.source is `synth`, which reads no folder; set it to `folder`.")
    else:
        folder = root or Path(params.dataset.root)
        if not folder.is_dir():
            raise TagscaleError(f"{folder}: no such folder; give the dataset's folder with --root or dataset.root.")
        changes["dataset"] = {"root": str(folder.resolve())}
    return parse(laid_over(params.model_dump(), changes))


def folders_of(catalogue: Path) -> list[Path]:
    """The folders of this machine that a catalogue reads: its own, and of a list the one around files outside of it.

    Raises:
        TagscaleError: no folder but the root is around them, or the list cannot be read.
    """
    if catalogue.is_dir():
        return [catalogue]
    own = catalogue.parent
    places = (entry.place for entry in entries([str(catalogue)]).values() if not entry.is_remote)
    parents = {Path(os.path.normpath(own / place)).parent for place in places}
    outside = sorted(str(parent) for parent in parents if not parent.is_relative_to(own))
    if not outside:
        return [own]
    around = Path(os.path.commonpath(outside))
    if around == Path(around.anchor):
        raise TagscaleError(
            f"{catalogue}: no folder but {around} is around the files that it names in {outside[0]} and {outside[-1]}; "
            "expected one that containers can be given. Divide the list, or use `--runner subprocess`."
        )
    return [own, around]


@contextmanager
def _runner(kind: str, audio: Sequence[Path], output: Path) -> Iterator[local.SubprocessRunner | local.DockerRunner]:
    """A runner of kfp. Containers see the folders that processes would: this one, the output and those of the audio."""
    if kind == "subprocess":
        yield local.SubprocessRunner(use_venv=False)
        return
    from pipelines.docker_runner import docker_runner

    here = Path.cwd()  # has mlflow.db, and perhaps the tags of the user's own dataset
    folders = {here: str(here), output: str(output)}
    for folder in audio:
        folders.setdefault(folder, f"{folder}:ro")
    environment = {name: value for name, value in os.environ.items() if name.startswith(PASSED)}
    with docker_runner(folders, environment) as runner:
        runner.container_run_args["working_dir"] = str(here)
        yield runner


def _copied(run_folder: Path, output: Path) -> list[tuple[str, Path]]:
    """Copy the results of a run from kfp's folders to plain ones; returns the kind and the path of each."""
    sources, shown = {}, []
    for kind, artifact, file in (
        ("report", "compare/reports", "report.html"),
        ("metrics", "compare/reports", "metrics.json"),
        ("registration", "register/registration", "registration.json"),
        ("validation", "validate/validation", "validation.html"),
        ("ensembles", "ensemble/ensembles", "results"),
    ):
        for folder in run_folder.rglob(artifact):
            sources[folder.name] = folder
            shown.append((kind, output / folder.name / file))
    for metrics in sorted(run_folder.rglob("results/metrics.json")):
        identity = read_json(metrics)["identity"]
        name = run_name(identity["model"], identity["size"], identity["seed"])
        sources[f"results/{name}"] = metrics.parent
        for run in metrics.parents[2].rglob("run/run.json"):
            if read_json(run)["identity"] == identity:
                sources[f"runs/{name}"] = run.parent
    for name, source in sources.items():
        with replacing(output / name) as fresh:
            shutil.copytree(source, fresh)
    shown += [("scores", address_in(str(file))) for file in run_folder.rglob("join/scores")]
    folders = {name.split("/")[0] for name in sources if "/" in name}
    return shown + [(kind, output / kind) for kind in ("results", "runs") if kind in folders]
