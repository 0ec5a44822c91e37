"""The describe stage: one finite row per track, whatever the number of workers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tagscale.audio.descriptors import describe as describe_samples
from tagscale.audio.writer import StoreWriter
from tagscale.data.partition import Partition
from tagscale.errors import TagscaleError
from tagscale.params import Params, load
from tagscale.stages import describe

SAMPLES = {
    "a": np.random.default_rng(1).integers(-5000, 5000, 48_000).astype(np.int16),
    "b": np.zeros(32_000, np.int16),
    "c": (9000 * np.sin(np.arange(1600) / 5)).astype(np.int16),
}


@pytest.fixture(scope="module")
def params() -> Params:
    return load(Path(__file__).parents[2] / "params.yaml")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with StoreWriter(tmp_path / "store", shard_megabytes=1) as writer:
        for track, samples in SAMPLES.items():
            writer.add(track, samples, {})
    return tmp_path / "store"


def partition_of(tracks: list[str], folder: Path) -> Path:
    table = pd.DataFrame({"track_id": tracks, "artist": tracks, "part": "train", "rank": range(len(tracks))})
    Partition(table, ["jazz"]).save(folder)
    return folder


def test_a_row_per_track_of_the_partition(params: Params, store: Path, tmp_path: Path) -> None:
    partition = partition_of(["a", "b", "c"], tmp_path / "partition")
    tables = []
    for workers in (1, 2):
        describe.run(params, partition=partition, store=store, descriptors=tmp_path / "descriptors", workers=workers)
        tables.append((tmp_path / "descriptors" / "descriptors.parquet").read_bytes())
    assert tables[0] == tables[1]
    table = pd.read_parquet(tmp_path / "descriptors" / "descriptors.parquet").set_index("track_id")
    assert table.index.tolist() == ["a", "b", "c"]
    assert np.isfinite(table.to_numpy()).all()
    assert set(table.dtypes) == {np.dtype(np.float32)}
    np.testing.assert_allclose(table.loc["a"], list(describe_samples(SAMPLES["a"]).values()), rtol=1e-4, atol=1e-6)


def test_a_track_that_the_store_lacks(params: Params, store: Path, tmp_path: Path) -> None:
    partition = partition_of(["a", "z"], tmp_path / "partition")
    with pytest.raises(TagscaleError, match=r"1 tracks of .* are not in it, the first is z"):
        describe.run(params, partition=partition, store=store, descriptors=tmp_path / "descriptors")
    assert not (tmp_path / "descriptors").exists()
