"""Decisions from scores: for every classification tag a calibrated probability, and the score from which it is decided.

Scores rank tracks; they do not say how often a tag is true. A tag's calibration maps its scores to probabilities. It is
strictly monotone, so that no ranking of tracks changes. `calibration.py` learns both on the validation part; here they
are kept, read and applied. A packaged model carries them as plain numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field, model_validator

from tagscale.runtime.block import Block

DECISIONS = "decisions.json"  # the file that holds them, in a run's results and in a packaged model
TINY = 1e-6  # keeps the logit of scores 0 and 1 finite, and strictly monotone


def logit(scores: np.ndarray) -> np.ndarray:
    """Log odds of scores in [0, 1]; finite, and strictly monotone over all of them."""
    scores = np.asarray(scores, np.float64)
    return np.asarray(np.log((scores + TINY) / (1 - scores + TINY)))


class Sigmoid(Block):
    """probability = sigmoid(slope * logit(score) + offset).

    Source: Platt 1999, "Probabilistic outputs for support vector machines".
    """

    slope: float = Field(gt=0)
    offset: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-(self.slope * logit(scores) + self.offset))))


class Steps(Block):
    """Straight lines between knots, both lists strictly increasing, scores from 0 to 1."""

    scores: list[float] = Field(min_length=2)
    probabilities: list[float] = Field(min_length=2)

    @model_validator(mode="after")
    def knots_increase(self) -> "Steps":
        if len(self.scores) != len(self.probabilities):
            raise ValueError(f"{len(self.scores)} scores, but {len(self.probabilities)} probabilities")
        if min(np.diff(self.scores).min(), np.diff(self.probabilities).min()) <= 0:
            raise ValueError("expected scores and probabilities that increase strictly")
        return self

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return np.asarray(np.interp(np.asarray(scores, np.float64), self.scores, self.probabilities))


class TagDecision(Block):
    """One tag's calibration, its threshold, and the validation tracks that both were learned from.

    threshold: the least score that is decided; None: no score is, as where no threshold reaches the wanted precision
    positives, tracks: of the validation part, annotated with the tag
    """

    calibration: Sigmoid | Steps
    threshold: float | None = Field(ge=0, le=1)
    positives: int = Field(ge=0)
    tracks: int = Field(ge=0)

    def decided(self, scores: np.ndarray) -> np.ndarray:
        """Whether each score is decided; bool, of the shape of `scores`."""
        scores = np.asarray(scores, np.float64)
        return np.zeros(scores.shape, bool) if self.threshold is None else scores >= self.threshold


OfTags = Sequence[TagDecision | None]  # of tags in their order; None for a regression tag
OfFolds = Mapping[int, OfTags]  # by the number of a fold, whose tracks they were learned without


@dataclass(frozen=True)
class Decided:
    """What is said of one tag of one recording, beside its score."""

    probability: float
    threshold: float | None
    decided: bool


class Decisions(Block):
    """The decisions of all classification tags of one model, by tag."""

    tags: dict[str, TagDecision]

    def of(self, tags: Sequence[str]) -> OfTags:
        """The decision of each of these tags; None for a regression tag."""
        return [self.tags.get(tag) for tag in tags]

    def decide(self, scores: Mapping[str, float]) -> dict[str, Decided]:
        """What is decided of every tag that has a decision, from one recording's scores by tag."""
        return {
            tag: Decided(float(one.calibration(np.array(score))), one.threshold, bool(one.decided(np.array(score))))
            for tag, score in scores.items()
            if (one := self.tags.get(tag))
        }


def decide(
    scores: np.ndarray, decisions: OfTags | OfFolds | None, fold: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and decided tags, both (tracks, tags).

    A tag without a decision keeps its scores as probabilities and is decided from 0.5.

    Args:
        decisions: of all tracks; or by the number of a fold, of its tracks
        fold: (tracks,), the number of each track's fold
    Shape:
        scores: (tracks, tags) in [0, 1]

    >>> decide(np.array([[0.2, 0.7]]), None)
    (array([[0.2, 0.7]]), array([[False,  True]]))
    """
    probabilities, decided = np.array(scores, np.float64), np.asarray(scores, np.float64) >= 0.5
    if isinstance(decisions, Mapping):
        for number, of_fold in decisions.items():
            rows = fold == number
            probabilities[rows], decided[rows] = decide(scores[rows], of_fold)
        return probabilities, decided
    for tag, decision in enumerate(decisions or ()):
        if decision is not None:
            probabilities[:, tag] = decision.calibration(scores[:, tag])
            decided[:, tag] = decision.decided(scores[:, tag])
    return probabilities, decided
