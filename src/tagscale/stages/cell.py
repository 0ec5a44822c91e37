"""A cell of the study's grid, as a training sees it: its data, its identity, the files of its run."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from tagscale import tracking
from tagscale.catalog.tables import Catalog
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.runtime.files import seal
from tagscale.runtime.identity import RunIdentity, hash_of


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
        """The names of the data version and of its split, for people; the identity holds their hashes."""
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


def write_run(folder: Path, identity: RunIdentity, tracks: int, parameters: int, seconds: float) -> None:
    """Write run.json: identity, number of training tracks, number of parameters, seconds of training."""
    content = {"identity": identity.as_dict(), "train_tracks": tracks, "parameters": parameters}
    seal(folder, "run.json", content | {"seconds": round(seconds, 1)})


def say(identity: RunIdentity, cell: Cell, parameters: int, begin: float, outcome: str) -> None:
    """Print a line about a finished training that began at `begin` (time.perf_counter)."""
    Console().print(
        f"{identity.name}: {len(cell.training)} tracks, {parameters:,} parameters, {outcome}, "
        f"{time.perf_counter() - begin:.0f} s",
        highlight=False,
        soft_wrap=True,
    )
