"""The page of `tagscale watch`: what was served beside the profile of the version, from its record."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tagscale.report.appearance import DASHES, INK, STYLE
from tagscale.report.pictures import data_uri
from tagscale.report.templates import templates
from tagscale.runtime.files import replacing

DRIFTS, HOLDS = "#b3261e", "#5a616a"
DRAWN = 20  # tags in the figure, those that shifted most
LONGEST = 34  # characters of a row's name
MEASURES = {  # name in the record -> words and unit
    "seconds": ("length", "s"),
    "rate": ("sample rate", "Hz"),
    "channels": ("channels", ""),
    "rms_dbfs": ("loudness (RMS)", "dBFS"),
    "peak": ("peak", ""),
    "clipped": ("values at full scale", ""),
    "warned": ("with a warning", ""),
}


def write(path: Path, record: Mapping[str, Any], reason: str, source: str) -> None:
    """Write the page.

    Args:
        record: of `serving.watch.watch`
        reason: the verdict in a sentence
        source: what was read, in words
    """
    with replacing(path) as fresh:
        fresh.write_text(render(record, reason, source), encoding="utf-8")


def render(record: Mapping[str, Any], reason: str, source: str) -> str:
    """The page, without a reference to anything outside it."""
    environment = templates()
    environment.filters["chance"] = lambda value: "" if value is None else f"{value:.2f}"
    environment.filters["interval"] = interval_words
    environment.filters["p"] = p_words
    environment.filters["share"] = lambda value: "" if value is None else f"{value:.1%}"
    environment.filters["score"] = score_words
    environment.filters["measure"] = measure_words
    return environment.get_template("drift.html").render(
        record=record,
        reason=reason,
        source=source,
        step=next_step(record),
        wide=data_uri(draw(record)),
        narrow=data_uri(draw(record, narrow=True)),
        overall=overall_of(record),
        drawn=[*overall_of(record), *record["tags"][:DRAWN]],
        measures=[dict(one) | {"title": MEASURES.get(one["name"], (one["name"], ""))[0]} for one in record["files"]],
        others=[one for one in record["versions"] if one["sha256"] != record["sha256"]],
    )


def overall_of(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The comparisons over all: by the scores together, and by embeddings where there are some."""
    return [one for one in (record["together"], record["sound"]) if one]


def next_step(record: Mapping[str, Any]) -> str:
    """What to do after this verdict."""
    if not record["drift"]:
        return "Nothing: the version meets music as that which it was tested on."
    return (
        "Listen to files with the highest and lowest scores of the tags that drift. Where the music is new, label some "
        "of it, add it to the dataset and run the pipeline `retrain`; where the files are at fault (rate, loudness, "
        "length), mend their way here."
    )


def interval_words(row: Mapping[str, Any]) -> str:
    """The interval of a row in words."""
    return "unknown" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}"


def p_words(p: float | None) -> str:
    """A p in words; "" where there is none."""
    return "" if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def score_words(value: float | None) -> str:
    """A median of scores, of which those of rare tags are small; "" where there is none.

    >>> score_words(0.4286), score_words(0.00041)
    ('0.429', '0.00041')
    """
    if value is None:
        return ""
    return f"{value:.3f}" if value >= 0.01 or not value else np.format_float_positional(value, 2, fractional=False)


def measure_words(value: float | None, name: str) -> str:
    """A measurement of files in words: a share, or a median with its unit.

    >>> measure_words(44100.0, "rate"), measure_words(-17.07, "rms_dbfs"), measure_words(0.25, "format mp3")
    ('44,100 Hz', '-17.1 dBFS', '25.0%')
    """
    if value is None:
        return ""
    if name == "warned" or name.startswith("format "):
        return f"{value:.1%}"
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{number} {MEASURES[name][1]}".strip()


def draw(record: Mapping[str, Any], narrow: bool = False) -> Figure:
    """The chances of all tags together and of those that shifted most, with their intervals and the margin.

    Args:
        narrow: for a phone: the names stand above the bars
    """
    overall, tags = overall_of(record), record["tags"][:DRAWN]
    rows = [*overall, *tags]
    with mpl.rc_context(STYLE):
        size = (4.2, 1.7 + 0.42 * len(rows)) if narrow else (8.4, 1.3 + 0.29 * len(rows))
        figure = Figure(figsize=size, layout="constrained")
        _draw_rows(figure.add_subplot(), rows, len(overall), record["margin"], narrow)
    return figure


def _draw_rows(axes: Axes, rows: Sequence[Mapping[str, Any]], overall: int, margin: float, narrow: bool) -> None:
    axes.axvspan(0.5 - margin, 0.5 + margin, color="#ececE6", zorder=0)
    axes.axvline(0.5, color=INK, linewidth=1, linestyle=DASHES, zorder=1)
    names = [row["name"][:LONGEST] for row in reversed(rows)]
    for place, row in enumerate(reversed(rows)):
        colour, strong = DRIFTS if row["drifts"] else HOLDS, place >= len(rows) - overall
        if row["low"] is not None:
            axes.plot([row["low"], row["high"]], [place] * 2, color=colour, linewidth=3.4 if strong else 2, zorder=2)
        axes.plot(row["chance"], place, "o", color=colour, markersize=8 if strong else 5.5, zorder=3)
        if narrow:
            axes.text(0, place + 0.22, names[place], va="bottom", parse_math=False, zorder=4)
    axes.set_yticks(range(len(rows)), [""] * len(rows) if narrow else names, parse_math=False)
    axes.axhline(len(rows) - overall - (0.25 if narrow else 0.5), color="#c8c8c3", linewidth=1)
    axes.set_ylim(-0.6, len(rows) - (0.1 if narrow else 0.4))
    axes.set_xlim(0, 1)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    end = "\n" if narrow else " "
    axes.set_title(f"Chance that a served file scores higher{end}than a track of the profile")
    axes.set_xlabel(
        f"left: lower than in the profile; right: higher.{end}Bars: 95 % intervals; grey: the margin; red: drift"
    )
