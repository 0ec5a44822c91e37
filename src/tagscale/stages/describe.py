"""Describe: timbre, rhythm and harmony descriptors of every track in the partition, for the baseline.

Rows of an earlier run and parts of an interrupted run are reused if the samples and the definition of the descriptors
are the same. A row depends only on its samples. So the result has the same bytes, whether computed, resumed or reused,
for any number of worker processes.
"""

import time
from pathlib import Path

from tagscale import SAMPLE_RATE
from tagscale.descriptors.describing import describe_all
from tagscale.descriptors.table import DescriptorTable, Parts
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.runtime.disk import full_disk_explained
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.machine import workers_for
from tagscale.runtime.progress import progress_bar
from tagscale.store.read import Store

WORTHWHILE = 1200.0  # seconds of audio: a process takes a second to begin
SHOWN = 5


def run(
    params: Params,
    *,
    partition: Path,
    store: Path | str,
    descriptors: Path,
    workers: int | None = None,
    previous: Path | None = None,
) -> None:
    """Write the folder `descriptors`, with one row per track of the partition, sorted by track_id.

    Args:
        workers: number of worker processes, by default one per core, fewer for little audio; the result is the same
            for any number
        previous: folder of an earlier run whose rows are reused; by default `descriptors`, which is replaced

    Raises:
        TagscaleError: a track of the partition is missing in the store; tracks cannot be described (the others are
            kept for the next run); the disk is full.
    """
    descriptors = Path(descriptors)
    tracks = Partition.load(partition).table["track_id"].tolist()
    opened = Store.open(store)
    opened.require(tracks, store)
    table = DescriptorTable(tracks, opened.facts["audio_sha256"].reindex(tracks).fillna("").tolist())
    parts = Parts(descriptors)
    begin = time.monotonic()
    table.reuse_table(Path(previous or descriptors))
    parts.fill(table)
    reused = int(table.filled.sum())
    with full_disk_explained(descriptors, f"What was written before is kept in {parts.folder}."):
        failed = _fill(table, parts, opened, workers)
        if failed:
            raise TagscaleError(_failures(failed, len(tracks), store))
        table.save(descriptors)
    parts.remove()
    seconds = time.monotonic() - begin
    computed = len(tracks) - reused
    speed = f" ({computed / max(seconds, 1e-9):.1f} tracks/s)" if computed else ""
    print(f"{len(tracks)} tracks described in {seconds:.1f} s{speed}: {computed} computed, {reused} reused", flush=True)


def _fill(table: DescriptorTable, parts: Parts, store: Store, workers: int | None) -> dict[str, str]:
    """Describe the tracks that have no row yet. Returns those that cannot be described, with the reason."""
    failed: dict[str, str] = {}
    missing = table.missing
    try:
        with progress_bar("tracks", disable=not missing) as progress:
            task = progress.add_task("describing", total=len(table.tracks), completed=len(table.tracks) - len(missing))
            workers = workers or workers_for(sum(map(store.samples, missing)) / SAMPLE_RATE, WORTHWHILE)
            for described in describe_all(store, missing, workers):
                if described.values is None:
                    failed[described.track_id] = described.reason
                else:
                    parts.add(table.put(described.track_id, described.values), described.values)
                progress.advance(task)
    finally:
        parts.write()  # keeps computed rows, even after an error
    return failed


def _failures(failed: dict[str, str], tracks: int, store: Path | str) -> str:
    shown = "\n".join(f"  {track}: {reason}" for track, reason in sorted(failed.items())[:SHOWN])
    more = f"\n  and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
    return (
        f"{store}: {len(failed)} of {tracks} tracks could not be described:\n{shown}{more}\n"
        "The others are kept. Mend the store (`tagscale store verify` names what is damaged), or take the tracks out "
        "of the dataset, then run `tagscale describe` again: it continues."
    )
