"""Train: one network on one training size with one seed; weights, history and identity go to a run's folder."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagscale import tracking
from tagscale.catalog.tables import Catalog
from tagscale.models.architecture import architecture_of
from tagscale.models.build import Architecture, parameter_count
from tagscale.params.load import Params, parse
from tagscale.partition.divide import Partition
from tagscale.runtime.disk import full_disk_explained
from tagscale.runtime.files import replacing
from tagscale.runtime.identity import RunIdentity
from tagscale.stages.cell import Cell, say, write_run
from tagscale.store.read import Store

if TYPE_CHECKING:  # Lightning takes seconds to import; the command line does without
    from tagscale.training.fit import Fitted


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

    An interrupted training resumes when it is started again, in the same MLflow run. What an MLflow server that is
    away misses is sent later (`tagscale.tracking.outbox`).

    Args:
        model: a name of `train.models`
        size: number of training tracks, or "all"
        inputs: the store: a folder, or an address of `Store.open`
        unfinished: folder of the training's state until it is complete; RUN.unfinished, beside the run, when not given
    Raises:
        TagscaleError: the training part is smaller than `size`; see also `tagscale.training.fit.fit`.
    """
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
    """Train a network, write the run's folder and log both to MLflow; `folder` holds the state until then."""
    from tagscale.training.distributed import World
    from tagscale.training.fit import Labelled, fit
    from tagscale.training.memory import keep_freed_memory
    from tagscale.training.recipe import deciding
    from tagscale.training.resume import Unfinished

    keep_freed_memory()
    begin = time.perf_counter()
    architecture = architecture_of(params, cell.model, cell.tags, cell.kinds)
    settings = {"model": architecture.capacity, "train": deciding(params.train, architecture.patch_seconds)}
    identity = cell.identity(settings)
    unfinished = Unfinished(folder, {"identity": identity.as_dict()} | settings)
    training, valid = (
        Labelled(tracks, cell.labels(tracks)) for tracks in (cell.training, cell.partition.tracks("valid"))
    )
    fit_cell = partial(
        fit, architecture, Store.open(store), training, valid, params.train, cell.seed, unfinished=unfinished
    )
    if not World.current().first:  # the first process logs and writes
        fit_cell()
        return
    logged = settings | {"train_tracks": len(cell.training)}
    with (
        unfinished.held(),
        tracking.start_run(params.tracking.experiment, identity, logged, run, folder) as mlflow_run,
        full_disk_explained(run, f"The state in {folder} is kept, and the training resumes from it."),
    ):
        mlflow_run.set_tags(cell.data_tags(params))
        curves = Curves(mlflow_run)
        fitted = fit_cell(report=curves.log)
        parameters = parameter_count(fitted.model)
        _write_network(run, fitted, architecture, identity, len(cell.training))
        mlflow_run.log_params({"parameters": parameters})
        curves.log({"best_step": fitted.best_step})
        mlflow_run.log_artifacts(run, "checkpoint")
    unfinished.remove()
    best = fitted.history["valid_loss"].min()
    say(identity, cell, parameters, begin, f"best step {fitted.best_step:,}, validation loss {best:.4f}")


class Curves:
    """Logs each number of a validation to an MLflow run once, though a resumed training reports earlier ones again."""

    def __init__(self, run: tracking.TrackedRun) -> None:
        self.run = run
        self.logged: dict[str, set[int]] = {}

    def log(self, numbers: Mapping[str, float | None], step: int = 0) -> None:
        name = next(iter(numbers))
        if name not in self.logged:
            self.logged[name] = self.run.steps_of(name)
        if step not in self.logged[name]:
            self.run.log_metrics(numbers, step)
            self.logged[name].add(step)


def _write_network(run: Path, fitted: "Fitted", architecture: Architecture, identity: RunIdentity, tracks: int) -> None:
    from tagscale.training import checkpoint

    histories = {"history.csv": fitted.history}
    histories |= {f"history-{name}.csv": history for name, history in fitted.earlier.items()}
    with replacing(run) as fresh:
        fresh.mkdir()
        checkpoint.write(fresh, fitted.model, architecture)
        for name, history in histories.items():
            history.to_csv(fresh / name, index=False, float_format="%.6f", lineterminator="\n")
        write_run(fresh, identity, tracks, parameter_count(fitted.model), fitted.seconds)
