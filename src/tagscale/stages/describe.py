"""Describe: timbre, rhythm and harmony descriptors of every track in the partition, for the baseline."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from threadpoolctl import threadpool_limits

from tagscale.audio.batch import cores
from tagscale.audio.descriptors import describe
from tagscale.audio.store import Store
from tagscale.data.partition import Partition
from tagscale.errors import TagscaleError
from tagscale.files import replacing
from tagscale.params import Params

TABLE = "descriptors.parquet"  # track_id, then a float32 column per descriptor
_store: Store  # of a worker process


def run(params: Params, *, partition: Path, store: Path | str, descriptors: Path, workers: int | None = None) -> None:
    """Write the folder `descriptors`, with one row per track of the partition, sorted by track_id.

    Args:
        workers: processes, all cores by default; the result is the same for any number.
    Raises:
        TagscaleError: a track of the partition is not in the store.
    """
    tracks = Partition.load(partition).table["track_id"].tolist()
    opened = Store.open(store)
    missing = [track for track in tracks if track not in opened]
    if missing:
        raise TagscaleError(
            f"{store}: {len(missing)} tracks of {partition} are not in it, the first is {missing[0]}. "
            "Run `tagscale preprocess`, `validate` and `partition` again."
        )
    columns = (TextColumn("describing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress, _pool(opened, workers or cores()) as pool:
        rows = list(progress.track(pool.map(_row, tracks, chunksize=4), total=len(tracks)))
    table = pd.DataFrame(rows).astype(np.float32)
    table.insert(0, "track_id", tracks)
    with replacing(descriptors) as fresh:
        fresh.mkdir()
        table.to_parquet(fresh / TABLE, index=False)


@contextmanager
def _pool(store: Store, workers: int) -> Iterator[ProcessPoolExecutor]:
    # spawn: a fork of a process with threads can hang
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start, initargs=(store,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _start(store: Store) -> None:
    global _store
    _store = store
    threadpool_limits(1)  # the processes share out the cores; threads of their own would only wait for each other


def _row(track: str) -> dict[str, float]:
    return describe(_store.read(track, 0, _store.samples(track)))
