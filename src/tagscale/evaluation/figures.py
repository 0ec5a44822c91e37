"""The study's figures: scores over the training size, scores per tag and tag group, learning curves.

Each figure is made of panels: the `draw_` functions, which the report shows one by one, so that they stack on a phone.
`training_size`, `per_tag`, `groups` and `learning_curves` put them together for the PNG files. A model has the same
colour and marker everywhere; the colours (after Okabe and Ito 2008) stay apart for colour-blind readers.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from tagscale.evaluation.compare import (
    fitted_line,
    group_scores,
    kinds_of,
    line_scale,
    metric_of,
    scored_metrics,
    tag_groups,
)
from tagscale.evaluation.study import LABELS, LOWER_IS_BETTER, Study

COLOURS = {"waveform": "#0072B2", "spectrogram": "#D55E00", "descriptors": "#777777"}
MARKERS = {"waveform": "o", "spectrogram": "s", "descriptors": "D"}
INK, GRID = "#222222", "#e3e3e0"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    **dict.fromkeys(("axes.labelcolor", "text.color", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    "axes.edgecolor": "#8a8a86",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "svg.hashsalt": "tagscale",  # the same figure gives the same bytes
}
DASHES = (0, (4, 3))  # how a baseline's line is drawn
BAR_ROW, BAR_REST = 0.3, 0.75  # inches: one row of bars; title and axis around them


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
        figure = Figure(figsize=(4.4 * len(metrics), 4.0), layout="constrained")
        for place, metric in enumerate(metrics, start=1):
            draw_training_size(figure.add_subplot(1, len(metrics), place), study, metric)
        handles = [_sample(model, study.baselines) for model in study.everyone]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def draw_training_size(axes: Axes, study: Study, metric: str) -> None:
    """A point a run; a fitted line for a front-end (three sizes or more), else its means joined; baseline dashed."""
    sizes = np.unique(study.runs["train_tracks"].to_numpy(float))
    scale = line_scale(list(sizes))
    axes.set_xscale(scale)
    for model in study.everyone:
        rows = study.runs[study.runs["model"] == model].dropna(subset=f"test_{metric}")
        line = fitted_line(study, model, metric) if model in study.models else None
        if line is not None:
            along = np.geomspace(sizes[0], sizes[-1]) if scale == "log" else np.linspace(sizes[0], sizes[-1])
            axes.plot(along, line.at(along), color=COLOURS[model], linewidth=1.8)
        else:
            means = rows.groupby("train_tracks")[f"test_{metric}"].mean()
            style = "-" if model in study.models else DASHES
            axes.plot(means.index, means, color=COLOURS[model], linewidth=1.5, linestyle=style)
        axes.plot(
            rows["train_tracks"],
            rows[f"test_{metric}"],
            MARKERS[model],
            color=COLOURS[model],
            markersize=6.5,
            markeredgecolor="white",
            markeredgewidth=0.8,
        )
    axes.set_title(f"{LABELS[metric]}  ({'lower' if metric in LOWER_IS_BETTER else 'higher'} is better)")
    axes.set_xlabel("training tracks" + (" (log scale)" if scale == "log" else ""))
    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tracks, _: f"{tracks:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.margins(x=0.08, y=0.1)


def per_tag(tags: pd.DataFrame, models: Sequence[str]) -> Figure:
    """Scores of every tag at one size, group by group in two columns. `tags` as `compare.tag_scores` gives them."""
    shown = tag_groups(tags)
    heights = [bars_height(tags, *group) for group in shown]
    columns = _balanced(heights)
    tallest = max(sum(heights[place] for place in column) for column in columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.2 * len(columns), tallest + 0.5), layout="constrained")
        outer = figure.add_gridspec(1, len(columns))
        for number, column in enumerate(columns):
            rest = max(tallest - sum(heights[place] for place in column), 0.01)
            ratios = [*(heights[place] - BAR_REST for place in column), rest]
            inner = outer[0, number].subgridspec(len(ratios), 1, height_ratios=ratios)
            for row, place in enumerate(column):
                draw_group_tags(figure.add_subplot(inner[row, 0]), tags, models, *shown[place])
            figure.add_subplot(inner[len(column), 0]).set_axis_off()
        _bars_legend(figure, models, chance="classification" in kinds_of(tags))
    return figure


def draw_group_tags(axes: Axes, tags: pd.DataFrame, models: Sequence[str], group: str, kind: str) -> None:
    """Bars of one group's tags, best on top by the first model; a tick where guessing would stand (PR-AUC)."""
    metric = metric_of(kind)
    rows = tags[(tags["group"] == group) & (tags["kind"] == kind)]
    table = rows.pivot(index="tag", columns="model", values=metric)[list(models)].dropna(how="all")
    table = table.sort_values(models[0], ascending=metric not in LOWER_IS_BETTER)
    _bars(axes, table)
    if metric == "pr_auc":
        facts = rows.drop_duplicates("tag").set_index("tag").loc[table.index]
        shares = facts["positives"] / facts["tracks"]  # what guessing gets
        axes.plot(shares, range(len(table)), "|", color=INK, markersize=11, markeredgewidth=1.4)
        axes.set_xlim(0, 1)
    axes.set_title(f"{group}: {LABELS[metric]}" + (" (lower is better)" if metric in LOWER_IS_BETTER else ""))


