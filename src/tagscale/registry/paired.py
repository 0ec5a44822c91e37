"""The difference of two models on the same tracks, and its error: by leaving out one artist after another.

The error is the standard deviation by the delete-one jackknife over artists. On average it is too large rather than too
small (Efron and Stein 1981, "The jackknife estimate of variance"), as a bound that holds in all but two cases of a
thousand needs it. The standard deviation of bootstrap resamples is smaller: it shows more, and leaves less in reserve
(benchmarks/results/gate.md). Of very many artists, groups are left out in place of single ones (Shao and Tu 1995, "The
jackknife and bootstrap").

A tag whose positives, or negatives, are all by one artist has no value without that artist, and a mean over tags would
jump there from one set of tags to another. Such a tag is left out of both means throughout (`Paired.lone`), but for
`Paired.in_table`, whose values are those of the report.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import nctdtr, stdtrit

from tagscale.catalog.tables import Catalog
from tagscale.evaluation.bootstrap import Draw, Resampled, one_sided, resampled_metrics
from tagscale.evaluation.decisions import OfFolds, OfTags
from tagscale.evaluation.metrics import KINDS, METRICS, main_metric
from tagscale.partition.divide import Partition

MOST_ARTISTS, GROUPS = 400, 200  # of more artists, so many groups are left out
CONFIDENCE = 0.95  # of the intervals that people see; the gate's own level is that of a look


@dataclass(frozen=True)
class Gap:
    """How much better one model is than another, by one metric on the same tracks.

    candidate, other: the metric's values
    difference: positive where the candidate is better, whatever the metric's direction
    error: standard deviation of the difference, over artists
    degrees: of freedom of Student's t
    """

    metric: str
    candidate: float
    other: float
    difference: float
    error: float
    degrees: int

    def p(self, limit: float = 0.0) -> float:
        """The chance of so large a difference, or a larger one, where the true one is `limit`: see `one_sided`."""
        return one_sided(self.difference - limit, self.error, self.degrees + 1)

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Lower and upper end of the two-sided interval of the difference."""
        reach = float(stdtrit(self.degrees, (1 + confidence) / 2)) * self.error
        return self.difference - reach, self.difference + reach

    def record(self) -> dict[str, Any]:
        """For JSON."""
        low, high = self.interval()
        numbers = {"candidate": self.candidate, "other": self.other, "difference": self.difference}
        numbers |= {"error": self.error, "low": low, "high": high}
        return {"metric": self.metric, "degrees": self.degrees} | {
            key: round(value, 6) for key, value in numbers.items()
        }


def power(gain: float, error: float, degrees: int, level: float) -> float:
    """The chance that a true gain passes a one-sided t test at a level, where a difference has this error.

    >>> round(power(gain=0.0, error=0.01, degrees=19, level=0.05), 6)
    0.05
    """
    return float(1 - nctdtr(degrees, gain / error, -stdtrit(degrees, level)))


@dataclass(frozen=True)
class Tracks:
    """The tracks of a part, on which models are compared.

    Shape:
        labels: (tracks, tags) in [0, 1] or NaN
        groups, regression: (tags,)
        artist, fold: (tracks,), numbers from 0 up
    """

    labels: np.ndarray
    tags: Sequence[str]
    groups: Sequence[str]
    regression: np.ndarray
    artist: np.ndarray
    fold: np.ndarray

    @classmethod
    def of(cls, catalog: Catalog, parts: Partition, part: str, tags: Sequence[str]) -> "Tracks":
        """The tracks of valid or test, with some of the partition's tags."""
        tracks, about = parts.tracks(part), catalog.tags.loc[list(tags)]
        labels = catalog.labels.loc[tracks, list(tags)].to_numpy()
        regression = (about["kind"] == "regression").to_numpy()
        return cls(
            labels, list(tags), about["group"].tolist(), regression, parts.artist_of(tracks), parts.fold_of(tracks)
        )

    @property
    def artists(self) -> int:
        return int(self.artist.max(initial=-1)) + 1

    @cached_property
    def left_out(self) -> Draw:
        """The whole part, then the part without each artist, or without each group of them."""
        groups = self.artists if self.artists <= MOST_ARTISTS else GROUPS
        counts = np.ones((self.artists, 1 + groups), np.uint16)
        each = np.arange(self.artists)
        counts[each, 1 + each % groups] = 0
        return Draw(self.artist, counts)

    def score(self, scores: np.ndarray, decisions: OfTags | OfFolds | None) -> Resampled:
        """All metrics of the scores, (tracks, tags): first of the whole part, then without each artist."""
        return resampled_metrics(
            self.labels, scores, self.regression, self.left_out, decisions=decisions, fold=self.fold
        )


