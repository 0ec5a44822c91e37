"""The folder that all tasks of a pipeline share: a volume on a cluster, a plain folder on one machine.

Audio never travels between tasks: it stays here, and what a task hands on is an address (a small JSON file). What lies
here is written by the stages themselves, which continue where they were and keep what has not changed; so these
folders are a cache, too, and only what a finished version of the data consists of is never written to again.

    <dataset>/corpus                    audio of the composed corpus
    <dataset>/store                     the store that grows with the dataset
    <dataset>/slices/I-of-N             the stores of slices that are decoded by tasks of their own
    <dataset>/stores/<hash>             a store as it was at one time (hard links, no copies): what trainings read
    <dataset>/descriptors/<content>     the baseline's descriptors of one partition
    <dataset>/partitions/<settings>     the partition made last, so that tracks stay in the parts that they have
    <dataset>/versions/<hash>.json      every version of the data that passed validation
    unfinished/<run>-<content>          state of a training that has not ended
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagscale.params.load import Params
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import link_or_copy, read_json, replacing, write_json
from tagscale.runtime.identity import hash_of


@dataclass(frozen=True)
class Volume:
    """Where things lie in the shared folder of a dataset.

    Attributes:
        root: the shared folder, `kubernetes.mount` in params.yaml.
        dataset: name of the dataset.
    """

    root: Path
    dataset: str

    @classmethod
    def of(cls, params: Params) -> "Volume":
        """The volume as the settings say. Raises TagscaleError where it is not mounted."""
        root = Path(params.kubernetes.mount)
        if not root.is_dir():
            raise TagscaleError(
                f"{root}: no such folder; expected the volume {params.kubernetes.volume} there (kubernetes.mount, "
                "kubernetes.volume). Does the claim exist in the namespace of the tasks?"
            )
        return cls(root, params.dataset.name)

    def check_writable(self) -> None:
        """Raises TagscaleError where this process may not write, or nothing fits on it any more."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(b"\0" * 4096)
        except OSError as error:
            who = f"user {os.getuid()}, groups {sorted({os.getgid(), *os.getgroups()})}"
            raise TagscaleError(
                f"{self.folder}: cannot be written to ({error.strerror}) by {who}. Its owner or group must be one of "
                "these (starting the job volume-shell once gives it to group 1000), and there must be space on it."
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

    def newest_descriptors(self) -> Path | None:
        """The descriptors computed last, of whatever partition: rows of tracks that are the same are taken over."""
        done = (self.folder / "descriptors").glob("*/descriptors.parquet")
        newest = max(done, key=lambda file: file.stat().st_mtime, default=None)
        return newest.parent if newest else None

    def partition(self, params: Params) -> Path:
        return self.folder / "partitions" / hash_of([params.partition.model_dump(), params.dataset.split])

    def unfinished(self, run: str, content: str) -> Path:
        return self.root / "unfinished" / f"{run}-{content}"

    def root_of(self, params: Params) -> Path:
        """Folder of the dataset's annotations and audio; a relative `dataset.root` lies on the volume."""
        return self.corpus if params.dataset.source == "synth" else self.root / params.dataset.root

    def freeze(self, store: Path, digest: str) -> Path:
        """A store as it is now, under its hash, where nothing will change it.

        Shards are linked, so this costs no space until the growing store drops one.
        """
        frozen = self.folder / "stores" / digest
        if not frozen.is_dir():
            with replacing(frozen) as fresh:
                fresh.mkdir()
                for file in sorted(path for path in Path(store).iterdir() if path.is_file()):
                    link_or_copy(file, fresh / file.name)
        return frozen

    def keep_partition(self, partition: Path, params: Params) -> None:
        """Remember a partition as the one made last."""
        with replacing(self.partition(params)) as fresh:
            shutil.copytree(partition, fresh)

    def record_version(self, digest: str, facts: dict[str, Any]) -> None:
        """Note a version of the data that passed validation."""
        write_json(self.folder / "versions" / f"{digest}.json", facts)

    def check_version(self, params: Params) -> None:
        """Refuse a data version that is not here, before anything is computed.

        Where no version was recorded yet, the validate stage finds out.

        Raises:
            TagscaleError: dataset.version names none of the versions that are recorded; names these.
        """
        known = {file.stem: read_json(file) for file in sorted((self.folder / "versions").glob("*.json"))}
        version = params.dataset.version
        if not version or not known or version.rpartition("@")[2] in known:
            return
        there = ", ".join(f"{facts.get('version') or 'unpublished'} ({digest})" for digest, facts in known.items())
        raise TagscaleError(
            f"dataset.version: {version} does not exist on the volume ({self.folder / 'versions'}); there are: "
            f"{there}. Name one of them, or run the pipeline `data` with dataset.version: null to make a new one."
        )


def hand_on(artifact: str, folder: Path, digest: str) -> None:
    """Write where something lies, as the artifact that a task hands to the next."""
    write_json(Path(artifact), {"address": str(folder), "hash": digest})


def address_in(artifact: str) -> Path:
    """The folder that a task before has handed on.

    Raises:
        TagscaleError: it is not there any more: the volume is another one, or it was tidied up.
    """
    folder = Path(read_json(Path(artifact))["address"])
    if not folder.exists():
        raise TagscaleError(
            f"{folder}: an earlier task wrote it, and it is not there. Is it the same volume, and was nothing deleted? "
            "Submitted again with --no-cache, the pipeline makes it anew."
        )
    return folder
