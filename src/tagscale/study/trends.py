"""The lines over the training size, the paper's Figure 3: fitted, and what they say in words.

A straight line goes through every run's score over the number of training tracks, one for each front-end. It is
straight in tracks or in their logarithm, see `line_scale`.
Source: Pons et al. 2018, section 5.1, figure 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tagscale.evaluation.metrics import Metric, shown_in
from tagscale.models.spec import label_of
from tagscale.study.grid import Study

Scale = Literal["linear", "log"]
FAR = 10  # lines that meet beyond this many times the largest size are not worth a word


@dataclass(frozen=True)
class Line:
    """score = slope * position + intercept, where position is tracks (linear) or log10 of tracks (log)."""

    slope: float
    intercept: float
    scale: Scale
    points: int  # how many runs it rests on
    sizes: int  # how many different numbers of training tracks

    def at(self, tracks: float | np.ndarray) -> float | np.ndarray:
        return self.slope * _position(tracks, self.scale) + self.intercept


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


def fitted_line(study: Study, model: str, metric: str, part: str = "test") -> Line | None:
    """Least-squares line through all runs of a model; None with fewer than three different sizes (no line to speak of).

    Source: section 5.1, figure 3.
    """
    rows = study.runs[study.runs["model"] == model].dropna(subset=f"{part}_{metric}")
    sizes = rows["train_tracks"].nunique()
    if sizes < 3:
        return None
    scale = line_scale(study.runs["train_tracks"].to_list())
    positions = _position(rows["train_tracks"].to_numpy(float), scale)
    slope, intercept = np.polyfit(positions, rows[f"{part}_{metric}"].to_numpy(float), 1)
    return Line(float(slope), float(intercept), scale, len(rows), sizes)


def crossing(first: Line, second: Line) -> float | None:
    """The number of training tracks at which two lines of the same scale meet; None when they are parallel.

    >>> crossing(Line(2.0, 0.0, "linear", 3, 3), Line(1.0, 50.0, "linear", 3, 3))
    50.0
    """
    if np.isclose(first.slope, second.slope, rtol=1e-9, atol=0):
        return None
    position = (second.intercept - first.intercept) / (first.slope - second.slope)
    if first.scale == "linear":
        return float(position)
    return float(10.0**position) if position < 300 else None  # lines that are parallel for all purposes


def _position(tracks: float | np.ndarray, scale: Scale) -> float | np.ndarray:
    return np.log10(tracks) if scale == "log" else tracks


def trends(study: Study, models: Sequence[str]) -> list[str]:
    """Where the lines of two models over the training size meet, metric by metric; nothing for fewer than two."""
    if len(models) < 2:
        return []
    sizes = sorted(study.runs["train_tracks"].unique())
    if len(sizes) < 3:
        return [f"No line over the training size is fitted: that takes three sizes, this study has {len(sizes)}."]
    first, second = models
    sentences, basis = [], ""
    for metric in shown_in("scores"):
        lines = fitted_line(study, first, metric.key), fitted_line(study, second, metric.key)
        if lines[0] is not None and lines[1] is not None:
            sentence = _crossing(metric, (first, second), (lines[0], lines[1]), sizes[0], sizes[-1])
            sentences.append(sentence + _contradiction(study, metric, (first, second), (lines[0], lines[1]), sizes[-1]))
            basis = f"Each line rests on {lines[0].points} runs at {lines[0].sizes} sizes: a hint at a trend, no proof."
    return [*sentences, basis] if sentences else []


def _crossing(metric: Metric, names: tuple[str, str], lines: tuple[Line, Line], smallest: float, largest: float) -> str:
    below = names[0] if metric.sign * (lines[0].at(smallest) - lines[1].at(smallest)) > 0 else names[1]
    above = names[1] if below == names[0] else names[0]
    meeting = crossing(*lines)
    if meeting is not None and smallest <= meeting <= largest:
        return (
            f"{metric.label}: the fitted lines cross near {_rough(meeting)} training tracks; "
            f"{label_of(below)} is better below, {label_of(above)} above."
        )
    sentence = f"{metric.label}: the fitted lines do not cross between {smallest:,} and {largest:,} training tracks"
    if meeting is not None and largest < meeting <= FAR * largest:
        sentence += f"; drawn on they would meet near {_rough(meeting)}, where nothing was measured"
    return f"{sentence}."


def _contradiction(
    study: Study, metric: Metric, names: tuple[str, str], lines: tuple[Line, Line], largest: float
) -> str:
    """What to add where the lines name another leader at the largest size than the scores measured there."""
    means = study.runs[study.runs["train_tracks"] == largest].groupby("model")[f"test_{metric.key}"].mean()
    measured = metric.sign * (means[names[0]] - means[names[1]])
    fitted = metric.sign * (lines[0].at(largest) - lines[1].at(largest))
    if measured * fitted >= 0:
        return ""
    leader = names[0] if measured > 0 else names[1]
    return (
        f" The scores measured at {largest:,.0f} tracks say otherwise: {label_of(leader)} leads there, "
        "so the lines fit badly."
    )


def _rough(tracks: float) -> str:
    """Two digits are all that such a line can bear: 1931 becomes 1,900."""
    return f"{float(f'{tracks:.2g}'):,.0f}"
