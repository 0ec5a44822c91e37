"""Train: one network on one training size with one seed; weights, history and identity go to a run's folder."""

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tagscale import tracking
from tagscale.catalog.tables import Catalog
from tagscale.models.architecture import architecture_of
from tagscale.models.build import Architecture, parameter_count
from tagscale.models.spec import NETWORKS, base_model
from tagscale.params.blocks import TrainParams
from tagscale.params.load import Params, parse, training_settings
from tagscale.partition.divide import Partition
from tagscale.runtime.absent import write_absent
from tagscale.runtime.disk import full_disk_explained
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing
from tagscale.runtime.identity import RunFacts, RunIdentity, run_name, run_output
from tagscale.runtime.memory import keep_freed_memory
from tagscale.stages.cell import HISTORY, Cell, is_complete, join_folds, say, write_run
from tagscale.store.read import Store
from tagscale.tracking.versions import SCHEME, download_version

if TYPE_CHECKING:  # Lightning takes seconds to import; the command line does without
    from tagscale.training.fit import Fitted, Report
    from tagscale.training.resume import Unfinished
    from tagscale.training.start import Start


def run(
    params: Params,
    *,
    model: str,
    size: int | str,
    seed: int,
    catalog: Path,
    partition: Path,
    inputs: Path | str,
    run: Path,
    unfinished: Path | None = None,
) -> None:
    """Train and write the run's folder: run.json, model.json, weights.safetensors and history.csv.

    On a partition in folds, one model a fold is trained, one after another. Each has such a folder in the run's, which
    then has a run.json and a history.csv of them all (`cell.join_folds`).

    Where the weights that `finetune` starts from are missing, the run's folder says so.

    An interrupted training resumes when it is started again, in the same MLflow run. What an MLflow server that is
    away misses is sent later (`tagscale.tracking.outbox`).

    Args:
        model: a name of `train.models`
        size: number of training tracks, or "all"
        inputs: the store: a folder, or an address of `Store.open`
        unfinished: folder of the training's state until it is complete; RUN.unfinished, beside the run, when not given
    Raises:
        TagscaleError: the training part is smaller than `size`, `train.start_from` names nothing that fits; see also
            `tagscale.training.fit.fit`.
    """
    name = run_name(model, size, seed)
    if reason := absence(params, model, name):
        write_absent(run, name, reason)
        return
    unfinished = unfinished or run.with_name(f"{run.name}.unfinished")
    from tagscale.training.distributed import launch, processes_wanted

    processes = processes_wanted(params.train.devices, params.train.batch)
    if processes > 1:
        arguments = {"model": model, "size": size, "seed": seed, "catalog": catalog, "partition": partition}
        arguments |= {"inputs": inputs, "run": run, "unfinished": unfinished}
        launch(processes, train_share, params.model_dump(mode="json"), arguments)
        return
    cell = Cell(Catalog.load(catalog), Partition.load(partition), model, size, seed)
    train_network(params, cell, inputs, run, unfinished)


def train_share(params: dict[str, Any], arguments: Mapping[str, Any]) -> None:
    """`run` as one of several processes, which get the settings as JSON; the environment says which process it is."""
    run(parse(params), **arguments)


def train_network(params: Params, cell: Cell, store: Path | str, run: Path, folder: Path) -> None:
    """Train a network, or one a fold; write the run's folder and log to MLflow; `folder` holds the state until then."""
    from tagscale.training.distributed import World
    from tagscale.training.resume import Unfinished

    keep_freed_memory()
    architecture = architecture_of(params, cell.model, cell.tags, cell.kinds)
    start, recipe = start_of(params, cell.model, architecture), training_settings(params, cell.model)
    settings = decided_by(params, cell.model, architecture, start)
    identity = cell.identity(settings)
    about = {"identity": identity.as_dict()} | settings
    trainings = {
        name: Training(
            name=name,
            cell=part,
            identity=part.identity(settings),
            architecture=architecture,
            store=Store.open(store),
            settings=recipe,
            start=start,
            unfinished=Unfinished(folder / name, about),
            target=folder / name if name else run,
        )
        for name, part in cell.folds.items()
    }
    if not World.current().first:  # the first process logs and writes
        for training in trainings.values():
            training.fit()
        return
    unfinished, logged = Unfinished(folder, about), cell.logged(settings)
    if params.train.start_from:
        logged |= {"start_from": params.train.start_from}
    with (
        unfinished.held(),
        tracking.start_run(params.tracking.experiment, identity, logged, run, folder, cell.data) as mlflow_run,
        full_disk_explained(run, f"The state in {folder} is kept, and the training resumes from it."),
    ):
        mlflow_run.set_tags(cell.data_tags(params))
        curves = Curves(mlflow_run)
        for training in trainings.values():
            training.run(curves)
        if cell.partition.folds:
            _join(run, {name: training.target for name, training in trainings.items()}, identity)
            curves.log_history(run)
        facts = run_output(run).facts(RunFacts)
        mlflow_run.log_params({"parameters": facts["parameters"]})
        mlflow_run.log_metrics({"train_seconds": facts["seconds"]})
        mlflow_run.log_model(identity.name)
    unfinished.remove()


def decided_by(params: Params, model: str, architecture: Architecture, start: "Start | None" = None) -> dict[str, Any]:
    """What decides a run beside its data and its place in the grid: capacity, recipe and first weights."""
    from tagscale.training.recipe import deciding

    recipe = training_settings(params, model)
    settings = {"model": architecture.capacity, "train": deciding(recipe, architecture.patch_seconds)}
    return settings | ({"start": start.sha256} if start else {})


