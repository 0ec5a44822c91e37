"""Copies of what nothing computes again in a night: MLflow's artifacts, finished trainings, partitions, data versions.

    python -m tagscale.cluster.backup      copies BACKUP_FROM to BACKUP_TO; each is a folder or s3://bucket/prefix

A backup deletes nothing: where a file changed, the older copy stays beside the new one as NAME~TIME. With
BACKUP_DIRECTION=restore what is missing in BACKUP_FROM comes back from BACKUP_TO, and what is there stays. Both may be
interrupted and repeated: files appear whole, and those that are there are not copied again.
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from tagscale.runtime.command import command
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import TEMPORARY, replacing, sha256_of
from tagscale.store.remote import Bucket

DIRECTIONS = ("backup", "restore")
THREADS = 8  # an object store answers in 10 to 50 ms, whatever the size of a small file
OLDER = re.compile(r"~\d{8}T\d{6}Z$")  # the end of an older copy's name


@dataclass(frozen=True)
class Entry:
    """A file: its size in bytes, and when it was written (seconds)."""

    size: int
    time: float


class Place:
    """A folder, or a prefix in a bucket.

    Args:
        only: patterns of the folders in it that count, as `*/partitions`; all by default
    """

    def __init__(self, address: str, only: Sequence[str] = ()) -> None:
        self.address, self.only = address.rstrip("/"), only
        self.files, self.root = Bucket(self.address).connection()

    def entries(self) -> dict[str, Entry]:
        """Relative name -> file, without files that are being written and without older copies."""
        self.files.invalidate_cache()
        patterns = [f"{self.root}/{pattern}" for pattern in self.only]
        folders = [folder for pattern in patterns for folder in self.files.glob(pattern)] if patterns else [self.root]
        entries = {}
        for path, facts in (pair for folder in folders for pair in self._files_in(folder).items()):
            name = path[len(self.root) + 1 :]
            if not OLDER.search(name) and TEMPORARY not in name:
                entries[name] = Entry(facts["size"], _time(facts))
        return entries

    def _files_in(self, folder: str) -> dict[str, Any]:
        try:
            return self.files.find(folder, detail=True)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            advice = "Check the address and the right to list it, then run the job again."
            raise TagscaleError(f"{self.address}: cannot be listed ({reason}). {advice}") from error

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file to the local disk. Raises FileNotFoundError where it was deleted."""
        self.files.get_file(f"{self.root}/{name}", str(target))

    def put(self, source: Path, name: str) -> None:
        """Copy a local file to this place, whole or not at all."""
        if isinstance(self.files, LocalFileSystem):
            with replacing(Path(self.root, name)) as fresh:
                shutil.copyfile(source, fresh)
        else:
            self.files.put_file(str(source), f"{self.root}/{name}")

    def put_aside(self, name: str, entry: Entry) -> None:
        """Keep a file under the name of an older copy."""
        older = f"{name}~{datetime.fromtimestamp(entry.time, UTC):%Y%m%dT%H%M%SZ}"
        self.files.copy(f"{self.root}/{name}", f"{self.root}/{older}")


def backup(source: Place, target: Place) -> str:
    """Copy what the target lacks or has otherwise; what happened, in a line.

    Raises:
        TagscaleError: a file cannot be copied; or a file of the source is not in the target afterwards.
    """
    sources, targets = source.entries(), target.entries()
    due = [
        name
        for name, entry in sources.items()
        if name not in targets or entry.size != targets[name].size or entry.time > targets[name].time
    ]

    def copy(name: str, local: Path) -> str:
        source.fetch(name, local)
        if name not in targets:
            target.put(local, name)
            return "new"
        if local.stat().st_size == targets[name].size:
            held = local.with_suffix(".held")
            target.fetch(name, held)
            if sha256_of(held) == sha256_of(local):
                return "same"
        target.put_aside(name, targets[name])
        target.put(local, name)
        return "changed"

    outcomes = _each(due, copy, source)
    held = target.entries()
    lacking = [name for name in sources if outcomes.get(name) != "gone" and name not in held]
    if lacking:
        missing = f"{len(lacking)} files are missing after the copy, as {lacking[0]}"
        raise TagscaleError(f"{target.address}: {missing}. Run the job again.")
    new, changed, deleted = (list(outcomes.values()).count(one) for one in ("new", "changed", "gone"))
    return (
        f"{len(sources)} files ({_megabytes(sources, sources)}): {new} new ({_megabytes(sources, outcomes, 'new')}), "
        f"{changed} changed (the older copies stay as NAME~TIME), {deleted} deleted meanwhile"
    )