@dataclass(frozen=True)
class Paired:
    """A candidate and another model on the same tracks, both as `Tracks.score` gives them."""

    tracks: Tracks
    candidate: Resampled
    other: Resampled

    def overall(self, metric: str) -> Gap | None:
        """The difference in a metric over all tags; None where too few artists stand behind it."""
        entry = METRICS[metric]
        if entry.over in ("pairs", "tracks"):
            return _gap(metric, self.candidate.of_part[metric], self.other.of_part[metric])
        return self._mean(entry.of or metric, self._counted(metric))

    def in_table(self, metric: str) -> Gap | None:
        """`overall` with the lone tags in both values, as the report has them; the error is that of `overall`."""
        gap, entry = self.overall(metric), METRICS[metric]
        if gap is None or entry.over in ("pairs", "tracks"):
            return gap
        both = (self.candidate, self.other)
        values = np.array([one.values[entry.of or metric][self._counted(metric), 0] for one in both])
        candidate, other = values[:, ~np.isnan(values).any(axis=0)].mean(axis=1).tolist()
        return replace(gap, candidate=candidate, other=other, difference=entry.sign * (candidate - other))

    def _counted(self, metric: str) -> np.ndarray:
        """The tags that a metric is a mean over: (tags,) bool."""
        return self.candidate.frequent if METRICS[metric].of else np.ones(len(self.tracks.tags), bool)

    def among(self, metric: str, tags: Collection[str]) -> Gap | None:
        """The difference in the mean over some tags: in the metric where it is such a mean, else in their main one."""
        counted = np.isin(self.tracks.tags, list(tags))
        kinds = [KINDS[int(regression)] for regression in sorted(set(self.tracks.regression[counted].tolist()))]
        own = [kind for kind in kinds if METRICS[metric].over == "tags" and kind in METRICS[metric].kinds]
        if own or not kinds:
            return self._mean(metric, counted) if own else None
        return self._mean(main_metric(kinds[0]).key, counted)

    def groups(self, metric: str) -> dict[str, Gap]:
        """The difference in every group of tags that has one."""
        of_group = {
            group: [tag for tag, own in zip(self.tracks.tags, self.tracks.groups, strict=True) if own == group]
            for group in dict.fromkeys(self.tracks.groups)
        }
        gaps = {group: self.among(metric, tags) for group, tags in of_group.items()}
        return {group: gap for group, gap in gaps.items() if gap}

    def lone(self, metric: str) -> list[str]:
        """The tags that have a value, but none without one of the artists."""
        if METRICS[metric].over in ("pairs", "tracks"):
            return []
        values = self.candidate.values[METRICS[metric].of or metric]
        lost = ~np.isnan(values[:, 0]) & np.isnan(values).any(axis=1)
        return [tag for tag, left in zip(self.tracks.tags, lost, strict=True) if left]

    def _mean(self, metric: str, counted: np.ndarray) -> Gap | None:
        both = self.candidate.values[metric][counted], self.other.values[metric][counted]
        known = ~np.isnan(both).any(axis=(0, 2))
        return _gap(metric, *(values[known].mean(axis=0) for values in both)) if known.any() else None


def _gap(metric: str, candidate: np.ndarray, other: np.ndarray) -> Gap | None:
    """From the values of both models: (1 + left out,), the first of the whole part."""
    difference = METRICS[metric].sign * (candidate - other)
    without = difference[1:]
    if len(without) < 2 or np.isnan(difference).any():
        return None
    error = float(np.sqrt((len(without) - 1) * without.var()))
    return Gap(metric, float(candidate[0]), float(other[0]), float(difference[0]), error, len(without) - 1)
