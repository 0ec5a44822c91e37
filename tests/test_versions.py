"""Data versions for real: DVC with a remote on S3, git tags, a dataset that grows, and the way back."""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
import yaml
from moto.server import ThreadedMotoServer

from tagscale.catalog.tables import Catalog
from tagscale.params.load import laid_over, read_yaml
from tagscale.partition.divide import Partition
from tagscale.runtime.files import read_json
from tagscale.store.read import Store
from user_folder import rows, write_audio, write_table

ROOT = Path(__file__).parents[1]
BUCKET = "music"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 server on loopback with an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket=BUCKET)
    yield address
    server.stop()


class Working:
    """A clone of one's project, with commands run in it as a user does."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs = folder, programs

    def __call__(self, *words: str, fails: bool = False) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
        places = (self.programs, Path(sys.executable).parent, os.environ["PATH"])
        environment["PATH"] = os.pathsep.join(map(str, places))
        environment |= {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        environment |= {"DVC_NO_ANALYTICS": "1", "COLUMNS": "120"}
        done = subprocess.run(words, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300)
        assert (done.returncode != 0) == fails, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def settings(self) -> dict[str, Any]:
        return read_yaml(self.folder / "params.yaml")

    def data(self) -> tuple[Catalog, Store, Partition]:
        data = self.folder / "data"
        return Catalog.load(data / "catalog"), Store.open(data / "store"), Partition.load(data / "partition")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, endpoint: str, programs: Path) -> Working:
    """A git and DVC project with a folder of its own music, whose DVC remote is on S3."""
    work = Working(tmp_path_factory.mktemp("work") / "project", programs)
    shutil.copytree(ROOT / "src", work.folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copytree(ROOT / "presets", work.folder / "presets")
    shutil.copy(ROOT / "dvc.yaml", work.folder)
    shutil.copy(ROOT / ".gitignore", work.folder)
    changes = {
        "dataset": {"name": "mine", "source": "folder", "root": "music"},
        "preprocess": {"shard_megabytes": 1},
        "validation": {"min_seconds": 0.5, "min_positives": 1},
    }
    settings = laid_over(read_yaml(ROOT / "params.yaml"), changes)
    (work.folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    write_table(work.folder / "music", rows(12, artists=6))
    write_audio(work.folder / "music", rows(12, artists=6))
    work("git", "init", "--quiet", "--initial-branch", "main")
    work("git", "config", "user.email", "ann@example.org")
    work("git", "config", "user.name", "Ann")
    work("dvc", "init", "--quiet")
    work("dvc", "remote", "add", "--default", "storage", f"s3://{BUCKET}/dvc")
    work("dvc", "remote", "modify", "storage", "endpointurl", endpoint)
    return work


def publish(work: Working, name: str) -> None:
    """What `tagscale publish` tells its user to do."""
    said = work("tagscale", "publish", name)
    assert f"git tag data-{name}" in said
    work("dvc", "repro", "partition")
    work("git", "add", "--all", ".")
    work("git", "commit", "--quiet", "-m", f"Data version {name}")
    work("git", "tag", f"data-{name}")
    work("dvc", "push")


def grow(work: Working) -> None:
    """Six tracks more, of an artist that is known and of two new ones."""
    music = work.folder / "music"
    table = [row | {"artist": "artist 0" if i == 12 else row["artist"]} for i, row in enumerate(rows(18, artists=8))]
    before = pd.read_csv(music / "tracks.csv", dtype=str).to_dict("records")
    with open(music / "tracks.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows([*before, *table[12:]])
    write_audio(music, table)  # the first twelve files again, with the same bytes


def test_a_dataset_grows_is_published_and_goes_back(project: Working, tmp_path: Path) -> None:
    project("dvc", "repro", "partition")
    publish(project, "v1")
    first_catalog, first_store, first_parts = project.data()
    version = project.settings()["dataset"]["version"]
    assert version == f"v1@{first_parts.data_hash}"
    assert read_json(project.folder / "data" / "validation" / "validation.json")["data_hash"] == first_parts.data_hash

    grow(project)
    said = project("dvc", "repro", "partition", fails=True)  # the pin holds: this is not v1
    assert "v1" in said
    assert first_parts.data_hash in said
    assert "tagscale publish" in said
    publish(project, "v2")
    catalog, store, parts = project.data()
    assert len(catalog.tracks) == len(store) == 18
    assert store.hash != first_store.hash
    part_of = parts.table.set_index("track_id")["part"]
    for row in first_parts.table.itertuples():
        assert part_of[row.track_id] == row.part, "a track has moved"

    # someone else, on another machine: the code from git, the data from S3
    other = Working(tmp_path / "clone", project.programs)
    project("git", "clone", "--quiet", str(project.folder), str(other.folder))
    said = other("dvc", "repro", "--pull", "--allow-missing", "partition")  # no raw audio here, and none is needed
    assert "Running stage" not in said
    other("dvc", "pull", "data/catalog", "data/store", "data/partition")
    assert other.data()[1].hash == store.hash
    assert other.data()[2].hash == parts.hash
    other("tagscale", "store", "verify", "data/store")

    # back to the data of an old model
    other("git", "checkout", "--quiet", "data-v1")
    other("dvc", "pull", "data/catalog", "data/store", "data/partition")
    again = other.data()
    assert [again[0].hash, again[1].hash, again[2].hash] == [first_catalog.hash, first_store.hash, first_parts.hash]
    assert other.settings()["dataset"]["version"] == version


def test_a_name_is_given_once(project: Working) -> None:
    version = project.settings()["dataset"]["version"]
    (project.folder / "params.yaml").write_text(
        yaml.safe_dump(laid_over(project.settings(), {"dataset": {"version": "v9@000000000000"}}), sort_keys=False)
    )
    assert "give this one another name" in project("tagscale", "publish", "v9", fails=True)
    assert "letters, digits" in project("tagscale", "publish", "v 9", fails=True)
    (project.folder / "params.yaml").write_text(
        yaml.safe_dump(laid_over(project.settings(), {"dataset": {"version": version}}), sort_keys=False)
    )
