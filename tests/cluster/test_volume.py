"""The folder that a pipeline's tasks share: its paths, versions that never change, errors for what is missing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stores import write_store
from tagscale.cluster.volume import Volume, address_in, hand_on
from tagscale.params.load import Params, laid_over, load, parse
from tagscale.runtime.errors import TagscaleError
from tagscale.store.read import Store

ROOT = Path(__file__).parents[2]


def settings(mount: Path, **dataset: str | None) -> Params:
    changes = {"kubernetes": {"mount": str(mount)}, "dataset": {"name": "songs", **dataset}}
    return parse(laid_over(load(ROOT / "params.yaml").model_dump(), changes))


def write_song(folder: Path, value: int) -> str:
    """Write a store with one song; returns its hash."""
    write_store(folder, [("song", np.full(100, value, np.int16), {"audio_sha256": str(value)})])
    return Store.open(folder).hash


def test_a_volume_that_is_not_mounted(tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match=r"nowhere: no such folder; expected the volume tagscale-data"):
        Volume.of(settings(tmp_path / "nowhere"))


def test_a_volume_that_cannot_be_written_to(tmp_path: Path) -> None:
    volume = Volume(tmp_path, "songs")
    volume.check_writable()
    assert list(volume.folder.iterdir()) == []
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(TagscaleError, match=r"taken: cannot be written to .* by user \d+, groups \[.*volume-shell"):
        Volume(tmp_path, "taken").check_writable()


def test_a_relative_root_lies_on_the_volume(tmp_path: Path) -> None:
    volume = Volume.of(settings(tmp_path))
    assert volume.root_of(settings(tmp_path)) == tmp_path / "songs" / "corpus"
    assert volume.root_of(settings(tmp_path, source="folder", root="mp3s")) == tmp_path / "mp3s"
    assert volume.root_of(settings(tmp_path, source="folder", root="/elsewhere")) == Path("/elsewhere")


def test_a_frozen_store_never_changes(tmp_path: Path) -> None:
    volume = Volume(tmp_path, "songs")
    first = write_song(volume.store, 1)
    frozen = volume.freeze(volume.store, first)
    shutil.rmtree(volume.store)  # stores are replaced, never written to again
    second = write_song(volume.store, 2)
    assert second != first
    assert Store.open(frozen).hash == first
    assert Store.open(frozen).read("song", 0, 3).tolist() == [1, 1, 1]
    assert volume.freeze(volume.store, second) != frozen
    assert volume.freeze(frozen, first) == frozen, "an existing version is not written again"


def test_freezing_takes_no_space(tmp_path: Path) -> None:
    volume = Volume(tmp_path, "songs")
    frozen = volume.freeze(volume.store, write_song(volume.store, 1))
    (shard,) = frozen.glob("*.bin")
    assert shard.stat().st_ino == (volume.store / shard.name).stat().st_ino


def test_addresses_are_handed_on(tmp_path: Path) -> None:
    hand_on(str(tmp_path / "artifact"), tmp_path, "0123")
    assert address_in(str(tmp_path / "artifact")) == tmp_path
    assert json.loads((tmp_path / "artifact").read_text()) == {"address": str(tmp_path), "hash": "0123"}


def test_an_address_of_a_missing_folder(tmp_path: Path) -> None:
    hand_on(str(tmp_path / "artifact"), tmp_path / "gone", "0123")
    with pytest.raises(
        TagscaleError, match=r"gone: an earlier task wrote it, and it is missing.*Submit the pipeline again"
    ):
        address_in(str(tmp_path / "artifact"))


def test_the_last_partition_is_kept_for_its_settings(tmp_path: Path) -> None:
    volume, params = Volume(tmp_path, "songs"), settings(tmp_path)
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "partition.json").write_text("{}")
    volume.keep_partition(tmp_path / "made", params)
    assert (volume.partition(params) / "partition.json").is_file()
    other = parse(laid_over(params.model_dump(), {"partition": {"seed": 2}}))
    assert volume.partition(other) != volume.partition(params)


def test_the_newest_descriptors(tmp_path: Path) -> None:
    volume = Volume(tmp_path, "songs")
    assert volume.newest("descriptors") is None
    volume.descriptors("a").mkdir(parents=True)
    assert volume.newest("descriptors") is None, "without a table nothing was computed"
    (volume.descriptors("a") / "descriptors.parquet").write_bytes(b"")
    assert volume.newest("descriptors") == volume.descriptors("a")


def test_a_data_version_that_does_not_exist(tmp_path: Path) -> None:
    volume = Volume(tmp_path, "songs")
    wanted = settings(tmp_path, version="v2@fedcba987654")
    volume.check_version(wanted)  # nothing was recorded: the validate stage will know
    volume.record_version("0123456789ab", {"version": "v1@0123456789ab"})
    volume.record_version("aaaaaaaaaaaa", {"version": None})
    volume.check_version(settings(tmp_path, version="v1@0123456789ab"))
    volume.check_version(settings(tmp_path))
    with pytest.raises(TagscaleError, match=r"v2@fedcba987654 does not exist .*v1@0123456789ab .*unpublished \(aaaa"):
        volume.check_version(wanted)
