"""Scorers: whatever gives a recording a score per tag, be it a network, trees on descriptors, or the mean of several.

A scorer is a folder: scorer.json says its kind, and the files beside it are that kind's own. Loading one reads weights
and JSON, and executes nothing. A kind imports its libraries only when one of it is loaded, so a packaged model needs
those of its own kind alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, write_json
from tagscale.store.read import Store

FILE, FORMAT = "scorer.json", 1
COMMAND = "tagscale register"  # writes the folder again
# kind -> its module in this folder, and the class there
KINDS = {
    "network": ("network", "NetworkScorer"),
    "trees": ("trees", "TreesScorer"),
    "mean": ("mean", "MeanScorer"),
    "ensemble": ("ensemble", "EnsembleScorer"),
}
OLDER = {"kind": "network"}  # a packaged model without scorer.json: its settings stand in listening.json


class Scorer(ABC):
    """A score in [0, 1] per tag, for recordings of any length.

    Attributes:
        kind: key of `KINDS`
        needs: packages that this kind needs beside those of every tagger
        shorter: what it does with a recording that is shorter than `seconds`
        tags, kinds: the outputs, in order; kinds are classification | regression
        seconds: the shortest recording that it hears as it is
    """

    kind: ClassVar[str]
    needs: tuple[str, ...]
    shorter: str
    tags: tuple[str, ...]
    kinds: tuple[str, ...]

    @property
    @abstractmethod
    def seconds(self) -> float: ...

    @abstractmethod
    def scores(self, samples: np.ndarray) -> np.ndarray:
        """Scores of one recording: float32 (tags,), in [0, 1].

        Args:
            samples: (n,) mono, 16 kHz; int16, or floats in [-1, 1]
        Raises:
            TagscaleError: no samples, or floats that are not numbers.
        """

    @abstractmethod
    def predict(self, store: Store, tracks: Sequence[str]) -> pd.DataFrame:
        """Scores of tracks of a store: index track_id in the given order, one float32 column a tag."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What scorer.json says beside format and kind."""

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Add the files of this kind to a folder; equal scorers give equal bytes."""

    @classmethod
    @abstractmethod
    def read(cls, folder: Path, facts: Mapping[str, Any]) -> "Scorer":
        """Read what `write` wrote; `facts` are the content of scorer.json."""

    @classmethod
    def joined(cls, members: Sequence["Scorer"], weights: Sequence[float]) -> "Scorer | None":
        """A scorer that gives the weighted mean of members of this kind for less than each of them costs; else None."""
        return None

    def save(self, folder: Path) -> None:
        """Add the scorer's files to a folder."""
        self.write(folder)
        write_json(folder / FILE, {"format": FORMAT, "kind": self.kind} | self.facts())


def load_scorer(folder: Path) -> Scorer:
    """The scorer that `save` wrote into a folder, or that an earlier tagscale packaged there.

    Raises:
        TagscaleError: a file is missing or damaged, or of a kind or format that this tagscale does not know.
    """
    file = Path(folder) / FILE
    try:
        facts = dict(read_json(file)) if file.exists() else OLDER | read_json(Path(folder) / "listening.json")
        kind, version = facts["kind"], facts.get("format", FORMAT)
        if version != FORMAT or kind not in KINDS:
            expected = f"format {FORMAT} and one of {', '.join(KINDS)}"
            raise TagscaleError(
                f"{file}: format {version!r} and kind {kind!r}, expected {expected}. A newer tagscale wrote it: "
                f"install that one, or run `{COMMAND}` again."
            )
        module, name = KINDS[kind]
        loaded: Scorer = getattr(import_module(f"{__name__}.{module}"), name).read(Path(folder), facts)
        return loaded
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TagscaleError(f"{file}: missing or damaged ({error!r}); register the run again.") from None
