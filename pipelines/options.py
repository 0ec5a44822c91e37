"""Options that several commands share: the settings, the cell of the grid, and what is submitted where."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.client.package import Package
from pipelines.definitions import PIPELINES, defined, one_cell, server_name
from pipelines.package import compile_package, read_package
from tagscale.params.load import Params, load
from tagscale.runtime.errors import TagscaleError

TAG, WATCH = "Pipeline tag", "Pipeline watch"
TASKS_ACCOUNT = "tagscale-pipeline"  # k8s/tasks/pipeline-account.yaml
WHICH = f"Which one: {', '.join(PIPELINES)}."
Name = Annotated[str, typer.Option("--pipeline", help=WHICH)]
Packed = Annotated[
    str | None,
    typer.Option("--pipeline", help=f"{WHICH} Default: that of --package; else submit takes study, schedule retrain."),
]

Again = Annotated[
    bool,
    typer.Option("--again", "--no-cache", help="Train, evaluate or tag, though the results are kept on the volume."),
]


@dataclass(frozen=True)
class Settings:
    """Where the settings are."""

    params: Annotated[Path, typer.Option(help="Settings.")] = Path("params.yaml")
    preset: Annotated[Path | None, typer.Option(help="File with the settings that differ, laid over --params.")] = None

    def load(self) -> Params:
        return load(self.params, self.preset)


@dataclass(frozen=True)
class Cell(Settings):
    """The settings, and which cell of the grid a pipeline of one training (training, retrain, watch) takes."""

    model: Annotated[
        str | None,
        typer.Option(help="training, retrain, watch: default the first of train.models; tag: default registry.name."),
    ] = None
    size: Annotated[str | None, typer.Option(help="Training tracks or `all`; default the largest size.")] = None
    seed: Annotated[int | None, typer.Option(help="Default: the first of train.seeds.")] = None

    def of(self, pipeline: str) -> Params:
        """The settings for this pipeline. Raises TagscaleError for a choice that it does not have."""
        cell = (None if defined(pipeline).tags else self.model, self.size, self.seed)
        if defined(pipeline).one_cell:
            return one_cell(self.load(), *cell)
        if cell != (None, None, None):
            raise TagscaleError(
                f"--pipeline {pipeline}: --model, --size and --seed are for training and retrain; the grid of a study "
                "stands in params.yaml (train)."
            )
        return self.load()


@dataclass(frozen=True)
class Run(Cell):
    """The settings, and what one run of a pipeline gets beside them."""

    catalogue: Annotated[
        str | None,
        typer.Option(help="tag: a folder, table or list on the volume, or an address.", rich_help_panel=TAG),
    ] = None
    version: Annotated[
        str | None, typer.Option(help="tag: number or alias; default the champion.", rich_help_panel=TAG)
    ] = None
    scores: Annotated[
        str | None, typer.Option(help="tag: folder on the volume for the rows; default scores.", rich_help_panel=TAG)
    ] = None
    rows: Annotated[
        str | None, typer.Option(help="watch: rows on the volume, a file or a folder.", rich_help_panel=WATCH)
    ] = None
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="tag: with the model's embeddings.", rich_help_panel=TAG)
    ] = False
    again: Again = False

    def arguments(self, pipeline: str) -> dict[str, Any]:
        """Arguments of the run; those that are not given are left to the pipeline's defaults.

        Raises:
            TagscaleError: options of another pipeline, or no catalogue to tag.
        """
        given = {name: getattr(self, name) for name in ("catalogue", "version", "scores", "embeddings")}
        given = {name: value for name, value in given.items() if value}
        watches, rows = defined(pipeline).watches, {"rows": self.rows} if self.rows else {}
        if bool(rows) != watches:
            problem = "give --rows, what was tagged." if watches else "--rows is for the pipeline watch."
            raise TagscaleError(f"--pipeline {pipeline}: {problem}")
        if not defined(pipeline).tags:
            if given:
                names = ", ".join(f"--{name}" for name in given)
                raise TagscaleError(f"--pipeline {pipeline}: {names} are for the pipeline tag.")
        elif self.catalogue is None:
            raise TagscaleError("--pipeline tag: give --catalogue, what it shall tag.")
        elif self.model is not None:
            given["model"] = self.model
        return given | rows | ({"again": True} if self.again else {})


@dataclass(frozen=True)
class Submission(Run):
    """What is submitted, and where on the server it goes."""

    package: Annotated[
        Path | None, typer.Option(help="Submit this compiled pipeline instead of compiling one now.")
    ] = None
    experiment: Annotated[
        str | None, typer.Option(help="Created where it is missing; default: tracking.experiment.")
    ] = None
    existing_experiment: Annotated[
        bool, typer.Option("--existing-experiment", help="A missing experiment is an error.")
    ] = False
    service_account: Annotated[str, typer.Option(help="Kubernetes service account of the tasks.")] = TASKS_ACCOUNT

    def pack(self, pipeline: str | None, default: str) -> tuple[str, Package]:
        """The pipeline and its name, without the arguments of a run.

        Args:
            pipeline: its name; None: that of --package or, without one, `default`
        Raises:
            TagscaleError: --package holds another pipeline, or comes with settings, which are fixed in it.
        """
        if self.package is None:
            name = pipeline or default
            return name, compile_package(name, self.of(name))
        package = read_package(self.package)
        name = package.name.removeprefix(server_name(""))
        if pipeline not in (None, name):
            raise TagscaleError(f"{self.package}: found the pipeline {name}, expected that of --pipeline, {pipeline}.")
        model = None if defined(name).tags else self.model
        fixed = {"preset": self.preset, "model": model, "size": self.size, "seed": self.seed}
        if given := [f"--{option}" for option, value in fixed.items() if value is not None]:
            raise TagscaleError(
                f"{self.package}: {', '.join(given)} cannot change a compiled pipeline; leave --package out, or "
                "compile it again."
            )
        return name, package
