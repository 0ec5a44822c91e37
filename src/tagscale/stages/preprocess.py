"""Preprocess: decode every track once to mono 16 kHz int16 in a few large shards, and measure it."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

from tagscale.catalog.tables import Catalog
from tagscale.decoding.batch import Job, Outcome, decode_all
from tagscale.decoding.decode import DECODER
from tagscale.params.load import Params
from tagscale.runtime.disk import full_disk_explained
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.journal import Record
from tagscale.runtime.paths import Ambiguous, Locator
from tagscale.runtime.progress import progress_bar
from tagscale.runtime.words import as_text
from tagscale.store.grow import PartialStore, finish, writing
from tagscale.store.previous import Previous, Seen, State, load_seen, save_seen, unchanged
from tagscale.store.read import FORMAT

SHOWN = 5
RECENT_NS = 2_000_000_000  # a file modified this shortly before hashing may change again within the same timestamp


def run(
    params: Params,
    *,
    root: Path,
    catalog: Path,
    store: Path,
    workers: int | None = None,
    shard: tuple[int, int] | None = None,
) -> None:
    """Decode the audio of all tracks of the catalog into a new store, which replaces the previous one when complete.

    An interrupted run resumes. Tracks whose file has not changed are kept from the previous store. Files without
    usable audio do not stop the stage; rejected.csv of the store lists them with the reason.

    Args:
        root: the dataset's folder, which the catalog's paths are relative to; symbolic links in it are followed
        workers: number of worker processes, by default one per core; the result is the same for any number
        shard: (i, n): only the i-th of n slices of the catalog, 1 <= i <= n; `merge` joins them

    Raises:
        TagscaleError: no track of the catalog can be decoded, the disk is full, another process writes this store.
    """
    root, store = Path(root), Path(store)
    tracks = Catalog.load(catalog).tracks
    paths = dict(zip(tracks["track_id"], tracks["path"], strict=True))
    whole = _hash_of(paths)
    if shard:
        paths = _slice(paths, *shard)
    more: dict[str, Any] = {"slice": {"number": shard[0], "of": shard[1], "catalog": whole}} if shard else {}
    megabytes = params.preprocess.shard_megabytes
    with writing(store) as partial:
        previous = Previous.load(store)
        plan: dict[str, Any] = {
            "format": FORMAT,
            "decoder": DECODER,
            "shard_megabytes": megabytes,
            "root": str(root.resolve()),
        }
        plan |= {"tracks": _hash_of(paths), "previous": previous.identity} | more
        work = PartialStore(partial, plan, megabytes, previous.next_shard)

        def kept() -> str:
            return f"{len(work.done)} of {len(paths)} tracks are finished and kept in {partial}."

        with closing(work), full_disk_explained(store, kept):
            begin = time.monotonic()
            decoded = _fill(work, previous, root, paths, store, workers)
            seen = _check(work, root, decoded, time.monotonic() - begin, complete=shard is None)
            finish(store, work, previous, megabytes, more)
    save_seen(store, seen)


def _fill(
    work: PartialStore, previous: Previous, root: Path, paths: dict[str, str], store: Path, workers: int | None
) -> int:
    """Add every track to `work`, with a progress bar. Returns how many were decoded."""
    decoded = 0
    if work.done:
        print(f"resuming: {len(work.done)} of {len(paths)} tracks are finished")
    with progress_bar("tracks") as progress:
        task = progress.add_task("decoding", total=len(paths), completed=len(work.done))
        jobs = _jobs(work, previous, root, paths, store)
        for job, outcome in decode_all(jobs, workers):
            _take(work, previous, job.track_id, paths[job.track_id], outcome)
            decoded += outcome.decoded is not None
            progress.update(task, completed=len(work.done))
    return decoded


def _jobs(work: PartialStore, previous: Previous, root: Path, paths: dict[str, str], store: Path) -> Iterator[Job]:
    """Yield the files that must be read. Add tracks with an unchanged file to `work` at once."""
    seen = load_seen(store) if previous.identity else {}
    files = Locator(root)
    for track, path in paths.items():
        if track in work.done:
            continue
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            work.reject(track, path, "its path leaves the dataset's folder", None)
            continue
        try:
            file = files.locate(path)
        except Ambiguous as error:
            work.reject(track, path, str(error), None)
            continue
        digest = previous.known(track, path)
        source = unchanged(seen, file, digest)
        if source:
            _take(work, previous, track, path, Outcome(source=source))
        else:
            yield Job(track, file, digest)


def _take(work: PartialStore, previous: Previous, track: str, path: str, outcome: Outcome) -> None:
    """Add one track to `work`."""
    if outcome.decoded is not None:
        assert outcome.source is not None
        work.add(track, path, outcome.decoded.samples, outcome.decoded.facts(), outcome.source)
    elif outcome.reason or track in previous.reasons:  # the file is unchanged, so the reason still holds
        work.reject(track, path, outcome.reason or previous.reasons[track], outcome.source)
    else:
        assert outcome.source is not None
        work.keep(track, path, outcome.source)


def _settled(record: Record) -> State | None:
    """The state of a track's file; None where it may have changed since, and that would not show.

    Also None where the clock was set back: its times lie in the future.
    """
    if "hashed_ns" not in record:  # never read
        return None
    mtime, ctime = record["mtime_ns"], record["ctime_ns"]
    if max(mtime, ctime) >= record["hashed_ns"] - RECENT_NS:
        return None
    return record["source_bytes"], mtime, ctime, record["source_sha256"]


def _check(work: PartialStore, root: Path, decoded: int, seconds: float, complete: bool) -> Seen:
    """Print what was done and which files were rejected. Returns the states of the files, for the next run."""
    total, rejected = len(work.done), 0
    shown: list[str] = []
    seen: Seen = {}
    for record in work.records():
        if "reason" in record:
            rejected += 1
            shown += [f"{record['path']}: {record['reason']}"] if rejected <= SHOWN else []
        if state := _settled(record):
            seen[as_text(root / record["path"])] = state
    if total and rejected == total and complete:
        work.discard()  # the mistake is in root or the table, so nothing in it is worth keeping
        raise TagscaleError(
            f"{root}: none of the {rejected} tracks could be decoded. Check dataset.root in params.yaml and "
            "the table's paths, which are relative to it. The first: " + "; ".join(shown[:3])
        )
    print(
        f"{total} tracks in {seconds:.1f} s ({decoded / max(seconds, 1e-9):.1f} decoded/s): {decoded} decoded, "
        f"{total - decoded - rejected} reused, {rejected} rejected",
        flush=True,
    )
    if rejected:
        print(f"{rejected} of {total} tracks rejected; see rejected.csv of the store:")
        print(*(f"  {line}" for line in shown), sep="\n", flush=True)
    return seen


def _slice(paths: dict[str, str], number: int, of: int) -> dict[str, str]:
    if not 1 <= number <= of:
        raise TagscaleError(f"--shard {number}/{of}: expected I/N with I from 1 to N, as 1/8 to 8/8 of eight machines.")
    tracks = list(paths)
    return {track: paths[track] for track in tracks[len(tracks) * (number - 1) // of : len(tracks) * number // of]}


def _hash_of(paths: dict[str, Any]) -> str:
    """First 12 hex digits of the SHA-256 of the list of tracks and their paths."""
    digest = hashlib.sha256()
    for track, path in paths.items():
        digest.update(f"{track}\x1f{path}\x1e".encode())
    return digest.hexdigest()[:12]
