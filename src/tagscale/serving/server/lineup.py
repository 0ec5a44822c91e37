"""Which versions a server has: what it is asked for, found in the registry and fetched, and followed when it moves.

A folder of the server's own holds it all. `lineup.json` says what is to be loaded; a process that holds models reads
it, loads what is new, and says in `loaded-NAME.json` what it has. So all processes agree through two small files, and
only the one that asks the registry imports MLflow.
"""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tagscale.models.pretrained import is_published
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, replacing, write_json
from tagscale.runtime.processes import Crew, Lost

LEAD, BESIDE, SHADOW = "lead", "beside", "shadow"
ALIASES = ("champion", "challenger")  # what may move; the registry's names of them
LINEUP = "lineup.json"
FETCH_SECONDS = 900.0  # to ask the registry and to fetch a version's files


@dataclass(frozen=True)
class Asked:
    """A model that the server is asked to hold.

    name: what requests call it: a version's number or alias, MODEL/VERSION, MODEL@ALIAS, or a published encoder
    role: LEAD answers; BESIDE answers where a request names it; SHADOW hears the same recordings afterwards
    model: of which a number or an alias is meant
    """

    name: str
    role: str
    model: str


@dataclass(frozen=True)
class Slot:
    """A version in its place.

    name, role: as asked
    model, version: of the registry
    folder: of its files
    """

    name: str
    role: str
    model: str
    version: str
    folder: str


def address(asked: Asked) -> tuple[str, str]:
    """The model and the version or alias that are meant.

    >>> address(Asked("challenger", BESIDE, "tagscale-tagger")), address(Asked("other@champion", BESIDE, ""))
    (('tagscale-tagger', 'challenger'), ('other', 'champion'))
    """
    model, _, version = asked.name.replace("@", "/").rpartition("/")
    return model or asked.model, version


class State:
    """The server's folder: versions, what is loaded, uploads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: dict[Path, tuple[int, Any]] = {}

    @cached_property
    def uploads(self) -> Path:
        folder = self.folder / "uploads"
        folder.mkdir(exist_ok=True)
        return folder

    def slots(self) -> list[Slot]:
        return [Slot(**slot) for slot in self._read(self.folder / LINEUP) or ()]

    def set_slots(self, slots: Sequence[Slot]) -> None:
        write_json(self.folder / LINEUP, [asdict(slot) for slot in slots], durable=False)

    def loaded(self) -> list[dict[str, Any]]:
        """What the processes that hold models say of them, the lead first; empty until the lead is loaded."""
        read = [self._read(file) for file in self.folder.glob("loaded-*.json")]
        models = [model for process in read if process for model in process["models"]]
        order = {role: place for place, role in enumerate((LEAD, BESIDE, SHADOW))}
        models.sort(key=lambda model: order[model["role"]])
        return models if models and models[0]["role"] == LEAD else []

    def set_loaded(self, process: str, models: Sequence[dict[str, Any]]) -> None:
        content = {"process": os.getpid(), "models": list(models)}
        write_json(self.folder / f"loaded-{process}.json", content, durable=False)

    def process(self, name: str) -> int | None:
        """The number of the process that holds models under this name; None before it has loaded them."""
        content = self._read(self.folder / f"loaded-{name}.json")
        return content["process"] if content else None

    def _read(self, file: Path) -> Any:
        """A file's content, read again when the file is another."""
        with suppress(OSError):
            changed = file.stat().st_mtime_ns
            if self.seen.get(file, (0, None))[0] != changed:
                self.seen[file] = changed, read_json(file)
            return self.seen[file][1]
        return None


def fetch(task: tuple[Sequence[Asked], str]) -> list[Slot | TagscaleError]:
    """Find the versions in the registry and fetch their files, unless they are there; in a process with MLflow.

    Args:
        task: what is asked for, and the folder of the server
    Returns:
        a slot each, or why there is none
    """
    asked, folder = task
    return [_slot_or_error(one, Path(folder)) for one in asked]


def _slot_or_error(asked: Asked, folder: Path) -> Slot | TagscaleError:
    try:
        return _slot(asked, folder)
    except TagscaleError as error:
        return error


def _slot(asked: Asked, folder: Path) -> Slot:
    if is_published(asked.name):
        from tagscale.registry.published import RELEASED, published_tagger

        place = folder / f"{asked.name}-{RELEASED}"
        if not place.exists():
            published_tagger(asked.name).save(place)
        return Slot(asked.name, asked.role, asked.name, RELEASED, str(place))
    from tagscale.registry.versions import Registry
    from tagscale.tracking.versions import version_files

    model, which = address(asked)
    registry = Registry.open(model)
    version = registry.version(which)
    place = folder / f"{version.name}-{version.number}"
    if not place.exists():
        with replacing(place) as fresh:
            fresh.mkdir()
            files = version_files(registry.client, version.name, version.number, fresh)
            (fresh / "files").write_text(str(files.relative_to(fresh) if files.is_relative_to(fresh) else files))
    files = place / (place / "files").read_text()
    return Slot(asked.name, asked.role, version.name, version.number, str(files))


class Follower:
    """Asks the registry, in a process of its own, which ends where nothing is to be followed.

    Args:
        asked: all models of the server
        seconds: between two looks at the registry; 0: never
        say: takes a line for the log
    """

    def __init__(self, asked: Sequence[Asked], state: State, seconds: float, say: Callable[[str], None]) -> None:
        self.asked, self.state, self.say = list(asked), state, say
        self.seconds = seconds if any(address(one)[1] in ALIASES for one in asked) else 0
        self.crew = Crew(fetch, 1)
        self.ended = threading.Event()

    def begin(self) -> None:
        """Fetch all versions. Raises TagscaleError where one is missing."""
        answers = self._fetch()
        for answer in answers:
            if isinstance(answer, TagscaleError):
                raise answer
        self.state.set_slots([answer for answer in answers if isinstance(answer, Slot)])
        if self.seconds:
            threading.Thread(target=self._follow, daemon=True, name="follow").start()
        else:
            self.crew.stop()

    def stop(self) -> None:
        self.ended.set()
        self.crew.stop()

    def _fetch(self) -> list[Slot | TagscaleError]:
        answers: list[Slot | TagscaleError] | Lost = self.crew.ask((self.asked, str(self.state.folder)), FETCH_SECONDS)
        if isinstance(answers, Lost):
            raise TagscaleError("The registry could not be asked: the process that does so ended or hung.")
        return answers

    def _follow(self) -> None:
        """Take up what has moved; where the registry cannot tell, the present version stays."""
        logged = set[str]()
        while not self.ended.wait(self.seconds):
            present = self.state.slots()
            try:
                answers = self._fetch()
            except Exception as error:
                answers = [TagscaleError(str(error))] * len(present)
            if self.ended.is_set():
                return
            troubles = {str(answer) for answer in answers if isinstance(answer, TagscaleError)}
            for trouble in sorted(troubles - logged):
                self.say(f"the present version stays: {trouble}")
            logged = troubles
            slots = [old if isinstance(new, TagscaleError) else new for old, new in zip(present, answers, strict=True)]
            for old, new in zip(present, slots, strict=True):
                if old != new:
                    self.say(f"{new.name}: {new.model}/{new.version} takes the place of {old.model}/{old.version}")
            if slots != present:
                self.state.set_slots(slots)
