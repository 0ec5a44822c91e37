"""The page of `tagscale watch`: what was served beside the profile of the version, from its record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tagscale.report.pictures import data_uri
from tagscale.report.rows import intervals
from tagscale.report.templates import templates
from tagscale.runtime.files import replacing

DRIFTS, HOLDS = "#b3261e", "#5a616a"
DRAWN = 20  # tags in the figure, those that shifted most
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
    overall = len(overall_of(record))
    rows = pd.DataFrame([*overall_of(record), *record["tags"][:DRAWN]]).rename(columns={"chance": "value"})
    rows["colour"] = np.where(rows["drifts"], DRIFTS, HOLDS)
    rows = rows.assign(limit=np.nan, strong=rows.index < overall).astype({"low": float, "high": float})
    title = "Chance that a served file scores higher\nthan a track of the profile"
    label = "left: lower than in the profile; right: higher\nbars: 95 % intervals; grey: the margin; red: drift"
    figure = intervals(rows, overall, middle=0.5, title=title, label=label, narrow=narrow)
    axes, margin = figure.axes[0], record["margin"]
    axes.axvspan(0.5 - margin, 0.5 + margin, color="#ececE6", zorder=0)
    axes.set_xlim(0, 1)
    return figure
