"""Fetch: a published dataset from its authors' server to a folder, checked and unpacked."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from tagscale import __version__
from tagscale.fetch.archives import is_unpacked, unpack
from tagscale.fetch.download import Patience, download
from tagscale.fetch.part import Part, writing
from tagscale.fetch.published import PUBLISHED, Archive, Dataset, File
from tagscale.runtime.errors import TagscaleError

ONLY = ("annotations", "audio")
DOING = {
    "download": "",
    "wait": "waiting to try again: ",
    "check": "checking ",
    "unpack": "unpacking ",
}  # before a file's name in the progress bar


def run(
    dataset: str,
    *,
    root: Path | None = None,
    variant: str | None = None,
    only: str | None = None,
    mirror: str | None = None,
    keep_archives: bool = False,
    patience: Patience | None = None,
    console: Console | None = None,
) -> None:
    """Download and unpack what is not there yet, and say what to do with it, its licence and how to cite it.

    Where one file fails the others are brought all the same. Running it again continues.

    Args:
        dataset: a name of `PUBLISHED`.
        root: folder for it; None: data/DATASET.
        variant: which audio; None: the usual one.
        only: "annotations" or "audio"; None: both.
        mirror: address below which the files lie, in place of the authors' own.
        keep_archives: keep zip files after they were unpacked.

    Raises:
        TagscaleError: an unknown name, too little room on the disk, or the messages of all files that failed.
    """
    found, chosen = _chosen(dataset, variant, only)
    root, console = root or Path("data") / dataset, console or Console(soft_wrap=True, highlight=False)
    items: list[File | Archive] = [*found.annotations] if only != "audio" else []
    if only != "annotations":
        items.append(found.audio[chosen])
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
    with _alone(root), _bar(console) as bar, requests.Session() as session:
        session.headers["User-Agent"] = f"tagscale/{__version__}"
        fetching = Fetching(root, mirror or found.address, keep_archives, patience or Patience(), session, bar)
        failures = fetching.all(items)
    if failures:
        raise TagscaleError("\n".join([*failures, f"{len(failures)} of {len(items)} failed; what came is in {root}."]))
    _show(console, found, dataset, root, items)


def _chosen(dataset: str, variant: str | None, only: str | None) -> tuple[Dataset, str]:
    """The dataset and the name of its variant."""
    if dataset not in PUBLISHED:
        raise TagscaleError(
            f"{dataset}: not a dataset that can be fetched; {_known(dataset, list(PUBLISHED))} docs/datasets.md says "
            "where the others are published and how to lay them out."
        )
    found = PUBLISHED[dataset]
    variants = list(found.audio)
    if variant is not None and variant not in variants:
        raise TagscaleError(f"--variant: {dataset} has no `{variant}`; {_known(variant, variants)}")
    if only is not None and only not in ONLY:
        raise TagscaleError(f"--only: found `{only}`; {_known(only, list(ONLY))}")
    return found, variant or variants[0]


def _known(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else f"known: {', '.join(names)}."


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the folder's lock, so that two processes do not write the same half. A dead process holds none."""
    lock = FileLock(root / ".fetch.lock")
    with writing(root):
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise TagscaleError(
                f"{root}: another `tagscale fetch` is at work here. Wait until it has ended, or give another --root."
            ) from None
    try:
        yield
    finally:
        lock.release()


def _bar(console: Console) -> Progress:
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), *columns, console=console)


