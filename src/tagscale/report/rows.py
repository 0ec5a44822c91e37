"""Figures of rows: a name beside each place on the y axis, and the interval that is drawn there."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tagscale.report.appearance import DASHES, INK, STYLE
from tagscale.report.words import shortened


def intervals(rows: pd.DataFrame, upper: int, middle: float, title: str, label: str, narrow: bool) -> Figure:
    """A figure of values with their intervals, from top to bottom.

    Args:
        rows: name, value, low and high (NaN: unknown), limit (a black tick; NaN: none), colour, strong (stands out)
        upper: how many rows stand above a line that divides them
        middle: value of the dashed line
        narrow: for a phone: the names stand above the bars
    """
    places, strong, colours = np.arange(len(rows))[::-1], rows["strong"], list(rows["colour"])
    with mpl.rc_context(STYLE):
        size = (4.2, 1.4 + 0.46 * len(rows)) if narrow else (8.4, 1.4 + 0.36 * len(rows))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot(title=title)
        axes.set_xlabel(label, loc="left")
        axes.axvline(middle, color=INK, linewidth=1, linestyle=DASHES, zorder=1)
        axes.hlines(places, rows["low"], rows["high"], colours, linewidth=np.where(strong, 3.4, 2), zorder=2)
        axes.scatter(rows["value"], places, np.where(strong, 64, 36), colours, zorder=3)
        axes.vlines(rows["limit"], places - 0.34, places + 0.34, INK, linewidth=1.6, zorder=4)
        names = [shortened(name) for name in rows["name"]][::-1]
        name_rows(axes, [""] * len(rows) if narrow else names)
        if narrow:
            axes.set_ylim(top=len(rows) - 0.1)
            for place, name in enumerate(names):
                axes.text(0, place + 0.22, name, transform=axes.get_yaxis_transform(), va="bottom", zorder=5)
        if 0 < upper < len(rows):
            axes.axhline(len(rows) - upper - (0.22 if narrow else 0.5), color="#c8c8c3", linewidth=1)
        axes.margins(x=0.06)
    return figure


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Give each place on the y axis its name, the first one the lowest, and take the axis itself away."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
