"""Train the baseline: gradient-boosted trees on descriptors, on one training size with one seed."""

from pathlib import Path
from typing import Any

from tagscale.catalog.tables import Catalog
from tagscale.descriptors.table import read_descriptors
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.stages.cell import Cell, Outcome, train_at_once


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
    """Grow the trees, write the run's folder (run.json and the trees) and log both to MLflow.

    On a partition in folds, the trees of each fold have such a folder in the run's (`cell.join_folds`).

    Args:
        model: descriptors
        size: number of training tracks, or "all"
        inputs: folder that the describe stage wrote
        unfinished: where metrics wait while MLflow cannot be reached; RUN.unfinished, beside the run, when not given
    Raises:
        TagscaleError: the training part is smaller than `size`, or tracks have no descriptors.
    """
    from tagscale.descriptors.baseline import DescriptorTrees

    cell = Cell(Catalog.load(catalog), Partition.load(partition), model, size, seed)
    settings, class_weights = decided_by(params), params.train.class_weights

    def grow(part: Cell, folder: Path) -> Outcome:
        features, labels = read_descriptors(inputs, part.training), part.labels(part.training)
        trees = DescriptorTrees.fit(features, labels, cell.tags, cell.kinds, params.baseline, seed, class_weights)
        trees.save(folder)
        descriptors = features.shape[1]
        return Outcome(trees.parameters, f"{descriptors} descriptors", {"descriptors": descriptors})

    train_at_once(params, cell, settings, run, unfinished, grow)


def decided_by(params: Params) -> dict[str, Any]:
    """What decides a run beside its data and its place in the grid, for its identity."""
    return {"baseline": params.baseline.model_dump() | {"class_weights": params.train.class_weights}}