@dataclass
class Fetching:
    """One run: where to, where from, how patiently."""

    root: Path
    address: str
    keep_archives: bool
    patience: Patience
    session: requests.Session
    bar: Progress

    def all(self, items: list[File | Archive]) -> list[str]:
        """Bring each item; returns the messages of those that failed."""
        failures: list[str] = []
        missing = [item for item in items if self._caught(failures, self._is_missing, item)]
        self._check_space(missing)
        for item in missing:
            self._caught(failures, self._archive if isinstance(item, Archive) else self._file, item)
        return failures

    def _caught(self, failures: list[str], act: Callable[[Any], bool], item: File | Archive) -> bool:
        """What `act` says of the item; False, and its message among the failures, where it fails."""
        try:
            return act(item)
        except TagscaleError as error:
            failures.append(str(error))
            if isinstance(item, File):
                self._say(f"{self.root / item.name}: failed, as told at the end; the others are fetched all the same.")
            return False

    def _is_missing(self, item: File | Archive) -> bool:
        """Asked of all items first, so that nobody downloads 93 GB for a folder that is taken."""
        if isinstance(item, File) or not is_unpacked(item, self.root):
            return True
        self._say(f"{self.root / item.folder} is there already, unpacked from the published archive.")
        return False

    def _check_space(self, items: list[File | Archive]) -> None:
        archives = [item for item in items if isinstance(item, Archive)]
        files = [item for item in items if isinstance(item, File)] + [part for item in archives for part in item.parts]
        absent = [(file, self.root / file.name) for file in files if not (self.root / file.name).exists()]
        download = sum(max(file.expected - Part(target).size, 0) for file, target in absent)
        unpacked = sum(item.unpacked for item in archives)
        free = shutil.disk_usage(self.root).free
        if download + unpacked > free:
            raise TagscaleError(
                f"{self.root}: about {download:,} bytes to download and {unpacked:,} to unpack, {free:,} are free on "
                "this disk. Nothing was downloaded: make room, or give a --root on another disk."
            )

    def _file(self, file: File) -> bool:
        target = self.root / file.name
        address = f"{self.address.rstrip('/')}/{file.name}"
        with self._task(file.name) as progress:
            new = download(address, target, file, session=self.session, patience=self.patience, progress=progress)
        digest = f"{file.digest.replace(':', ' ')} as published"
        self._say(f"{target}: {digest}." if new else f"{target} is there already, {digest}: not downloaded again.")
        return True

    def _archive(self, archive: Archive) -> bool:
        failures: list[str] = []
        for part in archive.parts:
            self._caught(failures, self._file, part)
        if failures:
            raise TagscaleError("\n".join(failures))
        with self._task(archive.folder) as progress:
            unpack(archive, self.root, progress)
        self._say(f"{self.root / archive.folder}: unpacked, every file checked.")
        if not self.keep_archives:
            for part in archive.parts:
                (self.root / part.name).unlink()
        return True

    @contextmanager
    def _task(self, name: str) -> Iterator[Callable[[str, int, int | None], None]]:
        """A bar for one file; starts anew where what is done with the file changes, for the speed's sake."""
        task, doing = self.bar.add_task(name, total=None), ""

        def progress(what: str, done: int, total: int | None) -> None:
            nonlocal doing
            if what != doing:
                self.bar.reset(task, total=total, completed=done, description=f"{DOING[what]}{name}")
                doing = what
            self.bar.update(task, total=total, completed=done)

        try:
            yield progress
        finally:
            self.bar.remove_task(task)

    def _say(self, text: str) -> None:
        self.bar.console.print(text, markup=False)


def _show(console: Console, found: Dataset, name: str, root: Path, items: list[File | Archive]) -> None:
    """What there is now, what to put into params.yaml, the licence and how to cite."""
    inside = [item.folder + "/" if isinstance(item, Archive) else item.name for item in items]
    lines = [f"{found.title} is in {root}: {', '.join(inside)}."]
    settings = [] if root == Path("data") / name else [f"root: {root}"]
    usual = next(iter(found.audio))
    settings += [f"variant: {kind}" for kind, audio in found.audio.items() if audio in items and kind != usual]
    lines.append(f"Next: `tagscale preset {found.preset}` lays presets/{found.preset}.yaml over params.yaml.")
    if settings:
        lines += ["Then put into params.yaml:", "  dataset:", *(f"    {line}" for line in settings)]
    lines += [f"Licence: {found.licence}", f"Please cite: {found.citation}"]
    console.print("\n".join(lines), markup=False)
