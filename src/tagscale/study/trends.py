"""What a study says of the training size: which of two models is better at which number of tracks, in words.

What was measured comes first: who leads at each size, by the rule by which two scores are level everywhere. Fitted laws
(laws.py) add what lies between and beyond the sizes, in ranges, never in one number. They are silent where they do not
describe the runs, where a measured score is on the other side, and beyond twice the largest size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Literal

import numpy as np
import pandas as pd

from tagscale.evaluation.bootstrap import FEWEST_ARTISTS, effective_artists, standard_error
from tagscale.evaluation.metrics import METRICS, Metric, shown_in
from tagscale.models.spec import label_of
from tagscale.runtime.words import at_start, listed
from tagscale.study.grid import Study
from tagscale.study.laws import FEWEST, REACH, Laws, Outlook, ends, fit, misfit, outlook, settled

Scale = Literal["linear", "log"]


def line_scale(train_tracks: Sequence[float]) -> Scale:
    """The axis on which the study's sizes are spaced more evenly: the paper's sizes on tracks, doublings on their log.

    >>> line_scale([100_000, 500_000, 1_000_000]), line_scale([100, 200, 400, 800])
    ('linear', 'log')
    """
    sizes = np.unique(np.asarray(train_tracks, dtype=float))
    if len(sizes) < 3:
        return "linear"

    def unevenness(positions: np.ndarray) -> float:
        steps = np.diff(positions)
        return float(steps.std() / steps.mean())

    return "log" if unevenness(np.log10(sizes)) < unevenness(sizes) else "linear"


@dataclass(frozen=True)
class Scored:
    """Some models' test scores over the training size, means over seeds; higher is better, so errors are negative.

    sizes: their names, in the order of the tracks
    tracks: (sizes,)
    scores: (models, sizes)
    resamples: (resamples, models, sizes), of artists and seeds; none where the results have no intervals
    artists: of the test part; fewer where few seeds tell the spread (`bootstrap.effective_artists`)
    """

    sizes: list[str]
    tracks: np.ndarray
    scores: np.ndarray
    resamples: np.ndarray
    artists: float

    @property
    def intervals(self) -> bool:
        """Whether the scores have intervals."""
        return len(self.resamples) > 0 and self.artists >= FEWEST_ARTISTS


def scored(study: Study, models: Sequence[str], metric: Metric) -> Scored:
    """The sizes at which all these models have a score."""
    tracks = study.runs.groupby("size")["train_tracks"].max().sort_values(kind="stable").drop_duplicates()
    scores = {str(size): study.scores(metric.key, str(size))[list(models)].to_numpy(float) for size in tracks.index}
    sizes = [size for size, values in scores.items() if not np.isnan(values).any()]
    shape = (0, len(models), len(sizes))
    rows = [study.rows(metric.key, size)[list(models)].to_numpy(float) for size in sizes]
    resamples = np.stack(rows, axis=-1) if rows else np.zeros(shape)
    return Scored(
        sizes,
        tracks[sizes].to_numpy(float),
        metric.sign * np.stack([scores[size] for size in sizes], axis=-1) if sizes else np.zeros(shape[1:]),
        metric.sign * resamples[~np.isnan(resamples).any(axis=(1, 2))],
        _artists(study, models, metric, sizes, resamples),
    )


def _artists(study: Study, models: Sequence[str], metric: Metric, sizes: Sequence[str], resamples: np.ndarray) -> float:
    """As many artists tell the scores as surely as artists and seeds do: the fewest of any model and size."""
    if not study.intervals or not sizes:
        return float(study.artists)
    errors = standard_error(np.moveaxis(resamples, 0, -1), study.artists)  # (models, sizes)
    return min(
        effective_artists(float(errors[m, s]), study.artists, [study.of_seeds(metric.key, size, model)])
        for m, model in enumerate(models)
        for s, size in enumerate(sizes)
    )


def points(study: Study) -> pd.DataFrame:
    """A row a run: model, size, seed, train_tracks, its test metrics, and the ends of the interval of each mean."""
    ends = {f"test_{metric}_{end}": f"{metric}_{end}" for metric in METRICS for end in ("low", "high")}
    cells = study.comparison[["model", "size", *ends]].rename(columns=ends)
    runs = study.runs.rename(columns={f"test_{metric}": metric for metric in METRICS})
    return runs[["model", "size", "seed", "train_tracks", *METRICS]].merge(cells, on=["model", "size"], how="left")


@dataclass(frozen=True)
class FittedLaw:
    """A model's law over the training size, and those of the resamples.

    sign: turns them to the metric's direction
    bounds: of the metric, at which they end
    """

    law: Laws
    resampled: Laws
    sign: int
    confidence: float
    artists: float
    bounds: tuple[float, float]

    def at(self, tracks: np.ndarray) -> np.ndarray:
        """The metric after so many training tracks: (sizes,) -> (sizes,)."""
        return np.clip(self.sign * self.law.at(tracks), *self.bounds)

    def band(self, tracks: np.ndarray) -> np.ndarray:
        """The ends of its interval at so many training tracks: (sizes,) -> (2, sizes)."""
        both = self.sign * ends(self.resampled.at(tracks), self.confidence, self.artists)
        return np.clip(np.sort(both, axis=0), *self.bounds)


def fitted_law(study: Study, model: str, metric: Metric) -> FittedLaw | None:
    """The law through a model's scores; None with fewer than three sizes, without intervals, or where it is refuted."""
    runs = scored(study, [model], metric)
    if len(runs.sizes) < FEWEST or not runs.intervals:
        return None
    scores, resamples = runs.scores[0], runs.resamples[:, 0]
    law, resampled = fit(scores, runs.tracks), fit(resamples, runs.tracks)
    if misfit(scores, resamples, law.at(runs.tracks), resampled.at(runs.tracks)) < 1 - study.confidence:
        return None
    return FittedLaw(law, resampled, metric.sign, study.confidence, runs.artists, metric.bounds)


