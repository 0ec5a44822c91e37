"""The figures of tags at one training size: bars of every tag's and of every tag group's score.

The report shows the panels, which the `draw_` functions draw, one by one; `groups` combines those of groups for the PNG
file. The caller chooses the models (`Verdict.shown`): with more than four, the bars become too thin to read.
"""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from tagscale.evaluation.metrics import GUESS, PR_AUC, Metric, main_metric
from tagscale.models.spec import label_of
from tagscale.report.appearance import INK, STYLE, colour_of
from tagscale.report.rows import name_rows
from tagscale.report.words import better_words, shortened
from tagscale.study.compare import kinds_of

BAR_REST = 0.75  # inches: title and axis around the bars


def draw_group_tags(axes: Axes, tags: pd.DataFrame, models: Sequence[str], group: str, kind: str) -> None:
    """Bars of one group's tags, best on top by the first model; a tick where guessing would stand (PR-AUC)."""
    metric = main_metric(kind)
    rows = tags[(tags["group"] == group) & (tags["kind"] == kind)]
    table = rows.pivot(index="tag", columns="model", values=metric.key)[list(models)].dropna(how="all")
    table = table.sort_values(models[0], ascending=not metric.lower_is_better)
    bars(axes, table, _ends(rows, "tag", table, f"{metric.key}_low", f"{metric.key}_high"))
    if metric is PR_AUC:
        guessed = rows.drop_duplicates("tag").set_index("tag").loc[table.index, GUESS]
        (ticks,) = axes.plot(guessed, range(len(table)), "|", color=INK, markersize=11, markeredgewidth=1.4)
        ticks.set_path_effects([withStroke(linewidth=3.4, foreground="white")])  # visible on a dark bar
        axes.set_xlim(0, 1)
    axes.set_title(f"{shortened(group)}: {metric.label}{_lower(metric)}")


def groups(means: pd.DataFrame, models: Sequence[str]) -> Figure:
    """Mean score of every tag group and model, a panel a kind of tags. `means` is the table of `compare.groups_of`."""
    kinds = kinds_of(means)
    heights = [groups_height(means, models, kind) for kind in kinds]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0, sum(heights) + 0.5), layout="constrained")
        grid = figure.add_gridspec(len(kinds), 1, height_ratios=[height - BAR_REST for height in heights])
        for row, kind in enumerate(kinds):
            draw_groups(figure.add_subplot(grid[row, 0]), means, models, kind)
        bars_legend(figure, models)
    return figure


def _ends(rows: pd.DataFrame, index: str, table: pd.DataFrame, *columns: str) -> list[pd.DataFrame]:
    """The lower and the upper ends of the intervals of a table of bars, each like the table."""
    return [rows.pivot(index=index, columns="model", values=end).reindex_like(table) for end in columns]


def draw_groups(axes: Axes, means: pd.DataFrame, models: Sequence[str], kind: str) -> None:
    """Bars of the groups of one kind of tags, best on top by the first model, with their intervals."""
    metric = main_metric(kind)
    scores = means[means["kind"] == kind]
    counts = scores.groupby("group")["tags"].max()
    table = scores.pivot(index="group", columns="model", values="score")[list(models)]
    table = table.sort_values(models[0], ascending=not metric.lower_is_better)
    ends = _ends(scores, "group", table, "low", "high")
    bars(axes, table.rename(index=lambda group: f"{group} ({counts[group]})"), ends)
    axes.set_title(f"mean {metric.label} per group{_lower(metric)}")


def _lower(metric: Metric) -> str:
    """A word of warning in the title of bars of which the short ones are good."""
    return f" ({better_words(metric)})" if metric.lower_is_better else ""


def bars_height(tags: pd.DataFrame, models: Sequence[str], group: str, kind: str) -> float:
    """Inches for a panel of one group's tags."""
    rows = tags[(tags["group"] == group) & (tags["kind"] == kind)].dropna(subset=main_metric(kind).key)
    return BAR_REST + row_height(models) * (rows["tag"].nunique() + 0.2)


def groups_height(means: pd.DataFrame, models: Sequence[str], kind: str) -> float:
    """Inches for a panel of one kind's groups."""
    return BAR_REST + 1.6 * row_height(models) * (means.loc[means["kind"] == kind, "group"].nunique() + 0.2)


def row_height(models: Sequence[str]) -> float:
    """Inches for a tag; the bars of four models need more."""
    return 0.3 + 0.1 * max(0, len(models) - 3)


def bars(axes: Axes, table: pd.DataFrame, ends: Sequence[pd.DataFrame] = ()) -> None:
    """Horizontal bars, a row of the table a place on the y axis (last row on top), its columns beside each other.

    Args:
        ends: the lower and the upper ends of the bars' intervals, by place as the table; NaN where there is none
    """
    thickness = 0.8 / len(table.columns)
    for number, model in enumerate(table.columns):
        places = np.arange(len(table)) + 0.4 - thickness * (number + 0.5)
        axes.barh(places, table[model], thickness, color=colour_of(model))
        if ends:
            low, high = (end.iloc[:, number] for end in ends)
            axes.hlines(places, low, high, color=INK, linewidth=0.9)
    name_rows(axes, [shortened(str(name)) for name in table.index])
    axes.xaxis.set_major_locator(MaxNLocator(5))


def bars_legend(figure: Figure, models: Sequence[str]) -> None:
    handles = [Line2D([], [], color=colour_of(model), linewidth=7, label=label_of(model)) for model in models]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