def absence(params: Params, model: str, run: str) -> str | None:
    """Why a run is left out of the study; None: it can be trained.

    The stage does not depend on the encoders: where they come later, no front-end has to be trained again.
    """
    if not NETWORKS[base_model(model)].finetunes or params.train.start_from is not None:
        return None
    from tagscale.training.encoders import absence_of

    return absence_of(getattr(params.model, model).encoder, f"dvc repro --force train@{run}")


def start_of(params: Params, model: str, architecture: Architecture) -> "Start | None":
    """The weights that a training starts from; None: random ones.

    Raises:
        TagscaleError: `train.start_from` names no network of this architecture, or nothing that can be read.
    """
    from tagscale.training.start import KEY, start_from_checkpoint, start_from_encoder

    name = params.train.start_from
    if name is None:
        return start_from_encoder(architecture.capacity["encoder"]) if NETWORKS[base_model(model)].finetunes else None
    if not name.startswith(SCHEME):
        return start_from_checkpoint(Path(name), architecture, name)
    with tempfile.TemporaryDirectory() as temporary:
        try:
            folder = download_version(name, Path(temporary))
        except TagscaleError as error:
            raise TagscaleError(f"{KEY}: {error}") from error
        return start_from_checkpoint(folder, architecture, name, "tagscale register")


@dataclass(frozen=True)
class Training:
    """The training of one fold; of the whole cell, under the name "", where the partition has no folds.

    target: the folder that it writes: the run's, or the fold's beside the states, where it replaces its own states.
        There it stays until the run is complete, so that a fold is trained once whatever interrupts the others.
    """

    name: str
    cell: Cell
    identity: RunIdentity
    architecture: Architecture
    store: Store
    settings: TrainParams
    start: "Start | None"
    unfinished: "Unfinished"
    target: Path

    def fit(self, report: "Report | None" = None) -> "Fitted | None":
        """Train the network; None where the fold is complete, in all processes of the training alike."""
        from tagscale.training.distributed import World, agreed
        from tagscale.training.failures import lost_process_explained
        from tagscale.training.fit import Labelled, fit

        world = World.current()
        with lost_process_explained(world):
            world.connect()
            if agreed(bool(self.name) and is_complete(self.target)):
                return None
        training, valid = (
            Labelled(tracks, self.cell.labels(tracks))
            for tracks in (self.cell.training, self.cell.partition.tracks("valid"))
        )
        fitting = self.architecture, self.store, training, valid, self.settings, self.cell.seed
        return fit(*fitting, report=report, unfinished=self.unfinished, start=self.start)

    def run(self, curves: "Curves") -> None:
        """Train the network, write its folder and log the curves."""
        begin, prefix = time.perf_counter(), f"{self.name}/" if self.name else ""
        fitted = self.fit(lambda numbers, step: curves.log(numbers, step, prefix))
        if fitted is None:
            curves.log_history(self.target, prefix)
            print(f"{self.identity.name} {self.name}: trained before the interruption", flush=True)
            return
        parameters = parameter_count(fitted.model)
        _write_network(self.target, fitted, self.architecture, self.identity, self.cell)
        curves.log({"kept_step": fitted.kept_step}, prefix=prefix)
        loss = fitted.history.set_index("step")["valid_loss"][fitted.kept_step]
        outcome = f"weights of step {fitted.kept_step:,}, validation loss {loss:.4f}"
        say(self.identity, self.cell, parameters, begin, outcome, self.name)


class Curves:
    """Logs each number of a training to an MLflow run once, though a resumed training reports earlier ones again; and
    with them the load of the machine."""

    def __init__(self, run: tracking.TrackedRun) -> None:
        self.run, self.machine = run, tracking.Machine()
        self.logged: dict[str, set[int]] = {}

    def log(self, numbers: Mapping[str, float | None], step: int = 0, prefix: str = "") -> None:
        named = {tracking.metric_name(name, prefix): number for name, number in numbers.items()}
        if fresh := {name: number for name, number in named.items() if step not in self._steps(name)}:
            fresh |= self.machine.sample_if_due()
            self.run.log_metrics(fresh, step)
        for name in fresh:
            self._steps(name).add(step)

    def _steps(self, metric: str) -> set[int]:
        if metric not in self.logged:
            self.logged[metric] = self.run.steps_of(metric)
        return self.logged[metric]

    def log_history(self, folder: Path, prefix: str = "") -> None:
        """Log the rows of a folder's history.csv."""
        for row in pd.read_csv(folder / HISTORY).to_dict("records"):
            self.log({str(key): value for key, value in row.items() if key != "step"}, int(row["step"]), prefix)


def _join(run: Path, folds: Mapping[str, Path], identity: RunIdentity) -> None:
    """Write the run's folder from the complete folders of its folds."""
    with replacing(run) as fresh:
        fresh.mkdir()
        for name, folder in folds.items():
            shutil.copytree(folder, fresh / name)
        join_folds(fresh, folds, identity)


def _write_network(run: Path, fitted: "Fitted", architecture: Architecture, identity: RunIdentity, cell: Cell) -> None:
    from tagscale.training import checkpoint

    histories = {HISTORY: fitted.history}
    histories |= {f"history-{name}.csv": history for name, history in fitted.earlier.items()}
    with replacing(run) as fresh:
        checkpoint.write(fresh, fitted.model, architecture)
        for name, history in histories.items():
            history.to_csv(fresh / name, index=False, float_format="%.6f", lineterminator="\n")
        write_run(fresh, identity, cell, parameter_count(fitted.model), fitted.seconds, fitted.kept_step)
