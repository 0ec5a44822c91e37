"""The folder that all tasks of a pipeline share: a volume on a cluster, a plain folder on one machine.

Audio never travels between tasks: it stays here, and a task hands on an address (a small JSON file). The stages write
these folders, resume what was interrupted and skip what has not changed. Only the versions of the data never change.

    <dataset>/corpus                    audio of the composed corpus
    <dataset>/store                     the store that grows with the dataset
    <dataset>/slices/I-of-N             stores of the slices that tasks of their own decode
    <dataset>/stores/<hash>             one version of the store (hard links, no copies): what trainings read
    <dataset>/descriptors/<content>     the baseline's descriptors of one partition
    <dataset>/features/<content>        the probes' features of one partition
    <dataset>/partitions/<settings>     the last partition, so that tracks stay in their parts
    <dataset>/versions/<hash>.json      every version of the data that passed validation
    finished/runs/<run>-<key>           a finished training, for tasks that would train it again
    finished/results/<run>-<key>        its scores and metrics
    unfinished/<run>-<key>              state of a training that has not ended
"""

import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from typing_extensions import TypedDict

from tagscale.params.load import Params
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import link_or_copy, replacing, write_json
from tagscale.runtime.identity import hash_of
from tagscale.runtime.reading import read_json

TABLES = {"descriptors": "*/descriptors.parquet", "features": "*/*/features.json"}  # below the folder of that name


class Artifact(Protocol):
    """An artifact of kfp, as a task takes it."""

    path: str


class Address(TypedDict):
    """What a task hands on to the next ones."""

    address: str
    hash: str


@dataclass(frozen=True)
class Volume:
    """The paths in the shared folder of a dataset.

    Attributes:
        root: the shared folder, `kubernetes.mount` in params.yaml.
        dataset: name of the dataset.
    """

    root: Path
    dataset: str

    @classmethod
    def of(cls, params: Params) -> "Volume":
        """The volume of these settings. Raises TagscaleError where it is not mounted."""
        root = Path(params.kubernetes.mount)
        if not root.is_dir():
            raise TagscaleError(
                f"{root}: no such folder; expected the volume {params.kubernetes.volume} there (kubernetes.mount, "
                "kubernetes.volume). Does the claim exist in the namespace of the tasks?"
            )
        return cls(root, params.dataset.name)

    def check_writable(self) -> None:
        """Raise TagscaleError where this process may not write, or the volume is full."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(b"\0" * 4096)
        except OSError as error:
            user = f"user {os.getuid()}, groups {sorted({os.getgid(), *os.getgroups()})}"
            raise TagscaleError(
                f"{self.folder}: cannot be written to ({error.strerror}) by {user}. One of these must own it (starting "
                "the job volume-shell once gives it to group 1000), and the volume must have space."
            ) from None

    @property
    def folder(self) -> Path:
        return self.root / self.dataset

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def slice(self, number: int, of: int) -> Path:
        return self.folder / "slices" / f"{number}-of-{of}"

    def descriptors(self, content: str) -> Path:
        return self.folder / "descriptors" / content

    def newest(self, kind: str) -> Path | None:
        """The last `descriptors` or `features` of any partition, whose rows are used again for unchanged tracks.

        None without any.
        """
        folder = self.folder / kind
        last = max(folder.glob(TABLES[kind]), key=lambda file: file.stat().st_mtime, default=None)
        return folder / last.relative_to(folder).parts[0] if last else None

    def features(self, content: str) -> Path:
        return self.folder / "features" / content

    def partition(self, params: Params) -> Path:
        return (
            self.folder / "partitions" / hash_of([params.partition.model_dump(exclude_none=True), params.dataset.split])
        )

    def finished(self, kind: Literal["runs", "results"], run: str, key: str) -> Path:
        return self.root / "finished" / kind / f"{run}-{key}"

    def unfinished(self, run: str, key: str) -> Path:
        return self.root / "unfinished" / f"{run}-{key}"

    def root_of(self, params: Params) -> Path:
        """Folder of the dataset's annotations and audio; a relative `dataset.root` lies on the volume."""
        return self.corpus if params.dataset.source == "synth" else self.root / params.dataset.root

    def freeze(self, store: Path, digest: str) -> Path:
        """Keep the store as it is now, under its hash.

        Shards are linked, so this takes no space until the growing store drops one.
        """
        frozen = self.folder / "stores" / digest
        if not frozen.is_dir():
            with replacing(frozen) as fresh:
                fresh.mkdir()
                for file in sorted(path for path in Path(store).iterdir() if path.is_file()):
                    link_or_copy(file, fresh / file.name)
        return frozen

    def keep_partition(self, partition: Path, params: Params) -> None:
        """Keep a partition as the last one."""
        with replacing(self.partition(params)) as fresh:
            shutil.copytree(partition, fresh)

    def record_version(self, digest: str, facts: dict[str, Any]) -> None:
        """Record a version of the data that passed validation."""
        write_json(self.folder / "versions" / f"{digest}.json", facts)

    def check_version(self, params: Params) -> None:
        """Refuse a missing data version before anything is computed.

        Where no version is recorded yet, the validate stage finds out.

        Raises:
            TagscaleError: dataset.version is none of the recorded versions; the message names them.
        """
        recorded = {
            file.stem: read_json(file, dict[str, Any], "tagscale pipelines submit --pipeline data")
            for file in sorted((self.folder / "versions").glob("*.json"))
        }
        version = params.dataset.version
        if not version or not recorded or version.rpartition("@")[2] in recorded:
            return
        names = [f"{facts.get('version') or 'unpublished'} ({digest})" for digest, facts in recorded.items()]
        raise TagscaleError(
            f"dataset.version: {version} does not exist on the volume ({self.folder / 'versions'}); there are: "
            f"{', '.join(names)}. Name one of them, or run the pipeline `data` with dataset.version: null to make a "
            "new one."
        )


def hand_on(artifact: str, folder: Path, digest: str) -> None:
    """Write the address of a folder, as the artifact that a task hands on."""
    write_json(Path(artifact), {"address": str(folder), "hash": digest})


def address_in(artifact: str) -> Path:
    """The folder that an earlier task has handed on.

    Raises:
        TagscaleError: the folder is gone: the volume is another one, or somebody deleted it.
    """
    folder = Path(read_json(Path(artifact), Address, "tagscale pipelines submit")["address"])
    if not folder.exists():
        raise TagscaleError(
            f"{folder}: an earlier task wrote it, and it is missing. Check that the volume is the same and that nobody "
            "deleted it. Submit the pipeline again to write it again."
        )
    return folder


def paths_of(*loops: Iterable[Artifact] | None) -> list[Path]:
    """The files or folders of the artifacts of all loops; None stands for a loop that the pipeline does not have."""
    return [Path(artifact.path) for artifacts in loops for artifact in artifacts or ()]
