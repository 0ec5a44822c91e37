"""What the checks mean: which tracks are quarantined and why, which tags are learnt, whether the dataset passes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from tagscale.data.catalog import Catalog
from tagscale.data.expectations import DROP, QUARANTINE, STOP, Result, checks_of_tables, checks_of_usable, examine
from tagscale.params import ValidationParams

POSITIVE = 0.5  # a classification label from here on is a positive one
SHOWN = 5


@dataclass
class Findings:
    """What validation found out.

    quarantine: track_id, path, reason, one row a track.
    usable: index tag; group, kind, exclusive, annotated, positives, distinct, mean, over the tracks that are left.
    dropped: tag and reason of the tags that cannot be learnt.
    stops: why the pipeline must stop; empty when the dataset passes.
    """

    name: str
    tracks: int
    results: list[Result]
    quarantine: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["track_id", "path", "reason"]))
    usable: pd.DataFrame = field(default_factory=pd.DataFrame)
    dropped: list[dict[str, str]] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)

    @property
    def tags(self) -> list[str]:
        """Tags to learn, in the order of the catalog."""
        without = {entry["tag"] for entry in self.dropped}
        return [tag for tag in self.usable.index if tag not in without]

    def as_dict(self) -> dict[str, Any]:
        """The content of validation.json."""
        checks = [vars(result) | {"failing": result.failing[:20]} for result in self.results]
        return {
            "passed": not self.stops,
            "stops": self.stops,
            "tracks": self.tracks,
            "quarantined": len(self.quarantine),
            "tags": self.tags,
            "dropped_tags": self.dropped,
            "checks": checks,
        }

    def page(self) -> str:
        """The content of validation.html: one page that needs nothing else."""
        source = Path(__file__).with_name("validation.html").read_text(encoding="utf-8")
        template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
        reasons = self.quarantine["reason"].str.replace(r"[\d.]+", "…", regex=True).value_counts()
        return template.render(
            findings=self,
            quarantine=self.quarantine.to_dict("records"),
            kinds_of_reason=reasons.to_dict(),
            tags=self.usable.rename_axis("tag").reset_index().to_dict("records"),
            kept=set(self.tags),
        )


def validate(catalog: Catalog, facts: pd.DataFrame, rejected: pd.DataFrame, settings: ValidationParams) -> Findings:
    """Check a catalog and the audio that was decoded for it.

    Args:
        facts: the store's measured facts, index track_id.
        rejected: track_id and reason of the files that could not be decoded.
    """
    audio = _audio(catalog, facts, rejected, settings.seconds_tolerance)
    tables = {
        "tracks": (_tracks(catalog), "track_id"),
        "labels": (_labels(catalog), "tag"),
        "audio": (audio, "track_id"),
    }
    findings = Findings(catalog.name, len(catalog.tracks), examine(tables, checks_of_tables(settings)))
    for result in findings.results:
        if result.consequence == STOP and not result.success:
            named = f" (first: {', '.join(result.failing[:SHOWN])})" if result.failing else ""
            findings.stops.append(f"{result.table}: expected that {result.says}, found: {result.observed}{named}")
    if findings.stops:
        return findings
    findings.quarantine = _quarantine(audio, findings.results, settings)
    _check_share(findings, settings)
    usable = ~catalog.tracks["track_id"].isin(findings.quarantine["track_id"]).to_numpy()
    findings.usable = catalog.tags.join(_usable(catalog, usable))
    left = findings.usable.rename_axis("tag").reset_index()
    results = examine({"usable": (left, "tag")}, checks_of_usable(settings))
    findings.results += results
    findings.dropped = _dropped(findings.usable, results, settings)
    if not findings.tags:
        findings.stops.append("no tag can be learnt from the tracks that are left; see the dropped tags for why")
    return findings


def _tracks(catalog: Catalog) -> pd.DataFrame:
    tracks = catalog.tracks.assign(labels_of=catalog.labels.index.to_numpy()[: len(catalog.tracks)])
    return tracks.fillna({"track_id": "", "path": "", "artist": ""})


def _labels(catalog: Catalog) -> pd.DataFrame:
    """One row a tag: range of its labels, and how many tracks have it together with a tag that excludes it."""
    values = catalog.labels.to_numpy()
    table = catalog.tags.rename_axis("tag").reset_index().fillna("")
    together = np.full(len(table), np.nan)
    for name in set(table["exclusive"]) - {""}:
        members = (table["exclusive"] == name).to_numpy()
        positive = values[:, members] >= POSITIVE
        together[members] = (positive & (positive.sum(axis=1) > 1)[:, None]).sum(axis=0)
    lowest, highest = catalog.labels.min().to_numpy(), catalog.labels.max().to_numpy()
    return table.assign(lowest=lowest, highest=highest, exclusive_together=together)


def _audio(catalog: Catalog, facts: pd.DataFrame, rejected: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """One row a track: what decoding measured, set against what was annotated."""
    table = catalog.tracks[["track_id", "path"]].copy()
    measured = facts.reindex(table["track_id"]).reset_index(drop=True)
    reasons = dict(zip(rejected["track_id"], rejected["reason"], strict=True))
    table["rejected"] = table["track_id"].map(reasons).astype(object)
    decoded = measured["audio_sha256"].notna()
    table["state"] = np.where(decoded, "decoded", np.where(table["rejected"].notna(), "rejected", "unknown"))
    table["seconds"] = measured["source_seconds"].astype(float)
    table["annotated"] = catalog.tracks["seconds"].to_numpy(float)
    table["seconds_off"] = (table["seconds"] - table["annotated"]).abs()
    table["rms_dbfs"] = measured["rms_dbfs"].astype(float)
    # of equal files the first is kept; one that is as long as annotated goes before one that is not
    order = np.argsort((table["seconds_off"] > tolerance).to_numpy(), kind="stable")
    audio = measured["audio_sha256"].iloc[order]
    first = table["track_id"].iloc[order].groupby(audio).transform("first").reindex(table.index)
    table["same_audio_as"] = first.astype(object).where(first.notna() & (first != table["track_id"]), None)
    return table


def _quarantine(audio: pd.DataFrame, results: list[Result], settings: ValidationParams) -> pd.DataFrame:
    """Tracks that failed a check of their file, with every reason."""
    explain: dict[str, Callable[[Any], str]] = {
        "rejected": lambda row: row.rejected,
        "seconds": lambda row: f"{row.seconds:.2f} s long, shorter than {settings.min_seconds:g} s",
        "seconds_off": lambda row: f"{row.seconds:.2f} s long, but annotated as {row.annotated:.2f} s",
        "rms_dbfs": lambda row: f"silent: {row.rms_dbfs:.1f} dBFS, below {settings.silence_dbfs:g}",
        "same_audio_as": lambda row: f"same audio as {row.same_audio_as}",
    }
    rows = {row.track_id: row for row in audio.itertuples()}
    failed = [(track, r.column) for r in results if r.consequence == QUARANTINE for track in r.failing]
    entries = []
    for track, group in groupby(sorted(failed, key=lambda entry: entry[0]), key=lambda entry: entry[0]):
        reason = "; ".join(explain[column](rows[track]) for _, column in group)
        entries.append({"track_id": track, "path": rows[track].path, "reason": reason})
    return pd.DataFrame(entries, columns=["track_id", "path", "reason"], dtype=str)


def _check_share(findings: Findings, settings: ValidationParams) -> None:
    count, of = len(findings.quarantine), findings.tracks
    if count == of or count > settings.max_quarantined * of:
        rows = findings.quarantine.head(SHOWN).itertuples()
        findings.stops.append(
            f"{count} of {of} tracks ({count / of:.1%}) are quarantined, more than validation.max_quarantined "
            f"({settings.max_quarantined:.1%}). The first: " + "; ".join(f"{row.path}: {row.reason}" for row in rows)
        )


def _usable(catalog: Catalog, usable: np.ndarray) -> pd.DataFrame:
    """Of each tag, over the usable tracks: how many are annotated, how many positive, mean and distinct labels."""
    labels = catalog.labels[usable]
    classification = catalog.tags["kind"] == "classification"
    annotated, positives = labels.notna().sum(), (labels >= POSITIVE).sum()
    both = 1 + ((positives > 0) & (positives < annotated)).astype(int)  # labels of classification: positive or not
    table = pd.DataFrame({"annotated": annotated, "mean": labels.mean()})
    return table.assign(
        positives=positives.astype(float).where(classification),
        distinct=both.where(classification, labels.nunique()),
    )


def _dropped(usable: pd.DataFrame, results: list[Result], settings: ValidationParams) -> list[dict[str, str]]:
    """Tags that failed a check of their labels, in the order of the catalog, with the first reason that applies."""
    failing = {result.column: set(result.failing) for result in results if result.consequence == DROP}
    dropped = []
    for tag, row in usable.iterrows():
        if tag in failing["annotated"]:
            dropped.append({"tag": str(tag), "reason": "not annotated on any track"})
        elif tag in failing["positives"]:
            found = f"{row['positives']:.0f} positive tracks"
            dropped.append({"tag": str(tag), "reason": f"{found}, fewer than {settings.min_positives}"})
        elif tag in failing["distinct"]:
            same = "positive" if row["kind"] == "classification" else f"labelled {row['mean']:g}"
            dropped.append({"tag": str(tag), "reason": f"{same} on every annotated track"})
    return dropped