def restore(source: Place, target: Place) -> str:
    """Copy back what the source lacks; what happened, in a line.

    Raises:
        TagscaleError: the target holds nothing; a file cannot be copied.
    """
    sources, targets = source.entries(), target.entries()
    if not targets:
        raise TagscaleError(f"{target.address}: holds no files; expected a backup. Is BACKUP_TO that of the backup?")
    due = [name for name in targets if name not in sources]

    def copy(name: str, local: Path) -> str:
        target.fetch(name, local)
        source.put(local, name)
        return "new"

    outcomes = _each(due, copy, target)
    differing = sorted(name for name in targets if name in sources and sources[name].size != targets[name].size)
    line = f"{len(targets)} files in the backup: {len(due)} were missing ({_megabytes(targets, outcomes)}) and are back"
    if differing:
        line += f"; {len(differing)} are there with another size and stay, as {', '.join(differing[:5])}"
    return line


def _each(names: Sequence[str], copy: Callable[[str, Path], str], origin: Place) -> dict[str, str]:
    """Copy files by way of the local disk; name -> outcome, `gone` for one that was deleted meanwhile."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(THREADS) as threads:

        def run(number: int) -> tuple[str, str]:
            local = Path(folder, str(number))
            try:
                return names[number], copy(names[number], local)
            except FileNotFoundError:
                return names[number], "gone"
            except Exception as error:
                raise TagscaleError(f"{origin.address}/{names[number]}: {type(error).__name__}: {error}") from error
            finally:
                for path in (local, local.with_suffix(".held")):
                    path.unlink(missing_ok=True)

        return dict(threads.map(run, range(len(names))))


def _time(facts: Mapping[str, Any]) -> float:
    """When a file was written. A folder's files may bring an old time with them; `created` is that of the inode."""
    if "LastModified" in facts:
        return float(facts["LastModified"].timestamp())
    return float(max(facts["mtime"], facts["created"]))


def _megabytes(entries: Mapping[str, Entry], names: Mapping[str, Any], outcome: str | None = None) -> str:
    chosen = [name for name in names if outcome is None or names[name] == outcome]
    return f"{sum(entries[name].size for name in chosen) / 1e6:.1f} MB"


def _settings() -> Iterator[str]:
    for name in ("BACKUP_FROM", "BACKUP_TO"):
        if not os.environ.get(name):
            raise TagscaleError(f"{name}: not set; expected a folder or s3://bucket/prefix.")
        yield os.environ[name]


def main() -> None:
    """Do what the environment says, and say what was done."""
    origin, destination = _settings()
    direction = os.environ.get("BACKUP_DIRECTION") or DIRECTIONS[0]
    if direction not in DIRECTIONS:
        raise TagscaleError(f"BACKUP_DIRECTION: found {direction!r}; expected {' or '.join(DIRECTIONS)}.")
    only = os.environ.get("BACKUP_ONLY", "").split()
    begin = time.monotonic()
    line = (backup if direction == "backup" else restore)(Place(origin, only), Place(destination))
    arrow = "->" if direction == "backup" else "<-"
    print(f"{origin} {arrow} {destination}: {line}, {time.monotonic() - begin:.1f} s", flush=True)


if __name__ == "__main__":
    with command():
        main()