def trends(study: Study, models: Sequence[str]) -> list[str]:
    """Which of two models is better at which training size, a sentence a metric; nothing for fewer than two models."""
    if len(models) < 2:
        return []
    sizes = study.runs["train_tracks"].nunique()
    if sizes < FEWEST:
        return [f"No law over the training size is fitted: that takes {FEWEST} sizes, this study has {sizes}."]
    names, intervals = (models[0], models[1]), False
    sentences = []
    for metric in shown_in("scores"):
        runs = scored(study, names, metric)
        if len(runs.sizes) < FEWEST:
            continue
        spans, intervals = None, intervals or runs.intervals
        if runs.intervals:
            spans = settled(runs.scores, runs.resamples, runs.tracks, study.confidence, runs.artists)
        leads = _leads(study, names, metric, runs)
        course = outlook(runs.scores[0] - runs.scores[1], leads, runs.tracks, spans)
        words = [_measured(leads, runs.tracks, names, runs.intervals)]
        if runs.intervals or len(course.leaders) > 1:
            words.append(_between(course, runs.tracks, names, study.confidence))
        sentences.append(f"{metric.label}: {' '.join(words)}")
    return [*sentences, _basis(study, intervals)] if sentences else []


def _leads(study: Study, names: tuple[str, str], metric: Metric, runs: Scored) -> np.ndarray:
    """(sizes,): 1 where the first model leads, -1 where the second does, 0 where they are level."""
    apart = [not study.level(*names, metric.key, size) for size in runs.sizes]
    return np.where(apart, np.sign(runs.scores[0] - runs.scores[1]), 0).astype(int)


