"""Fetch: a published dataset from its authors' server to a folder, checked and unpacked."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.progress import Progress

from tagscale import __version__
from tagscale.fetch.archives import is_unpacked, unpack
from tagscale.fetch.download import Patience, download
from tagscale.fetch.part import Part, require_space, writing
from tagscale.fetch.published import PUBLISHED, Archive, Dataset, File
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.lock import exclusive
from tagscale.runtime.progress import progress_bar
from tagscale.runtime.words import suggestion

ONLY = ("annotations", "audio")
PREFIXES = {"download": "", "wait": "waiting to retry: ", "check": "checking ", "unpack": "unpacking "}  # of the bar


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
    """Download and unpack missing files; print the next steps, the licence and the citation.

    If one file fails, the others are still fetched. Running it again resumes.

    Args:
        dataset: a name of `PUBLISHED`.
        root: folder of the dataset; None: data/DATASET.
        variant: which audio; None: the default.
        only: "annotations" or "audio"; None: both.
        mirror: base address of the files, instead of the authors' own.
        keep_archives: keep zip files after unpacking.

    Raises:
        TagscaleError: a name is unknown, the disk has too little space, or files failed (with all their messages).
    """
    published, variant = _choose(dataset, variant, only)
    root, console = root or Path("data") / dataset, console or Console(soft_wrap=True, highlight=False)
    items: list[File | Archive] = [*published.annotations] if only != "audio" else []
    if only != "annotations":
        items.append(published.audio[variant])
    busy = f"{root}: another `tagscale fetch` is at work here ({{holder}}). Wait until it ends, or give another --root."
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
    with (
        writing(root),  # which says what is kept
        exclusive(root / ".fetch.lock", busy),
        progress_bar("bytes", console) as bar,
        requests.Session() as session,
    ):
        session.headers["User-Agent"] = f"tagscale/{__version__}"
        failures = _Fetch(root, mirror or published.address, keep_archives, patience or Patience(), session, bar)(items)
    if failures:
        raise TagscaleError("\n".join([*failures, f"{len(failures)} of {len(items)} failed; what came is in {root}."]))
    console.print(_next_steps(published, dataset, root, items), markup=False)


def _choose(dataset: str, variant: str | None, only: str | None) -> tuple[Dataset, str]:
    """The dataset, and the name of its variant."""
    if dataset not in PUBLISHED:
        raise TagscaleError(
            f"{dataset}: not a dataset that can be fetched; {suggestion(dataset, PUBLISHED)} docs/datasets.md says "
            "where the others are published and how to lay them out."
        )
    audio = PUBLISHED[dataset].audio
    if variant is not None and variant not in audio:
        raise TagscaleError(f"--variant: {dataset} has no `{variant}`; {suggestion(variant, audio)}")
    if only is not None and only not in ONLY:
        raise TagscaleError(f"--only: found `{only}`; {suggestion(only, ONLY)}")
    return PUBLISHED[dataset], variant or next(iter(audio))


@dataclass
class _Fetch:
    """Fetches items from an address to a folder."""

    root: Path
    address: str
    keep_archives: bool
    patience: Patience
    session: requests.Session
    bar: Progress
    missing: list[File | Archive] = field(default_factory=list)

    def __call__(self, items: list[File | Archive]) -> list[str]:
        """Fetch each item; returns the messages of those that failed."""
        failures = self.each(self.look, items)  # check all first, before 93 GB are downloaded in vain
        files = [file for item in self.missing for file in (item.parts if isinstance(item, Archive) else [item])]
        targets = {self.root / file.name: file.expected for file in files}
        size = sum(max(size - Part(target).size, 0) for target, size in targets.items() if not target.exists())
        unpacked = sum(item.unpacked for item in self.missing if isinstance(item, Archive))
        require_space(self.root, size + unpacked, f"the dataset ({size:,} to download, {unpacked:,} to unpack)")
        return failures + self.each(self.fetch, self.missing)

    def each(self, act: Callable[[Any], None], items: Iterable[File | Archive]) -> list[str]:
        """Call `act` with each item, even after one fails; returns the messages of those that failed."""
        failures = []
        for item in items:
            try:
                act(item)
            except TagscaleError as error:
                failures.append(str(error))
                if isinstance(item, File):
                    self.say(f"{self.root / item.name}: failed, see the end; the other files are fetched all the same.")
        return failures

    def look(self, item: File | Archive) -> None:
        if isinstance(item, Archive) and is_unpacked(item, self.root):
            self.say(f"{self.root / item.folder} exists, unpacked from the published archive.")
        else:
            self.missing.append(item)

    def fetch(self, item: File | Archive) -> None:
        if isinstance(item, File):
            return self.fetch_file(item)
        if failures := self.each(self.fetch_file, item.parts):
            raise TagscaleError("\n".join(failures))
        with self.task(item.folder) as progress:
            unpack(item, self.root, progress)
        self.say(f"{self.root / item.folder}: unpacked, every file checked.")
        if not self.keep_archives:
            for part in item.parts:
                (self.root / part.name).unlink()

    def fetch_file(self, file: File) -> None:
        target, address = self.root / file.name, f"{self.address.rstrip('/')}/{file.name}"
        with self.task(file.name) as progress:
            new = download(address, target, file, session=self.session, patience=self.patience, progress=progress)
        digest = f"{file.digest.replace(':', ' ')} as published"
        self.say(f"{target}: {digest}." if new else f"{target} exists, {digest}: not downloaded again.")

    @contextmanager
    def task(self, name: str) -> Iterator[Callable[[str, int, int | None], None]]:
        """A bar for one file. It restarts at each step, so it shows the speed of the current step."""
        task, step = self.bar.add_task(name, total=None), ""

        def progress(now: str, done: int, total: int | None) -> None:
            nonlocal step
            if now != step:
                self.bar.reset(task, total=total, completed=done, description=f"{PREFIXES[now]}{name}")
                step = now
            self.bar.update(task, total=total, completed=done)

        try:
            yield progress
        finally:
            self.bar.remove_task(task)

    def say(self, text: str) -> None:
        self.bar.console.print(text, markup=False)


def _next_steps(published: Dataset, name: str, root: Path, items: list[File | Archive]) -> str:
    """The last lines of output: the files, the settings for params.yaml, the licence and the citation."""
    contents = [item.folder + "/" if isinstance(item, Archive) else item.name for item in items]
    usual = next(iter(published.audio.values()))
    settings = [] if root == Path("data") / name else [f"root: {root}"]
    settings += [f"variant: {key}" for key, audio in published.audio.items() if audio in items and audio is not usual]
    lines = [f"{published.facts.title} is in {root}: {', '.join(contents)}."]
    lines.append(f"Next: `tagscale preset {published.preset}` lays presets/{published.preset}.yaml over params.yaml.")
    if settings:
        lines += ["Then put into params.yaml:", "  dataset:", *(f"    {line}" for line in settings)]
    return "\n".join([*lines, f"Licence: {published.facts.licence}", f"Please cite: {published.facts.citation}"])
