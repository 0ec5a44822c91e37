"""validation.html: the findings on one page that reads well offline and stays small for any dataset."""

from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from tagscale.validation.findings import Findings

SHOWN_ROWS = 500  # of quarantined tracks and of tags; the files beside the page hold all of them
BINS = 40


def page(findings: Findings) -> str:
    """The content of validation.html, without scripts and external files."""
    source = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["count"] = lambda number: f"{number:,.0f}"
    tags = findings.usable.rename_axis("tag").reset_index() if len(findings.usable) else pd.DataFrame()
    suites: dict[str, list[Any]] = {}
    for result in findings.results:
        suites.setdefault(result.table, []).append(result)
    return environment.from_string(source).render(
        findings=findings,
        passed=not findings.stops,
        quarantine=findings.quarantine.head(SHOWN_ROWS).to_dict("records"),
        most=max(findings.reasons.values(), default=1),
        tags=tags.head(SHOWN_ROWS).to_dict("records"),
        more_tags=max(len(tags) - SHOWN_ROWS, 0),
        kept=set(findings.tags),
        suites=suites,
        failed={name: sum(not result.success for result in of) for name, of in suites.items()},
        hours=float(findings.audio["seconds"].sum() / 3600),
        pictures=pictures(findings.audio),
    )


def pictures(audio: pd.DataFrame) -> list[dict[str, Any]]:
    """Histograms of duration, level and sample rate of the decoded files; empty when no file was decoded."""
    histograms = [
        histogram(audio["seconds"], "Duration", "s", "{:.4g}"),
        histogram(audio["rms_dbfs"], "Level (RMS)", "dBFS", "{:.0f}"),
        rates(audio["source_rate"]),
    ]
    return [picture for picture in histograms if picture]


def histogram(values: pd.Series, title: str, unit: str, form: str) -> dict[str, Any] | None:
    """Bars of equal width between the smallest and the largest value: x, height (share of the highest), label."""
    known = values.to_numpy(float)
    known = known[np.isfinite(known)]
    if not len(known):
        return None
    low, high = float(known.min()), float(known.max())
    if high - low < 1e-9 * max(abs(high), 1):
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(known, bins=BINS, range=(low, high))
    bars = [
        {
            "x": i / BINS,
            "width": 1 / BINS,
            "height": float(count / counts.max()),
            "label": f"{form.format(edges[i])} to {form.format(edges[i + 1])} {unit}: {count:,} tracks",
        }
        for i, count in enumerate(counts)
        if count
    ]
    ticks = [f"{form.format(low)}", f"{form.format((low + high) / 2)}", f"{form.format(high)} {unit}"]
    middle = f"median {form.format(float(np.median(known)))} {unit}"
    return {"title": title, "note": f"{middle}; {form.format(known.min())} to {form.format(known.max())}", "bars": bars,
            "ticks": ticks}  # fmt: skip


def rates(values: pd.Series) -> dict[str, Any] | None:
    """A bar for each of the commonest sample rates, in rising order, and one bar for all others."""
    counts = values.dropna().astype(int).value_counts()
    if counts.empty:
        return None
    shown = sorted(zip(counts.index[:6].tolist(), counts.tolist()[:6], strict=True))
    named = [(f"{rate / 1000:g}", f"{rate:,} Hz", count) for rate, count in shown]
    if len(counts) > len(shown):
        named.append(("other", "other rates", int(counts.iloc[len(shown) :].sum())))
    slot, highest = 1 / max(len(named), 4), max(count for *_, count in named)
    bars = [
        {"x": (i + 0.15) * slot, "width": 0.7 * slot, "height": count / highest, "label": f"{name}: {count:,} tracks",
         "tick": short}
        for i, (short, name, count) in enumerate(named)
    ]  # fmt: skip
    commonest = f"{counts.index[0]:,} Hz in {counts.iloc[0] / counts.sum():.0%} of the files"
    return {"title": "Sample rate of the sources", "note": commonest, "bars": bars, "ticks": ["", "", "kHz"]}
