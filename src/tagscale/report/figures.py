"""The study's figures over sizes and steps: scores over the training size, learning curves.

Each figure consists of panels, which the `draw_` functions draw. The report shows them one by one, so that they stack
on a phone; `training_size` and `learning_curves` combine them for the PNG files. A model looks the same everywhere, see
appearance.py. Bars of tags and of groups are in tag_figures.py.
"""

from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from tagscale.evaluation.metrics import METRICS
from tagscale.models.spec import label_of
from tagscale.report.appearance import DASHES, STYLE, colour_of, lighter, marker_of
from tagscale.report.words import better_words
from tagscale.study.compare import scored_metrics
from tagscale.study.grid import Study
from tagscale.study.laws import FEWEST, REACH
from tagscale.study.trends import FittedLaw, Scale, fitted_law, line_scale

COLUMNS = 3  # panels in a row of the learning curves
BANDS = 3  # front-ends at most whose laws have a band: more would cover one another


def panel(draw: Callable[..., None], *details: Any, width: float = 5.4, height: float = 3.5) -> Figure:
    """One of the `draw_` functions on a figure of its own; sizes in inches."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot(), *details)
    return figure


def training_size(study: Study) -> Figure:
    """Test scores over the number of training tracks, a column a metric and a row an axis: the paper's Figure 3."""
    metrics, axes = scored_metrics(study), scales(study)
    with mpl.rc_context(STYLE):
        rows = -(-len(study.everyone) // 6)  # of the legend
        size = (4.4 * len(metrics), 3.75 * len(axes) + 0.25 * rows)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(axes), len(metrics), squeeze=False)
        for (row, scale), (column, metric) in product(enumerate(axes), enumerate(metrics)):
            draw_training_size(panels[row, column], study, metric, scale)
        handles = [
            Line2D([], [], marker=marker_of(model), label=label_of(model), **_line(study, model))
            for model in study.everyone
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6))
    return figure


def scales(study: Study) -> list[Scale]:
    """The axes to draw: that on which the sizes lie evenly, and with three sizes or more the other one, too."""
    sizes = study.runs["train_tracks"].unique()
    even = line_scale(list(sizes))
    return [even] if len(sizes) < FEWEST else [even, "linear" if even == "log" else "log"]


def draw_training_size(axes: Axes, study: Study, metric: str, scale: Scale) -> None:
    """A mean over seeds with its interval for each size; through a front-end's, its fitted law with a band.

    A law is drawn on, dotted, to twice the largest size. Means without a law are joined: those of other models, and of
    a front-end whose law does not describe its runs. With several seeds a faint point is a run.
    """
    sizes = np.unique(study.runs["train_tracks"].to_numpy(float))
    axes.set_xscale(scale)
    for model in sorted(study.everyone, key=lambda model: model in study.front_ends):  # which are drawn over others
        rows = study.comparison[study.comparison["model"] == model].dropna(subset=f"test_{metric}")
        law = fitted_law(study, model, METRICS[metric]) if model in study.front_ends else None
        tracks, means = (rows[column].to_numpy(float) for column in ("train_tracks", f"test_{metric}"))
        if law is None:
            axes.plot(tracks, means, **_line(study, model))
        else:
            _draw_law(axes, law, sizes, scale, _line(study, model), band=len(study.front_ends) <= BANDS)
        _draw_scores(axes, study, model, metric, rows)
    axes.set_title(f"{METRICS[metric].label}  ({better_words(METRICS[metric])})")
    axes.set_xlabel("training tracks" + (" (log scale)" if scale == "log" else ""))
    axes.xaxis.set_major_locator(FixedLocator(list(_ticks(sizes, scale))))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tracks, _: f"{tracks:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.margins(x=0.08, y=0.1)


def _draw_law(axes: Axes, law: FittedLaw, sizes: np.ndarray, scale: Scale, look: dict[str, Any], *, band: bool) -> None:
    between = np.geomspace if scale == "log" else np.linspace
    within, beyond = between(sizes[0], sizes[-1], 60), between(sizes[-1], REACH * sizes[-1], 20)
    axes.plot(within, law.at(within), **look)
    axes.plot(beyond, law.at(beyond), **look | {"linestyle": ":", "linewidth": 1.2})
    if band:
        along = np.concatenate([within, beyond[1:]])
        axes.fill_between(along, *law.band(along), color=look["color"], alpha=0.13, linewidth=0)