def _measured(leads: np.ndarray, tracks: np.ndarray, names: tuple[str, str], certain: bool) -> str:
    """Who leads at which measured size; a model that never leads is named beside the one that does."""
    verb, rest = ("is better", " than") if certain else ("is ahead", " of")
    both = {1, -1} <= set(leads.tolist())
    clauses = [
        f"{label_of(name)} {verb}{'' if both else f'{rest} {label_of(other)}'} at {_sizes(tracks[leads == lead])}"
        for lead, name, other in ((1, *names), (-1, *names[::-1]))
        if (leads == lead).any()
    ]
    if (leads == 0).all():
        return f"{label_of(names[0])} and {label_of(names[1])} are level at {_sizes(tracks)}."
    if (leads == 0).any():
        clauses.append(f"they are level at {_sizes(tracks[leads == 0])}")
    return f"{listed(clauses)}."


def _between(course: Outlook, tracks: np.ndarray, names: tuple[str, str], confidence: float) -> str:
    """What the laws add to the measured leads."""
    name = {1: label_of(names[0]), -1: label_of(names[1])}
    smallest, largest = tracks[0], tracks[-1]
    if len(course.leaders) > 2:
        return "No single crossing describes these runs."
    if len(course.leaders) == 2:
        before, after = (name[leader] for leader in course.leaders)
        by_laws = f"between {_down(course.low)} and {_up(course.high)} tracks ({confidence:.0%}, by the fitted laws)"
        if course.measured is None:
            beyond = ", beyond the sizes of this study" if course.low >= largest else ""
            return f"{at_start(after)} overtakes {before} {by_laws}{beyond}."
        ends = f"{course.measured[0]:,.0f} and {course.measured[1]:,.0f} tracks"
        narrower = f", {by_laws}" if course.low > course.measured[0] or course.high < course.measured[1] else ""
        return f"{at_start(after)} overtakes {before} between {ends}{narrower}."
    if not course.lawful:
        return "No fitted law describes these runs, so nothing is said of other sizes."
    if np.isnan(course.low):
        return "Which of the two is better at other sizes is not settled."
    leader, other = name[course.leaders[0]], name[-course.leaders[0]]
    if course.low <= smallest and course.high >= largest:
        further = f", nor by the fitted laws up to {REACH * largest:,.0f}" if course.high >= REACH * largest else ""
        return f"No overtaking is in sight up to {largest:,.0f} tracks{further}."
    if course.low <= smallest:
        where, rest = f"up to {_down(course.high)} tracks", f"whether {other} overtakes it beyond is"
    elif course.high >= largest:
        where, rest = f"from {_up(course.low)} tracks on", "which of the two is better below is"
    else:
        where, rest = (
            f"between {_up(course.low)} and {_down(course.high)} tracks",
            "which of the two is better elsewhere is",
        )
    return f"By the fitted laws {leader} is better {where} ({confidence:.0%}); {rest} not settled."


def _basis(study: Study, intervals: bool) -> str:
    """What these sentences rest on."""
    seeds = len(study.seeds)
    if not intervals:
        return f"The scores have no intervals ({study.no_intervals}), so any of this may be chance."
    law = "A fitted law is score = limit - rise · tracks^-exponent"
    if seeds == 1:
        return (
            f"{law}. Ranges are for other test artists; each cell was trained once, so random starts are not in them."
        )
    return f"{law}. Ranges are for other test artists and other random starts ({seeds} seeds)."


def _sizes(tracks: np.ndarray) -> str:
    return f"{listed([f'{size:,.0f}' for size in tracks])} tracks"


def _down(tracks: float) -> str:
    """Two digits, rounded down: all that a law can bear.

    >>> _down(1931.0), _up(1931.0), _down(640.0)
    ('1,900', '2,000', '640')
    """
    return f"{_two_digits(tracks, floor):,.0f}"


def _up(tracks: float) -> str:
    """Two digits, rounded up."""
    return f"{_two_digits(tracks, ceil):,.0f}"


def _two_digits(tracks: float, towards: Callable[[float], int]) -> float:
    step = 10 ** max(floor(log10(tracks)) - 1, 0)
    return float(towards(tracks / step)) * step
