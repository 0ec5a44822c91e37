"""The study's figures over sizes and steps: scores over the training size, learning curves.

Each figure consists of panels, which the `draw_` functions draw. The report shows them one by one, so that they stack
on a phone; `training_size` and `learning_curves` combine them for the PNG files. A model looks the same everywhere, see
appearance.py. Bars of tags and of groups are in tag_figures.py.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
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
from tagscale.study.trends import fitted_line, line_scale

COLUMNS = 3  # panels in a row of the learning curves


def panel(draw: Callable[..., None], *details: Any, width: float = 5.4, height: float = 3.5) -> Figure:
    """One of the `draw_` functions on a figure of its own; sizes in inches."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot(), *details)
    return figure


def training_size(study: Study) -> Figure:
    """Test scores over the number of training tracks, one panel a metric: the paper's Figure 3."""
    metrics = scored_metrics(study)
    with mpl.rc_context(STYLE):
        rows = -(-len(study.everyone) // 6)  # of the legend
        figure = Figure(figsize=(4.4 * len(metrics), 3.75 + 0.25 * rows), layout="constrained")
        for place, metric in enumerate(metrics, start=1):
            draw_training_size(figure.add_subplot(1, len(metrics), place), study, metric)
        handles = [_sample(study, model) for model in study.everyone]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6))
    return figure


def draw_training_size(axes: Axes, study: Study, metric: str) -> None:
    """A point a run; a fitted line for a front-end (three sizes or more), else its means joined; baselines dashed."""
    sizes = np.unique(study.runs["train_tracks"].to_numpy(float))
    scale = line_scale(list(sizes))
    axes.set_xscale(scale)
    for model in _strongest_last(study):
        rows = study.runs[study.runs["model"] == model].dropna(subset=f"test_{metric}")
        look = _line(study, model)
        line = fitted_line(study, model, metric) if model in study.front_ends else None
        if line is not None:
            along = np.geomspace(sizes[0], sizes[-1]) if scale == "log" else np.linspace(sizes[0], sizes[-1])
            axes.plot(along, line.at(along), **look)
        else:
            means = rows.groupby("train_tracks")[f"test_{metric}"].mean()
            axes.plot(means.index, means, **look)
        axes.plot(
            rows["train_tracks"],
            rows[f"test_{metric}"],
            marker_of(model),
            color=colour_of(model),
            markersize=6 if model in study.published else 7,
            markeredgecolor="white",
            markeredgewidth=0.5,
        )
    axes.set_title(f"{METRICS[metric].label}  ({better_words(METRICS[metric])})")
    axes.set_xlabel("training tracks" + (" (log scale)" if scale == "log" else ""))
    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tracks, _: f"{tracks:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.margins(x=0.08, y=0.1)


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


def _strongest_last(study: Study) -> list[str]:
    """The models in the order of drawing: front-ends over baselines, where lines cross."""
    return sorted(study.everyone, key=lambda model: model in study.front_ends)


def _line(study: Study, model: str) -> dict[str, Any]:
    """A model's line: strong for front-ends, thinner and dashed for baselines, thinnest for the published ones."""
    if model in study.front_ends:
        return {"color": colour_of(model), "linestyle": "-", "linewidth": 1.8}
    return {"color": colour_of(model), "linestyle": DASHES, "linewidth": 1.0 if model in study.published else 1.5}


def _sample(study: Study, model: str) -> Line2D:
    """A legend's piece of a model's line."""
    return Line2D([], [], marker=marker_of(model), label=label_of(model), **_line(study, model))
