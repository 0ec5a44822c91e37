"""The figures of what the paper studied by listening: popular tags, and exclusive tags predicted together.

`popularity` and `exclusive` combine the panels, which the `draw_` functions draw, for the PNG files. The tables are
those of qualitative.py.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from tagscale.models.spec import label_of
from tagscale.report.appearance import DASHES, INK, STYLE, colour_of, lighter, marker_of
from tagscale.report.rows import name_rows
from tagscale.report.tag_figures import BAR_REST, bars, bars_legend, row_height
from tagscale.study.listening import THIRDS
from tagscale.study.qualitative import Qualitative

MOST_CONFUSED = 15  # tags of a set that a panel shows; larger ones are in plots/confusion.csv
FADES = dict(zip(THIRDS, (0.0, 0.45, 0.75), strict=True))  # how much white a third's dot has


def popularity(heard: Qualitative, models: Sequence[str]) -> Figure:
    """Left: who picks popular tags too often, of the given models; right: how well popular and rare tags are heard."""
    height = max(3.8, models_height(heard) + 0.4)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, height), layout="constrained")
        draw_ratio(figure.add_subplot(1, 2, 1), heard.tags, models)
        draw_lifts(figure.add_subplot(1, 2, 2), heard.models)
    return figure


def draw_ratio(axes: Axes, tags: pd.DataFrame, models: Sequence[str]) -> None:
    """Picks per true tag over the popularity in training; a point holds a tenth of the tags."""
    for model in models:
        rows = tags[tags["model"] == model].dropna(subset="train_share")
        rows = rows.sort_values("train_share", ascending=False, kind="stable")
        tenths = [rows.iloc[places] for places in np.array_split(np.arange(len(rows)), min(10, len(rows)))]
        points = [(tenth["train_share"].mean(), tenth["picked"].sum(), tenth["true"].sum()) for tenth in tenths]
        drawn = np.array([(share, picked / true) for share, picked, true in points if true > 0 and share > 0])
        look: Any = {
            "color": colour_of(model),
            "marker": marker_of(model),
            "markeredgecolor": "white",
            "markeredgewidth": 0.5,
        }
        axes.plot(*drawn.reshape(-1, 2).T, linewidth=1.8, markersize=7, label=label_of(model), **look)
    axes.axhline(1, color=INK, linewidth=1, linestyle=DASHES)
    axes.set_xscale("log")
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
    axes.set_title("picked per true tag (dashed: no bias)")
    axes.set_xlabel("share of the training tracks that have the tag, tenths of the tags")
    axes.margins(x=0.05, y=0.1)
    axes.legend(fontsize=9)


def draw_lifts(axes: Axes, models: pd.DataFrame) -> None:
    """How far PR-AUC is from guessing (0) to perfect (1), mean of a third of the tags; a row a model."""
    rows = models.iloc[::-1].reset_index(drop=True)  # first on top
    for place, row in enumerate(rows.to_dict("records")):
        lifts = [row[f"lift_{third}"] for third in THIRDS]
        axes.plot(
            [np.nanmin(lifts), np.nanmax(lifts)] if not np.isnan(lifts).all() else [],
            [place] * 2,
            zorder=1,
            color="#c8c8c3",
        )
        for third, lift in zip(THIRDS, lifts, strict=True):
            colour = lighter(colour_of(row["model"]), FADES[third])
            axes.plot([lift], [place], "o", color=colour, markersize=9, markeredgecolor=colour_of(row["model"]))
    name_rows(axes, [label_of(model) for model in rows["model"]])
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_title("PR-AUC: 0 is guessing, 1 perfect")
    handles = [
        Line2D(
            [], [], marker="o", linestyle="", markersize=8, color=lighter(INK, fade), markeredgecolor=INK, label=third
        )
        for third, fade in FADES.items()
    ]
    axes.figure.legend(handles=handles, title="third of the tags", fontsize=9, loc="outside lower right", ncols=3)


def exclusive(heard: Qualitative, models: Sequence[str]) -> Figure:
    """Left: tracks with an impossible pair, of every model; right: such pairs in every set, of the given models."""
    height = max(models_height(heard), sets_height(heard, models)) + 0.4
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, height), layout="constrained")
        draw_impossible(figure.add_subplot(1, 2, 1), heard.models)
        draw_sets(figure.add_subplot(1, 2, 2), heard.pairs, models)
        bars_legend(figure, models)
    return figure


def draw_impossible(axes: Axes, models: pd.DataFrame) -> None:
    """Share of the test tracks with at least one impossible pair; tick: if tags were independent; line: the labels."""
    rows = models.iloc[::-1].reset_index(drop=True)
    axes.barh(range(len(rows)), rows["impossible"], 0.62, color=[colour_of(model) for model in rows["model"]])
    (ticks,) = axes.plot(rows["impossible_expected"], range(len(rows)), "|", color=INK, markersize=13)
    ticks.set(markeredgewidth=1.6, path_effects=[withStroke(linewidth=3.6, foreground="white")])
    axes.axvline(rows["impossible_labelled"].iloc[0], color=INK, linewidth=1, linestyle=DASHES)
    name_rows(axes, [label_of(model) for model in rows["model"]])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
    axes.set_title("test tracks with an impossible pair")
    axes.set_xlabel("tick: if tags were independent, dashed: in the labels")


def draw_sets(axes: Axes, pairs: pd.DataFrame, models: Sequence[str]) -> None:
    """Impossible pairs of every set of exclusive tags, for a hundred test tracks."""
    shown = pairs[pairs["model"].isin(models)]
    each = 100 * shown["predicted"] / shown["tracks"].where(shown["tracks"] > 0)
    sums = shown.assign(each=each).groupby(["set", "model"], sort=False)["each"].sum()
    table = sums.unstack("model")[list(models)]
    bars(axes, table.loc[table.max(axis=1).sort_values(kind="stable").index])
    axes.set_xlim(left=0)
    axes.set_title("impossible pairs in 100 test tracks")


def confusion(heard: Qualitative, models: Sequence[str]) -> Figure | None:
    """What tags of a set are taken for, of the given models side by side; None where no set is small enough to show."""
    if heard.confusion.empty:
        return None
    tags = heard.confusion.groupby("set", sort=False)["true"].nunique()
    sets = [str(name) for name in tags.index[tags <= MOST_CONFUSED]]
    if not sets:
        return None
    with mpl.rc_context(STYLE):
        size = (4.6 * len(models), 4.2 * len(sets))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(sets), len(models), squeeze=False)
        for axes, (name, model) in zip(panels.flat, ((name, model) for name in sets for model in models), strict=True):
            rows = heard.confusion[(heard.confusion["set"] == name) & (heard.confusion["model"] == model)]
            draw_confusion(axes, rows)
            axes.set_title(f"{name}: {label_of(model)}")
    return figure


def draw_confusion(axes: Axes, rows: pd.DataFrame) -> None:
    """Shares of each true tag's tracks; the numbers are tracks."""
    names = list(dict.fromkeys(rows["true"]))
    counts = rows.pivot(index="true", columns="chosen", values="tracks").loc[names, names]
    shares = counts.div(counts.sum(axis=1).where(lambda total: total > 0), axis=0)
    numbers = counts.to_numpy(float)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (true, chosen), share in np.ndenumerate(shares.to_numpy(float)):
        if share > 0:
            colour = "white" if share > 0.6 else INK
            number = f"{numbers[true, chosen]:.0f}"
            axes.text(chosen, true, number, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("tag with the highest score")
    axes.set_ylabel("tag of the labels")
    axes.tick_params(length=0)
    axes.grid(visible=False)


def models_height(heard: Qualitative) -> float:
    """Inches for a panel with a row a model."""
    return BAR_REST + 0.2 + 0.36 * len(heard.models)


def sets_height(heard: Qualitative, models: Sequence[str]) -> float:
    """Inches for a panel with a row a set of exclusive tags."""
    return BAR_REST + 1.6 * row_height(models) * (heard.pairs["set"].nunique() + 0.2)
