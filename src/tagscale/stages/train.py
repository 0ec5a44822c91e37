"""Train: one model on one training size with one seed; its weights, its history and who it is go to a run's folder."""

import errno
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tagscale import tracking
from tagscale.catalog.tables import Catalog
from tagscale.models.build import Architecture, parameter_count
from tagscale.models.spec import BASELINE
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing
from tagscale.runtime.identity import RunIdentity
from tagscale.stages.architecture import architecture_of
from tagscale.stages.cell import Cell, say, write_run
from tagscale.stages.train_trees import train_trees
from tagscale.store.read import Store

if TYPE_CHECKING:
    from tagscale.training.fit import Fitted
    from tagscale.training.module import Settings


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
    """Train and write the run's folder: run.json, and model.json, weights.safetensors and history.csv, or the trees.

    A training that was ended, however, goes on when it is started again, in the same MLflow run. An MLflow server that
    goes away meanwhile is told later (`tagscale.tracking.outbox`).

    Args:
        model: a name of `train.models`, or descriptors (the baseline)
        size: number of training tracks, or "all"
        inputs: the store (a folder, or an address of `Store.open`); for the baseline the folder of descriptors
        unfinished: folder of the training's state until it is complete; RUN.unfinished, beside the run, when not given
    Raises:
        TagscaleError: the training part is smaller than `size`; see also `tagscale.training.fit.fit`.
    """
    if model != BASELINE:
        from tagscale.training.distributed import processes_wanted

        processes = processes_wanted(params.train.devices, params.train.batch)
        if processes > 1:
            from tagscale.stages.several import run_in

            paths = {"catalog": catalog, "partition": partition, "inputs": inputs, "run": run, "unfinished": unfinished}
            run_in(processes, params, {"model": model, "size": size, "seed": seed}, paths)
            return
    cell = Cell(Catalog.load(catalog), Partition.load(partition), model, size, seed)
    unfinished = unfinished or run.with_name(f"{run.name}.unfinished")
    if model == BASELINE:
        train_trees(params, cell, inputs, run, unfinished)
    else:
        _train_network(params, cell, inputs, run, unfinished)


def settings_of(params: Params) -> "Settings":
    """How to train, as params.yaml says."""
    from tagscale.training.module import Settings

    train = params.train
    return Settings(
        loss=train.loss,
        class_weights=train.class_weights,
        patches_per_track=train.patches_per_track,
        batch=train.batch,
        optimizer=train.optimizer,
        learning_rate=train.learning_rate,
        schedule=train.schedule,
        weight_decay=train.weight_decay,
        max_epochs=train.max_epochs,
        patience=train.patience,
        precision=train.precision,
        compile=train.compile,
    )


class Curves:
    """Each number of each epoch once in an MLflow run, whichever process had it."""

    def __init__(self, run: tracking.TrackedRun) -> None:
        self.run = run
        self.logged: dict[str, set[int]] = {}

    def __call__(self, numbers: Mapping[str, float | None], step: int = 0) -> None:
        name = next(iter(numbers))
        if name not in self.logged:
            self.logged[name] = self.run.steps_of(name)
        if step not in self.logged[name]:
            self.run.log_metrics(numbers, step)
            self.logged[name].add(step)


def _train_network(params: Params, cell: Cell, store: Path | str, run: Path, folder: Path) -> None:
    from tagscale.training.distributed import World  # Lightning takes seconds to import; the baseline needs none of it
    from tagscale.training.fit import Fitted, Labelled, fit
    from tagscale.training.memory import keep_freed_memory
    from tagscale.training.resume import Unfinished

    keep_freed_memory()
    settings = settings_of(params)
    architecture = architecture_of(params, cell.model, cell.tags, cell.kinds)
    told = {
        "model": architecture.capacity,
        "train": settings.deciding() | {"patch_seconds": architecture.patch_seconds},
    }
    identity = cell.identity(told)
    unfinished = Unfinished(folder, {"identity": identity.as_dict()} | told)
    valid = cell.partition.tracks("valid")

    def fitted(on_epoch: Callable[[dict[str, float], int], None] | None = None) -> Fitted:
        return fit(
            architecture,
            Store.open(store),
            Labelled(cell.training, cell.labels(cell.training)),
            Labelled(valid, cell.labels(valid)),
            settings,
            cell.seed,
            on_epoch=on_epoch,
            unfinished=unfinished,
            workers=params.train.workers,
        )

    if not World.current().first:  # it trains; the first one tells and writes
        fitted()
        return
    begin = time.perf_counter()
    told_too = told | {"train_tracks": len(cell.training)}
    with (
        unfinished.held(),
        tracking.start_run(params.tracking.experiment, identity, told_too, run, folder) as run_,
        full_disk_explained(run, folder),
    ):
        run_.set_tags(cell.data_tags(params))
        curves = Curves(run_)
        found = fitted(curves)
        parameters = parameter_count(found.model)
        _write_network(run, found, architecture, identity, len(cell.training))
        run_.log_params({"parameters": parameters})
        curves({"best_epoch": found.best_epoch})
        run_.log_artifacts(run, "checkpoint")
    unfinished.remove()
    best = found.history["valid_loss"].min()
    say(identity, cell, parameters, begin, f"best epoch {found.best_epoch}, validation loss {best:.4f}")


def _write_network(run: Path, found: "Fitted", architecture: Architecture, identity: RunIdentity, tracks: int) -> None:
    from tagscale.training import checkpoint

    histories = {"history.csv": found.history}
    histories |= {f"history-{name}.csv": history for name, history in found.earlier.items()}
    with replacing(run) as fresh:
        fresh.mkdir()
        checkpoint.write(fresh, found.model, architecture)
        for name, history in histories.items():
            history.to_csv(fresh / name, index=False, float_format="%.6f", lineterminator="\n")
        write_run(fresh, identity, tracks, parameter_count(found.model), found.seconds)


@contextmanager
def full_disk_explained(run: Path, folder: Path) -> Iterator[None]:
    """Say of a disk that is full when the run is written what to do, and that nothing is lost."""
    try:
        yield
    except Exception as error:  # safetensors has an error of its own, which carries no number
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in str(error)
        if not full:
            raise
        raise TagscaleError(
            f"The disk is full: {run} could not be written. Free space and start again: training goes on from the "
            f"state in {folder}, where there is one."
        ) from error
