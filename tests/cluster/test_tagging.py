"""A catalogue tagged in shards: every task of the pipeline `tag` on a real registry, and what it refuses."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from registry.tiny import empty_store, song, tiny_tagger
from tagscale import SAMPLE_RATE
from tagscale.cluster import tagging
from tagscale.cluster.tagging import SUCCESS, Plan
from tagscale.params.load import Params, laid_over, parse, read_yaml
from tagscale.registry.package import register
from tagscale.registry.promote import promote
from tagscale.registry.versions import Registry
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json
from tagscale.runtime.identity import RunIdentity
from tagscale.serving.rows import read_rows
from tagscale.tracking import find_run

ROOT = Path(__file__).parents[2]
MODEL = "tagscale-tagger"
SONGS = 5


def settings(place: Path, shards: int = 2) -> Params:
    block = {"kubernetes": {"mount": str(place / "volume"), "shards": shards}}
    return parse(laid_over(read_yaml(ROOT / "params.yaml"), block))


@pytest.fixture(scope="module")
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a registry whose champion is version 1."""
    folder = empty_store(request.config, tmp_path_factory.mktemp("registry"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        registry = Registry.open_or_create(MODEL, "for tests")
        identity = RunIdentity("spectrogram", "all", 0, "songs", "d" * 12, "p" * 12, "s" * 12)
        with find_run("tests", identity) as run:
            register(registry, run, tiny_tagger(), identity.name, {}, "")
        promote(MODEL, 1, "by hand", force=True)
    return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture
def place(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a volume that has five songs and a broken one."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    songs = tmp_path / "volume" / "songs"
    songs.mkdir(parents=True)
    for number in range(SONGS):
        soundfile.write(songs / f"{number}.wav", song(number), SAMPLE_RATE)
    (songs / "broken.wav").write_bytes(b"RIFF")
    return tmp_path


def planned(place: Path, shards: int = 2, **different: Any) -> Plan:
    chosen = {"catalogue": "songs", "model": "", "version": "champion", "scores": "scores"}
    chosen |= {"embeddings": False, "again": False}
    return tagging.plan(settings(place, shards), **chosen | different)


@pytest.mark.slow
def test_shards_are_one_data_set_of_one_version(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(place)
    assert (plan["version"], plan["scores"]) == ("1", str(place / "volume" / "scores" / f"{MODEL}-1"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # the shards need no registry
    files = [tagging.tag(plan, number) for number in (1, 2)]
    summary = tagging.join(plan)
    folder = Path(plan["scores"])
    assert sorted(file.name for file in folder.iterdir()) == [SUCCESS, *(file.name for file in files)]
    assert (summary["files"], summary["tagged"], summary["errors"]) == (SONGS + 1, SONGS, 1)
    ((reason, count),) = summary["reasons"].items()
    assert count == 1
    assert reason
    assert summary == read_json(folder / SUCCESS)

    rows = read_rows(folder)
    songs = place / "volume" / "songs"
    assert sorted(rows.files["path"]) == sorted(map(str, songs.iterdir()))
    assert set(rows.files["version"]) == {"1"}
    assert np.isfinite(rows.scores[rows.tagged].to_numpy()).all()

    written = [file.stat().st_mtime_ns for file in files]
    soundfile.write(songs / "more.wav", song(9), SAMPLE_RATE)
    for number in (1, 2):
        tagging.tag(plan, number)
    assert [file.stat().st_mtime_ns for file in files] != written
    assert sum(file.stat().st_mtime_ns != before for file, before in zip(files, written, strict=True)) == 1, "one more"
    assert tagging.join(plan)["tagged"] == SONGS + 1


def test_another_number_of_shards_is_refused(place: Path) -> None:
    plan = planned(place)
    tagging.tag(plan, 1)
    with pytest.raises(TagscaleError, match=r"part-1-of-2\.parquet is of another number of shards than 3\."):
        planned(place, shards=3)


def test_shards_that_are_no_data_set_are_named(place: Path) -> None:
    plan = planned(place)
    files = [tagging.tag(plan, number) for number in (1, 2)]
    first, second = sorted(files, key=lambda file: -len(read_rows(file).files))  # names alone decide who gets which
    shutil.copy(first, second)
    with pytest.raises(TagscaleError, match=rf"{second.name}: it has files of another shard\. Delete it"):
        tagging.join(plan)
    with pytest.raises(TagscaleError, match="it has rows of other versions than 1"):
        tagging.join(plan | {"sha256": "0" * 64})
    with pytest.raises(TagscaleError, match="its files are not those that the first task found"):
        tagging.tag(plan | {"sha256": "0" * 64}, 1)


def test_a_catalogue_without_a_single_song_that_can_be_heard(place: Path) -> None:
    for file in (place / "volume" / "songs").glob("?.wav"):
        file.unlink()
    plan = planned(place)
    for number in (1, 2):
        tagging.tag(plan, number)
    with pytest.raises(TagscaleError, match="none of its 1 files has scores: "):
        tagging.join(plan)


@pytest.mark.parametrize(
    ("different", "because"),
    [
        ({"catalogue": "nowhere"}, "catalogue: .*nowhere: nothing there; expected a folder"),
        ({"catalogue": ""}, "nothing there"),
        ({"version": "7"}, r"has no version '7'; there: 1\."),
        ({"model": "nobody"}, "No model 'nobody' in the registry"),
    ],
)
def test_what_cannot_be_tagged(place: Path, different: dict[str, str], because: str) -> None:
    with pytest.raises(TagscaleError, match=because):
        planned(place, **different)
