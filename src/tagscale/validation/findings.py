"""The findings of validation about a dataset: for validation.json, the page and the console."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from typing_extensions import TypedDict

from tagscale.runtime.reading import Output
from tagscale.runtime.tables import csv_in
from tagscale.validation.results import Result

COMMAND = "tagscale validate"
KEPT_KEYS = 20  # of the failing rows of one check, in validation.json


class DroppedTag(TypedDict):
    """A tag that cannot be learned, and why."""

    tag: str
    reason: str


class Facts(TypedDict):
    """What later stages take from validation.json."""

    catalog: str
    data_hash: str
    passed: bool
    other_version: str | None
    tags: list[str]
    dropped_tags: list[DroppedTag]


def read_findings(folder: Path) -> tuple[Facts, pd.DataFrame]:
    """validation.json and quarantine.csv. Raises Damaged."""
    output = Output(folder, "validation.json", COMMAND)
    return output.facts(Facts), csv_in(output, "quarantine.csv", ["track_id", "path", "reason"])


@dataclass
class Findings:
    """The findings of validation.

    name: of the dataset.
    tracks: how many the catalog has.
    known_broken: how many of them the dataset's authors know to be broken.
    results: of all checks, in their order.
    audio: one row a track: seconds, rms_dbfs, source_rate ..., NaN where the file could not be decoded.
    split: a sentence on the dataset's own split and its claim, or that tagscale will divide the tracks.
    leaks: one row a kind of crossing (artist, album, audio ...), as dictionaries; empty without a split of its own.
    quarantine: track_id, path, reason, one row a track.
    reasons: how many tracks have each kind of reason; a track may have several.
    usable: index tag; group, kind, exclusive, annotated, positives, distinct, mean, over the tracks that are left.
    dropped: tag and reason of the tags that cannot be learnt.
    mentions: sentences on failed checks without another consequence.
    stops: why the pipeline must stop; empty when the dataset passes.
    version: hash of the catalog, of the store and of both (data_hash); the stage fills it in.
    """

    name: str
    tracks: int
    known_broken: int
    results: list[Result]
    audio: pd.DataFrame
    split: str = ""
    leaks: list[dict[str, Any]] = field(default_factory=list)
    quarantine: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["track_id", "path", "reason"]))
    reasons: dict[str, int] = field(default_factory=dict)
    usable: pd.DataFrame = field(default_factory=pd.DataFrame)
    dropped: list[dict[str, str]] = field(default_factory=list)
    mentions: list[str] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)
    version: dict[str, str] = field(default_factory=dict)

    @property
    def tags(self) -> list[str]:
        """Tags to learn, in the order of the catalog."""
        without = {entry["tag"] for entry in self.dropped}
        return [tag for tag in self.usable.index if tag not in without]

    @property
    def usable_tracks(self) -> int:
        """Number of tracks outside quarantine; meaningful only when the tables passed."""
        return self.tracks - len(self.quarantine)

    def as_dict(self) -> dict[str, Any]:
        """The content of validation.json."""
        checks = [vars(result) | {"failing": result.failing[:KEPT_KEYS]} for result in self.results]
        return self.version | {
            "passed": not self.stops,
            "stops": self.stops,
            "mentions": self.mentions,
            "tracks": self.tracks,
            "quarantined": len(self.quarantine),
            "known_broken": self.known_broken,
            "reasons": self.reasons,
            "split": self.split,
            "leaks": self.leaks,
            "tags": self.tags,
            "dropped_tags": self.dropped,
            "checks": checks,
        }
