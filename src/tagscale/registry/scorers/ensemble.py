"""An ensemble: models of any kind in one, by the weighted mean of their log-odds."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from tagscale.evaluation.selection import pool
from tagscale.registry.scorers import Scorer
from tagscale.registry.scorers.mean import MeanScorer
from tagscale.runtime.errors import TagscaleError


class EnsembleScorer(MeanScorer):
    """The members' scores pooled as `evaluation.selection.pool` says.

    Args:
        members: as a `MeanScorer` takes them
        weights: of each member, by kind of tags; not negative, in any scale
    Raises:
        TagscaleError: as a `MeanScorer`, or a kind of tags for which no member has a weight.
    """

    kind = "ensemble"

    def __init__(self, members: Mapping[str, Scorer], weights: Sequence[Mapping[str, float]]) -> None:
        super().__init__(members)
        self.by_kind = [dict(of_member) for of_member in weights]
        self.of_tags = np.array([[of_member.get(kind, 0) for kind in self.kinds] for of_member in weights], np.float64)
        positive = (self.of_tags >= 0).all() and (self.of_tags.sum(axis=0) > 0).all()
        if len(self.of_tags) != len(self.members) or not positive or not np.isfinite(self.of_tags).all():
            raise TagscaleError(
                f"An ensemble needs weights of its {len(self.members)} members for each kind of tags "
                f"({', '.join(dict.fromkeys(self.kinds))}), one above 0 at least; found {self.by_kind}."
            )
        self.weights = self.of_tags.mean(axis=1) / self.of_tags.mean(axis=1).sum()  # of the embeddings

    @property
    def _joined(self) -> None:
        """Nothing: members that are joined give the mean of their scores, not of their log-odds."""

    def mean(self, scores: Iterable[np.ndarray]) -> np.ndarray:
        return pool(scores, self.of_tags, np.array(self.kinds) == "regression")

    def facts(self) -> dict[str, Any]:
        members = zip(self.members, self.by_kind, strict=True)
        return {"members": [{"name": name, "weights": weights} for name, weights in members]}

    @classmethod
    def read(cls, folder: Path, facts: Mapping[str, Any]) -> Self:
        return cls(cls._members(folder, facts), [one["weights"] for one in facts["members"]])
