"""Train: one model on one training size with one seed; its weights, its history and who it is go to a run's folder."""

import errno
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import Console

from tagscale import tracking
from tagscale.audio.store import Store
from tagscale.data.catalog import Catalog
from tagscale.data.partition import Partition
from tagscale.errors import TagscaleError
from tagscale.files import replacing, write_json
from tagscale.identity import RunIdentity, hash_of
from tagscale.models.build import Architecture, parameter_count
from tagscale.params import Params
from tagscale.stages.architecture import architecture_of

if TYPE_CHECKING:
    from tagscale.training.fit import Fitted
    from tagscale.training.module import Settings

BASELINE = "descriptors"


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
        _train_trees(params, cell, inputs, run, unfinished)
    else:
        _train_network(params, cell, inputs, run, unfinished)


class Cell:
    """The data of one cell of the study's grid: a model, a training size and a seed."""

    def __init__(self, catalog: Catalog, partition: Partition, model: str, size: int | str, seed: int) -> None:
        self.catalog, self.partition = catalog, partition
        self.model, self.size, self.seed = model, size, seed
        self.tags = partition.tags
        self.kinds = catalog.tags.loc[self.tags, "kind"].tolist()
        self.training = partition.training_subset(size)

    def labels(self, tracks: list[str]) -> np.ndarray:
        """(tracks, tags) float32, NaN = not annotated."""
        return self.catalog.labels.loc[tracks, self.tags].to_numpy(np.float32)

    def data_tags(self, params: Params) -> dict[str, str]:
        """What the data is called, for people; what it is, the identity's hashes say."""
        version = params.dataset.version or tracking.UNPUBLISHED
        return {tracking.DATA_VERSION: version, tracking.SPLIT: self.partition.split}

    def identity(self, settings: Mapping[str, Any]) -> RunIdentity:
        return RunIdentity(
            model=self.model,
            size=str(self.size),
            seed=self.seed,
            dataset=self.catalog.name,
            dataset_hash=self.partition.data_hash,
            partition_hash=self.partition.hash,
            settings_hash=hash_of(settings),
        )


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
    _say(identity, cell, parameters, begin, f"best epoch {found.best_epoch}, validation loss {best:.4f}")


def _write_network(run: Path, found: "Fitted", architecture: Architecture, identity: RunIdentity, tracks: int) -> None:
    from tagscale.training import checkpoint

    histories = {"history.csv": found.history}
    histories |= {f"history-{name}.csv": history for name, history in found.earlier.items()}
    with replacing(run) as fresh:
        fresh.mkdir()
        checkpoint.write(fresh, found.model, architecture)
        for name, history in histories.items():
            history.to_csv(fresh / name, index=False, float_format="%.6f", lineterminator="\n")
        _write_run(fresh, identity, tracks, parameter_count(found.model), found.seconds)


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


def _train_trees(params: Params, cell: Cell, descriptors: Path | str, run: Path, folder: Path) -> None:
    from tagscale.models.baselines.descriptors import DescriptorTrees, Growth

    baseline = params.baseline
    growth = Growth(baseline.trees, baseline.leaves, baseline.learning_rate, cell.seed, params.train.class_weights)
    told = {"baseline": baseline.model_dump() | {"class_weights": growth.class_weights}}
    identity = cell.identity(told)
    begin = time.perf_counter()
    told_too = told | {"train_tracks": len(cell.training)}
    with tracking.start_run(params.tracking.experiment, identity, told_too, run, folder) as run_:
        run_.set_tags(cell.data_tags(params))
        features = read_descriptors(descriptors, cell.training)
        trees = DescriptorTrees.fit(features, cell.labels(cell.training), cell.tags, cell.kinds, growth)
        with replacing(run) as fresh:
            fresh.mkdir()
            trees.save(fresh)
            _write_run(fresh, identity, len(cell.training), trees.parameters, time.perf_counter() - begin)
        run_.log_params({"parameters": trees.parameters, "descriptors": features.shape[1]})
        run_.log_artifacts(run, "checkpoint")
    _say(identity, cell, trees.parameters, begin, f"{features.shape[1]} descriptors")


def read_descriptors(folder: Path | str, tracks: list[str]) -> pd.DataFrame:
    """Descriptors of the tracks in the given order, one column each. Raises TagscaleError when some are missing."""
    file = Path(folder) / "descriptors.parquet"
    if not file.is_file():
        raise TagscaleError(f"{file}: no such file. Run `tagscale describe` first.")
    table = pd.read_parquet(file).set_index("track_id")
    missing = [track for track in tracks if track not in table.index]
    if missing:
        raise TagscaleError(
            f"{file}: no descriptors of {len(missing)} of {len(tracks)} tracks, the first is {missing[0]!r}. "
            "Run `tagscale describe` again."
        )
    return table.loc[tracks]


def _write_run(folder: Path, identity: RunIdentity, tracks: int, parameters: int, seconds: float) -> None:
    facts = {"identity": identity.as_dict(), "train_tracks": tracks, "parameters": parameters}
    write_json(folder / "run.json", facts | {"seconds": round(seconds, 1)})


def _say(identity: RunIdentity, cell: Cell, parameters: int, begin: float, outcome: str) -> None:
    Console().print(
        f"{identity.name}: {len(cell.training)} tracks, {parameters:,} parameters, {outcome}, "
        f"{time.perf_counter() - begin:.0f} s",
        highlight=False,
        soft_wrap=True,
    )
