"""The weighted mean of several scorers of any kind, as the models of a study's folds."""

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from tagscale.registry.scorers import Heard, Scorer, Span, load_scorer
from tagscale.runtime.errors import TagscaleError
from tagscale.store.read import Store


class MeanScorer(Scorer):
    """The weighted mean of its members' scores.

    An embedding holds those of the members side by side, each of the length of the root of its weight. So the cosine
    of two embeddings is the weighted mean of the members' cosines. A member that gives no embedding is left out, and
    probes on one encoder give what it gives.

    Args:
        members: name -> scorer, all of the same tags and kinds in the same order
        weights: (members,) positive, in any scale; None: all alike
    Raises:
        TagscaleError: no members, members that differ in their tags, or weights that are not positive.
    """

    kind = "mean"

    def __init__(self, members: Mapping[str, Scorer], weights: Sequence[float] | None = None) -> None:
        self.members = dict(members)
        total = np.array(weights if weights is not None else [1.0] * len(members), np.float64)
        if not members or len(total) != len(members) or not (total > 0).all() or not np.isfinite(total).all():
            raise TagscaleError(
                f"A mean of scorers needs members, each with a weight above 0; found {len(members)} members with the "
                f"weights {total.tolist()}."
            )
        self.weights = total / total.sum()
        first, *others = self.members.values()
        for name, other in zip(list(self.members)[1:], others, strict=True):
            if (other.tags, other.kinds) != (first.tags, first.kinds):
                raise TagscaleError(f"A mean of scorers needs the same tags in all; {name} has others.")
        self.tags, self.kinds = first.tags, first.kinds
        self.needs = tuple(dict.fromkeys(package for member in self.members.values() for package in member.needs))
        self.shorter = self._longest.shorter

    @property
    def _longest(self) -> Scorer:
        return max(self.members.values(), key=lambda member: member.seconds)

    @property
    def seconds(self) -> float:
        return self._longest.seconds

    @cached_property
    def _joined(self) -> Scorer | None:
        members = list(self.members.values())
        kind = type(members[0])
        alike = all(type(member) is kind for member in members)
        return kind.joined(members, self.weights.tolist()) if alike else None

    @property
    def raster(self) -> tuple[float, float] | None:
        """That of all members that have one; None where they differ."""
        rasters = {member.raster for member in self.members.values() if member.raster}
        return rasters.pop() if len(rasters) == 1 else None

    @property
    def excerpts(self) -> tuple[float, float]:
        """The longest of the members, on the raster: so each window of theirs is one that the whole recording has."""
        length, step = max(member.excerpts for member in self.members.values())
        if self.raster is None:
            return length, step
        window, hop = self.raster
        more = math.ceil(round((length - window) / hop, 6))
        return window + more * hop, max(1, round(step / hop)) * hop

    @property
    def dims(self) -> int:
        return self._joined.dims if self._joined else sum(member.dims for member in self.members.values())

    def hear(self, recordings: Sequence[np.ndarray], embed: bool = False) -> Heard:
        if self._joined:
            return self._joined.hear(recordings, embed)
        return self._pooled([member.hear(recordings, embed and bool(member.dims)) for member in self.members.values()])

    def listen(
        self, samples: np.ndarray, spans: Sequence[Span], embed: bool = False, turn_seconds: float = math.inf
    ) -> Generator[None, None, Heard]:
        if self._joined:
            return (yield from self._joined.listen(samples, spans, embed, turn_seconds))
        heard = list[Heard]()
        for member in self.members.values():
            heard.append((yield from member.listen(samples, spans, embed and bool(member.dims), turn_seconds)))
        return self._pooled(heard)

    def _pooled(self, heard: Sequence[Heard]) -> Heard:
        """Scores and embeddings of the whole, by those of the members."""
        scores = self.mean(scores for scores, _ in heard)
        weights = zip(np.sqrt(self.weights, dtype=np.float32), heard, strict=True)
        parts = [length * _unit(part) for length, (_, part) in weights if isinstance(part, np.ndarray)]
        return scores, np.hstack(parts) if parts else [None] * len(scores)

    def predict(self, store: Store, tracks: Sequence[str]) -> pd.DataFrame:
        scores = self.mean(member.predict(store, tracks).to_numpy() for member in self.members.values())
        return pd.DataFrame(scores, index=pd.Index(tracks, name="track_id"), columns=list(self.tags))

    def mean(self, scores: Iterable[np.ndarray]) -> np.ndarray:
        """The mean of the members' scores, (..., tags) float32 of arrays of this shape; summed in float64."""
        total = sum(weight * array.astype(np.float64) for weight, array in zip(self.weights, scores, strict=True))
        return np.asarray(total, np.float32)

    def facts(self) -> dict[str, Any]:
        members = zip(self.members, self.weights.tolist(), strict=True)
        return {"members": [{"name": name, "weight": weight} for name, weight in members]}

    def write(self, folder: Path) -> None:
        for number, member in enumerate(self.members.values(), 1):
            own = _folder(folder, number)
            own.mkdir()
            member.save(own)

    @classmethod
    def read(cls, folder: Path, facts: Mapping[str, Any]) -> Self:
        return cls(cls._members(folder, facts), [one["weight"] for one in facts["members"]])

    @staticmethod
    def _members(folder: Path, facts: Mapping[str, Any]) -> dict[str, Scorer]:
        return {one["name"]: load_scorer(_folder(folder, number)) for number, one in enumerate(facts["members"], 1)}


def _unit(embeddings: np.ndarray) -> np.ndarray:
    """(recordings, dims) of length 1 each; zeros stay zeros."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.divide(embeddings, lengths, out=np.zeros_like(embeddings), where=lengths > 0)


def _folder(folder: Path, number: int) -> Path:
    return folder / f"member-{number}"
