"""Train: one model on one training size with one seed; its weights, its history and who it is go to a run's folder."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
from tagscale.params import ModelParams, Params

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
) -> None:
    """Train and write the run's folder: run.json, and model.json, weights.safetensors and history.csv, or the trees.

    Args:
        model: waveform, spectrogram or descriptors (the baseline)
        size: number of training tracks, or "all"
        inputs: the store (a folder, or an address of `Store.open`); for the baseline the folder of descriptors
    Raises:
        TagscaleError: the training part is smaller than `size`; see also `tagscale.training.fit.fit`.
    """
    cell = Cell(Catalog.load(catalog), Partition.load(partition), model, size, seed)
    if model == BASELINE:
        _train_trees(params, cell, inputs, run)
    else:
        _train_front_end(params, cell, inputs, run)


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


def capacity_of(model: ModelParams, name: str) -> dict[str, float | int]:
    """The capacity of a front-end and the back-end, as `Architecture` takes it."""
    front_end: dict[str, float | int] = (
        {"layers": model.waveform.layers, "width": model.waveform.width}
        if name == "waveform"
        else {"width": model.spectrogram.width}
    )
    backend = model.backend
    return front_end | {"filters": backend.filters, "units": backend.units, "dropout": backend.dropout}


def _train_front_end(params: Params, cell: Cell, store: Path | str, run: Path) -> None:
    from tagscale.training import checkpoint  # Lightning takes seconds to import; the baseline needs none of it
    from tagscale.training.fit import Labelled, fit
    from tagscale.training.memory import keep_freed_memory
    from tagscale.training.module import Settings

    keep_freed_memory()
    train = params.train
    settings = Settings(
        loss=train.loss,
        patches_per_track=train.patches_per_track,
        batch=train.batch,
        learning_rate=train.learning_rate,
        weight_decay=train.weight_decay,
        max_epochs=train.max_epochs,
        patience=train.patience,
        precision=train.precision,
    )
    architecture = Architecture(
        model=cell.model,
        capacity=capacity_of(params.model, cell.model),
        tags=tuple(cell.tags),
        kinds=tuple(cell.kinds),
        patch_seconds=train.patch_seconds,
    )
    told = {
        "model": architecture.capacity,
        "train": asdict(settings) | {"patch_seconds": architecture.patch_seconds},
    }
    identity = cell.identity(told)
    valid = cell.partition.tracks("valid")
    begin = time.perf_counter()
    with tracking.start_run(params.tracking.experiment, identity, told | {"train_tracks": len(cell.training)}) as run_:
        run_.set_tags(cell.data_tags(params))
        fitted = fit(
            architecture,
            Store.open(store),
            Labelled(cell.training, cell.labels(cell.training)),
            Labelled(valid, cell.labels(valid)),
            settings,
            cell.seed,
            on_epoch=run_.log_metrics,
        )
        parameters = parameter_count(fitted.model)
        with replacing(run) as fresh:
            fresh.mkdir()
            checkpoint.write(fresh, fitted.model, architecture)
            fitted.history.to_csv(fresh / "history.csv", index=False, float_format="%.6f", lineterminator="\n")
            _write_run(fresh, identity, len(cell.training), parameters, time.perf_counter() - begin)
        run_.log_params({"parameters": parameters})
        run_.log_metrics({"best_epoch": fitted.best_epoch})
        run_.log_artifacts(run, "checkpoint")
    best = fitted.history["valid_loss"].min()
    _say(identity, cell, parameters, begin, f"best epoch {fitted.best_epoch}, validation loss {best:.4f}")


def _train_trees(params: Params, cell: Cell, descriptors: Path | str, run: Path) -> None:
    from tagscale.models.baselines.descriptors import DescriptorTrees, Growth

    baseline = params.baseline
    growth = Growth(baseline.trees, baseline.leaves, baseline.learning_rate, cell.seed)
    told = {"baseline": {"trees": growth.trees, "leaves": growth.leaves, "learning_rate": growth.learning_rate}}
    identity = cell.identity(told)
    begin = time.perf_counter()
    with tracking.start_run(params.tracking.experiment, identity, told | {"train_tracks": len(cell.training)}) as run_:
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
