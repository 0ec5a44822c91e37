"""Train the baseline: gradient-boosted trees on descriptors, on one training size with one seed."""

import time
from pathlib import Path

from tagscale import tracking
from tagscale.catalog.tables import Catalog
from tagscale.descriptors.table import read_descriptors
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.runtime.files import replacing
from tagscale.runtime.identity import RunFacts, run_output
from tagscale.stages.cell import Cell, join_folds, say, write_run


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
    class_weights = params.train.class_weights
    settings = {"baseline": params.baseline.model_dump() | {"class_weights": class_weights}}
    identity = cell.identity(settings)
    logged = settings | {"train_tracks": cell.train_tracks}
    unsent = unfinished or run.with_name(f"{run.name}.unfinished")
    with tracking.start_run(params.tracking.experiment, identity, logged, run, unsent) as tracked:
        tracked.set_tags(cell.data_tags(params))
        with replacing(run) as fresh:
            for name, part in cell.folds.items():
                begin, folder = time.perf_counter(), fresh / name
                folder.mkdir(parents=True)
                features, labels = read_descriptors(inputs, part.training), part.labels(part.training)
                trees = DescriptorTrees.fit(
                    features, labels, cell.tags, cell.kinds, params.baseline, cell.seed, class_weights
                )
                trees.save(folder)
                seconds = time.perf_counter() - begin
                write_run(folder, part.identity(settings), part, trees.parameters, seconds)
                say(identity, part, trees.parameters, begin, f"{features.shape[1]} descriptors", name)
            if cell.partition.folds:
                join_folds(fresh, cell.folds, identity)
        facts = run_output(run).facts(RunFacts)
        tracked.log_params({"parameters": facts["parameters"], "descriptors": features.shape[1]})
        tracked.log_artifacts(run, "checkpoint")