def groups(tags: pd.DataFrame, models: Sequence[str]) -> Figure:
    """Mean score of every tag group and model: PR-AUC of classification groups, √MSE of regression groups."""
    kinds = kinds_of(tags)
    heights = [groups_height(tags, kind) for kind in kinds]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, sum(heights) + 0.5), layout="constrained")
        grid = figure.add_gridspec(len(kinds), 1, height_ratios=[height - BAR_REST for height in heights])
        for row, kind in enumerate(kinds):
            draw_groups(figure.add_subplot(grid[row, 0]), tags, models, kind)
        _bars_legend(figure, models)
    return figure


def draw_groups(axes: Axes, tags: pd.DataFrame, models: Sequence[str], kind: str) -> None:
    metric = metric_of(kind)
    scores = group_scores(tags).query("kind == @kind")
    counts = scores.groupby("group")["tags"].max()
    table = scores.pivot(index="group", columns="model", values="score")[list(models)]
    table = table.sort_values(models[0], ascending=metric not in LOWER_IS_BETTER)
    table = table.rename(index=lambda group: f"{group} ({counts[group]})")
    _bars(axes, table)
    lower = " (lower is better)" if metric in LOWER_IS_BETTER else ""
    axes.set_title(f"mean {LABELS[metric]} per group{lower}")


def learning_curves(study: Study) -> Figure:
    """Loss over the epochs, one panel a front-end on one scale: validation solid, training dotted."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.4 * len(study.models), 3.5), layout="constrained")
        for place, model in enumerate(study.models, start=1):
            draw_learning_curves(figure.add_subplot(1, len(study.models), place), study, model)
    return figure


def draw_learning_curves(axes: Axes, study: Study, model: str) -> None:
    """Darker is more training tracks; a dot marks the epoch whose weights were kept (lowest validation loss)."""
    tracks = study.runs[study.runs["model"] == model].groupby("size")["train_tracks"].max().sort_values()
    curves = study.curves[study.curves["model"] == model]
    for place, (size, count) in enumerate(tracks.items()):
        shade = _lighter(COLOURS[model], 0.62 * (1 - (place + 1) / len(tracks)))
        for number, (_, run) in enumerate(curves[curves["size"] == size].groupby("seed")):
            axes.plot(run["epoch"], run["train_loss"], color=shade, linewidth=1.1, linestyle=":")
            label = f"{count:,} tracks" if number == 0 else None
            axes.plot(run["epoch"], run["valid_loss"], color=shade, linewidth=1.8, label=label)
            kept = run.nsmallest(1, "valid_loss")
            axes.plot(kept["epoch"], kept["valid_loss"], "o", color=shade, markersize=6, markeredgecolor="white")
    losses = study.curves[["train_loss", "valid_loss"]].to_numpy()
    reach = np.nanpercentile(losses, 99) - np.nanmin(losses) or 1.0
    axes.set_ylim(np.nanmin(losses) - 0.05 * reach, np.nanpercentile(losses, 99) + 0.08 * reach)
    axes.set_title(f"{model}: loss")
    axes.set_xlabel("epoch (solid: validation, dotted: training)")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.legend(fontsize=9)


def bars_height(tags: pd.DataFrame, group: str, kind: str) -> float:
    """Inches for a panel of one group's tags."""
    rows = tags[(tags["group"] == group) & (tags["kind"] == kind)].dropna(subset=metric_of(kind))
    return BAR_REST + BAR_ROW * (rows["tag"].nunique() + 0.2)


def groups_height(tags: pd.DataFrame, kind: str) -> float:
    """Inches for a panel of one kind's groups."""
    return BAR_REST + 1.6 * BAR_ROW * (sum(shown == kind for _, shown in tag_groups(tags)) + 0.2)


def save_png(figure: Figure, path: Path) -> None:
    with mpl.rc_context(STYLE):
        figure.savefig(path, format="png", dpi=150, facecolor="white")


def _bars(axes: Axes, table: pd.DataFrame) -> None:
    """Horizontal bars, a row of the table a place on the y axis (last row on top), its columns beside each other."""
    thickness = 0.8 / len(table.columns)
    for number, model in enumerate(table.columns):
        offset = 0.4 - thickness * (number + 0.5)
        axes.barh(np.arange(len(table)) + offset, table[model], thickness, color=COLOURS[model])
    axes.set_yticks(range(len(table)), list(table.index))
    axes.set_ylim(-0.6, len(table) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def _balanced(heights: Sequence[float]) -> list[list[int]]:
    """Places of the panels in two columns of about the same height, in reading order; one column for one panel."""
    if len(heights) < 2:
        return [list(range(len(heights)))]
    splits = range(1, len(heights))
    split = min(splits, key=lambda place: abs(math.fsum(heights[:place]) - math.fsum(heights[place:])))
    return [list(range(split)), list(range(split, len(heights)))]


def _sample(model: str, baselines: Sequence[str]) -> Line2D:
    """A legend's piece of a model's line."""
    look: Any = {"marker": MARKERS[model], "linestyle": DASHES if model in baselines else "-"}
    return Line2D([], [], color=COLOURS[model], linewidth=1.8, label=model, **look)


def _bars_legend(figure: Figure, models: Sequence[str], chance: bool = False) -> None:
    handles = [Line2D([], [], color=COLOURS[model], linewidth=7, label=model) for model in models]
    if chance:
        look: Any = {"marker": "|", "linestyle": "", "markersize": 11, "markeredgewidth": 1.4}
        handles.append(Line2D([], [], color=INK, label="PR-AUC of guessing", **look))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))


def _lighter(colour: str, share: float) -> tuple[float, ...]:
    """The colour mixed with `share` of white."""
    return tuple(channel + (1 - channel) * share for channel in mpl.colors.to_rgb(colour))
