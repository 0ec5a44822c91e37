"""An ensemble: models of any kind in one, by the weighted mean of their log-odds."""

from collections.abc import Iterable

import numpy as np

from tagscale.evaluation.selection import pool
from tagscale.registry.scorers.mean import MeanScorer


class EnsembleScorer(MeanScorer):
    """The members' scores pooled as `evaluation.selection.pool` says. Takes what a `MeanScorer` takes."""

    kind = "ensemble"

    @property
    def _joined(self) -> None:
        """Nothing: members that are joined give the mean of their scores, not of their log-odds."""

    def mean(self, scores: Iterable[np.ndarray]) -> np.ndarray:
        return pool(scores, self.weights, np.array(self.kinds) == "regression")
