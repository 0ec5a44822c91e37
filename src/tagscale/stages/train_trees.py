"""Train the baseline: gradient-boosted trees on descriptors."""

import time
from pathlib import Path

import pandas as pd

from tagscale import tracking
from tagscale.params.load import Params
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing
from tagscale.stages.cell import Cell, say, write_run


def train_trees(params: Params, cell: Cell, descriptors: Path | str, run: Path, folder: Path) -> None:
    """Grow the trees, write the run's folder and log both to MLflow.

    Args:
        descriptors: folder that the describe stage wrote
        folder: where metrics wait while MLflow cannot be reached
    """
    from tagscale.descriptors.baseline import DescriptorTrees

    class_weights = params.train.class_weights
    settings = {"baseline": params.baseline.model_dump() | {"class_weights": class_weights}}
    identity = cell.identity(settings)
    begin = time.perf_counter()
    logged = settings | {"train_tracks": len(cell.training)}
    with tracking.start_run(params.tracking.experiment, identity, logged, run, folder) as tracked:
        tracked.set_tags(cell.data_tags(params))
        features = read_descriptors(descriptors, cell.training)
        labels = cell.labels(cell.training)
        trees = DescriptorTrees.fit(features, labels, cell.tags, cell.kinds, params.baseline, cell.seed, class_weights)
        with replacing(run) as fresh:
            fresh.mkdir()
            trees.save(fresh)
            write_run(fresh, identity, len(cell.training), trees.parameters, time.perf_counter() - begin)
        tracked.log_params({"parameters": trees.parameters, "descriptors": features.shape[1]})
        tracked.log_artifacts(run, "checkpoint")
    say(identity, cell, trees.parameters, begin, f"{features.shape[1]} descriptors")


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