def _draw_scores(axes: Axes, study: Study, model: str, metric: str, rows: pd.DataFrame) -> None:
    """The means with their intervals, and the runs that they are means of."""
    colour, size = colour_of(model), 6 if model in study.published else 7
    tracks, means = rows["train_tracks"].to_numpy(float), rows[f"test_{metric}"].to_numpy(float)
    low, high = (rows[f"test_{metric}_{end}"].to_numpy(float) for end in ("low", "high"))
    axes.vlines(tracks, low, high, color=colour, linewidth=1.0, alpha=0.7)
    if (rows["seeds"] > 1).any():
        runs = study.runs[study.runs["model"] == model]
        faint: dict[str, Any] = {"color": lighter(colour, 0.55), "markersize": 3}
        axes.plot(runs["train_tracks"], runs[f"test_{metric}"], ".", **faint)
    edge: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.5}
    axes.plot(tracks, means, marker_of(model), color=colour, markersize=size, **edge)


def _ticks(sizes: np.ndarray, scale: Scale) -> np.ndarray:
    """The sizes; on a linear axis only those that do not run into the next one."""
    if scale == "log":
        return sizes
    apart = [size for size, larger in pairwise(sizes) if larger - size > 0.12 * (REACH * sizes[-1] - sizes[0])]
    return np.array([*apart, sizes[-1]])


def learning_curves(study: Study) -> Figure:
    """Loss over the optimiser steps, one panel a network on one scale: validation solid, training dotted."""
    columns = min(len(study.with_curves), COLUMNS)
    rows = -(-len(study.with_curves) // COLUMNS)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.4 * columns, 3.5 * rows), layout="constrained")
        for place, model in enumerate(study.with_curves, start=1):
            draw_learning_curves(figure.add_subplot(rows, columns, place), study, model)
    return figure


def draw_learning_curves(axes: Axes, study: Study, model: str) -> None:
    """Darker is more training tracks; a dot marks the validation whose weights were kept."""
    tracks = study.runs[study.runs["model"] == model].groupby("size")["train_tracks"].max().sort_values()
    curves = study.curves[study.curves["model"] == model]
    for place, (size, count) in enumerate(tracks.items()):
        shade = lighter(colour_of(model), 0.62 * (1 - (place + 1) / len(tracks)))
        for number, (_, run) in enumerate(curves[curves["size"] == size].groupby("seed")):
            axes.plot(run["step"], run["train_loss"], color=shade, linewidth=1.1, linestyle=":")
            label = f"{count:,} tracks" if number == 0 else None
            axes.plot(run["step"], run["valid_loss"], color=shade, linewidth=1.8, label=label)
            kept = run[run["kept"]]
            axes.plot(kept["step"], kept["valid_loss"], "o", color=shade, markersize=6, markeredgecolor="white")
    losses = study.curves[["train_loss", "valid_loss"]].to_numpy()
    reach = np.nanpercentile(losses, 99) - np.nanmin(losses) or 1.0
    axes.set_ylim(np.nanmin(losses) - 0.05 * reach, np.nanpercentile(losses, 99) + 0.08 * reach)
    axes.set_title(f"{label_of(model)}: loss")
    axes.set_xlabel("optimiser steps (solid: validation, dotted: training)")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.legend(fontsize=9)


def save_png(figure: Figure, path: Path) -> None:
    with mpl.rc_context(STYLE):
        figure.savefig(path, format="png", dpi=150, facecolor="white")


def _line(study: Study, model: str) -> dict[str, Any]:
    """A model's line: strong for front-ends, thinner and dashed for baselines, thinnest for the published ones."""
    if model in study.front_ends:
        return {"color": colour_of(model), "linestyle": "-", "linewidth": 1.8}
    return {"color": colour_of(model), "linestyle": DASHES, "linewidth": 1.0 if model in study.published else 1.5}
