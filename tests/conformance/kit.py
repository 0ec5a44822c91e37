"""What the software around tagscale does with our manifests, pipelines and commands, as checks that need no cluster.

A rule is written after upstream's source, in the version that it names, and reads what a user installs: the rendered
overlays, the compiled pipelines, the commands in docs. Each rule comes with faults that tagscale has had or could have.
A copy with such a fault is checked, and the rule must name it. The modules of `rules/` hold both, a topic each.
"""

import copy
import importlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml
from k8s.render import Resource, render

from tagscale.params.load import Params, load

ROOT = Path(__file__).parents[2]
UPSTREAM = Path(__file__).parent / "upstream"
RULES_FOLDER = Path(__file__).parent / "rules"
PIPELINES = ("data", "retrain", "study", "tag", "training", "watch")
COPIED = ("k8s", "docs", "Makefile", "params.yaml", "README.md")


@cache
def compiled() -> dict[str, list[dict[str, Any]]]:
    golden = ROOT / "tests" / "pipelines" / "golden"
    return {
        name: list(yaml.load_all((golden / f"{name}.yaml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))
        for name in PIPELINES
    }


@dataclass
class Installation:
    """What a user installs: a copy of the files, which a fault may change, and the compiled pipelines.

    Attributes:
        folder: k8s/, docs/, Makefile, params.yaml and README.md
        like: what this is a copy of; its overlays are taken from there until a file of k8s/ is another one
    """

    folder: Path
    like: "Installation | None" = None
    _rendered: dict[str, list[Resource]] = field(default_factory=dict)

    @classmethod
    def copied(cls, folder: Path, like: "Installation | None" = None) -> "Installation":
        """A copy in an empty folder, whose overlays an untouched installation `like` renders for it."""
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
            else:
                shutil.copy(ROOT / name, folder / name)
        return cls(folder, like=like)

    @cached_property
    def pipelines(self) -> dict[str, list[dict[str, Any]]]:
        """Of each name the specification and, where it has one, that of the platform."""
        return copy.deepcopy(compiled())

    @property
    def overlays(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "k8s" / "overlays").iterdir() if path.is_dir())

    @property
    def params(self) -> Params:
        return load(self.folder / "params.yaml")

    def overlay(self, name: str) -> list[Resource]:
        """The resources of an overlay, rendered once."""
        if self.like is not None:
            return self.like.overlay(name)
        if name not in self._rendered:
            self._rendered[name] = render(self.folder / "k8s" / "overlays" / name)
        return self._rendered[name]

    def text(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8")

    def replace(self, path: str, old: str, new: str) -> None:
        """Put one text in place of another; the old one must be there."""
        text = self.text(path)
        assert old in text, f"{path} has no `{old}`: the planted fault is out of date"
        (self.folder / path).write_text(text.replace(old, new, 1), encoding="utf-8")
        if path.startswith("k8s/"):
            self.like = None
            self._rendered.clear()


@dataclass(frozen=True)
class Rule:
    """A check.

    Attributes:
        name: what holds, in a few words
        upstream: whose source the rule is written after: project, version, file
        check: yields a message for each fault
    """

    name: str
    upstream: str
    check: Callable[[Installation], Iterable[str]]


@dataclass(frozen=True)
class Planted:
    """A fault that a rule has to name.

    Attributes:
        fault: what is wrong, in a few words
        plant: makes it
        message: part of what the rule says of it
    """

    fault: str
    rule: Rule
    plant: Callable[[Installation], None]
    message: str


@dataclass(frozen=True)
class Elsewhere:
    """A fault that a test outside the kit plants.

    Attributes:
        test: file and function, as pytest names them
    """

    fault: str
    upstream: str
    test: str


def topics() -> Iterator[Any]:
    """The modules of `rules/`; each has RULES and PLANTED, and may have ELSEWHERE."""
    for file in sorted(RULES_FOLDER.glob("[a-z]*.py")):
        yield importlib.import_module(f"conformance.rules.{file.stem}")


def rules() -> list[Rule]:
    return [rule for topic in topics() for rule in topic.RULES]


def planted() -> list[Planted]:
    return [fault for topic in topics() for fault in topic.PLANTED]


def elsewhere() -> list[Elsewhere]:
    return [fault for topic in topics() for fault in getattr(topic, "ELSEWHERE", ())]
