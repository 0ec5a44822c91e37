"""The catalog: one table of tracks, one of labels and one of tags, whatever the dataset looks like on disk.

Every later stage reads the catalog and knows nothing of the dataset's own files. A catalog is a folder of
tracks.parquet, labels.parquet (same row order), tags.csv and dataset.json (name, source, root, hash, counts).
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from typing_extensions import TypedDict

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing, seal
from tagscale.runtime.names import normalised
from tagscale.runtime.reading import Output
from tagscale.runtime.tables import csv_in, schema, table_in, wide_in, write_csv, write_table, write_wide

TRACK_COLUMNS = ["track_id", "path", "artist", "album", "recording", "title", "seconds", "split", "fault"]
TAG_COLUMNS = ["group", "kind", "exclusive"]
NAMES = ["track_id", "artist", "album", "recording"]  # columns by which tracks are told apart or held together
TRACKS = schema(**dict.fromkeys(TRACK_COLUMNS, "text?") | {"track_id": "text", "path": "text", "seconds": "number?"})
COMMAND = "tagscale catalog"


@dataclass(frozen=True)
class Split:
    """The dataset's own division into train, valid and test.

    name: as the dataset's users call it ("original", "clean", "split-0").
    artist_filtered: whether its authors claim that no artist is in two parts.
    """

    name: str
    artist_filtered: bool


class Facts(TypedDict):
    """What `load` takes from dataset.json."""

    name: str
    source: str
    root: str
    split: Split | None


@dataclass
class Catalog:
    """Tracks and their labels, sorted by track id.

    tracks: one row a track: track_id, path (POSIX, relative to the dataset's root), artist, album, recording (which
        clips are cut from the same one) and title ("" = unknown), seconds (annotated duration, NaN = unknown), split
        (train, valid, test; None = not in the split) and fault (as the dataset's authors state it, "" = none).
    labels: (tracks, tags) float32 in [0, 1], NaN = not annotated; index track_id in the order of `tracks`.
    tags: index tag in the order of the columns of `labels`; group, kind (classification or regression),
        exclusive (name of the set of mutually exclusive tags that it belongs to, "" = none).
    split: which split the column holds; None: the dataset has none, or the partition stage divides it.
    origin: the source that it was read from, and the folder, as `save` was told; not part of the content.
    """

    name: str
    tracks: pd.DataFrame
    labels: pd.DataFrame
    tags: pd.DataFrame
    split: Split | None = None
    origin: tuple[str, str] = ("folder", "")

    @property
    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of the content, without the name."""
        digest = hashlib.sha256()
        for column in TRACK_COLUMNS:
            _add_column(digest, self.tracks[column])
        _add_column(digest, self.tags.index.to_series())
        for column in TAG_COLUMNS:
            _add_column(digest, self.tags[column])
        values = self.labels.to_numpy("<f4", copy=True)
        values[np.isnan(values)] = np.nan  # one bit pattern for all NaNs
        digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()[:12]

    @property
    def split_hash(self) -> str:
        """First 12 hex digits of the SHA-256 of the split's lists of ids alone."""
        listed = self.tracks[self.tracks["split"].notna()]
        rows = sorted(zip(listed["split"], listed["track_id"], strict=True))
        return hashlib.sha256("\x1e".join(f"{part}\x1f{track}" for part, track in rows).encode()).hexdigest()[:12]

    def save(self, folder: Path, source: str = "folder", root: str = "") -> None:
        """Write the catalog's folder, replacing an older one.

        Args:
            source: where the data came from, for dataset.json ("synth", "folder", "mtt").
            root: the dataset's folder as the user gave it, for dataset.json.
        """
        with replacing(folder) as fresh:
            fresh.mkdir()
            write_table(self.tracks, fresh / "tracks.parquet")
            write_wide(pd.DataFrame({"track_id": self.labels.index}), self.labels, fresh / "labels.parquet")
            write_csv(self.tags.rename_axis("tag").reset_index(), fresh / "tags.csv")
            facts = {"name": self.name, "source": source, "root": root, "hash": self.hash}
            counts = {
                "tracks": len(self.tracks),
                "artists": int(artist_keys(self.tracks).nunique()),
                "tags": len(self.tags),
            }
            split = asdict(self.split) | {"hash": self.split_hash} if self.split else None
            seal(fresh, "dataset.json", facts | counts | {"split": split})

    @classmethod
    def load(cls, folder: Path) -> "Catalog":
        """Read a catalog's folder. Raises Damaged where a file is missing or not as `save` wrote it."""
        output = Output(folder, "dataset.json", COMMAND)
        facts = output.facts(Facts)
        tracks = table_in(output, "tracks.parquet", TRACKS)
        tracks["split"] = tracks["split"].astype(object).where(tracks["split"].notna(), None)
        keys, labels = wide_in(output, "labels.parquet", schema(track_id="text"), pa.float32())
        labels = labels.set_index(pd.Index(keys["track_id"]))
        tags = csv_in(output, "tags.csv", ["tag", *TAG_COLUMNS]).set_index("tag")[TAG_COLUMNS]
        if labels.index.tolist() != tracks["track_id"].tolist():
            raise output.damaged("labels.parquet", "its tracks are not those of tracks.parquet, in their order")
        if labels.columns.tolist() != tags.index.tolist():
            raise output.damaged("labels.parquet", "its tags are not those of tags.csv, in their order")
        return cls(facts["name"], tracks, labels, tags, facts["split"], (facts["source"], facts["root"]))


def catalog_of(
    name: str, tracks: pd.DataFrame, labels: pd.DataFrame, tags: pd.DataFrame, split: Split | None
) -> Catalog:
    """Make a catalog from what a source knows: sort it by track id, add the columns that the source left out.

    Every name of a track, an artist, an album, a recording and a tag gets its one form here (`runtime.names`).

    Args:
        tracks: track_id, path and any other of TRACK_COLUMNS.
        labels: in the order of `tracks`, whatever its index.
        tags: index tag; group, and kind and exclusive where they differ from classification and "".

    Raises:
        TagscaleError: two tracks or two tags whose names are the same text in two spellings.
    """
    absent: dict[str, Any] = dict.fromkeys(TRACK_COLUMNS, "") | {"seconds": np.nan, "split": None}
    tracks = tracks.reset_index(drop=True).assign(**{c: v for c, v in absent.items() if c not in tracks})
    tracks["split"] = tracks["split"].astype(object).where(tracks["split"].notna(), None)
    tracks["seconds"] = tracks["seconds"].astype(np.float64)
    tracks = tracks.assign(**{column: one_form(tracks[column]) for column in NAMES})
    tags = tags.set_axis(one_form(tags.index.to_series()), axis=0)
    labels = labels.set_axis(one_form(labels.columns.to_series()), axis=1)
    _check_distinct(name, "tracks", tracks["track_id"])
    _check_distinct(name, "tags", tags.index.to_series())
    order = np.argsort(tracks["track_id"].to_numpy(object), kind="stable")
    tracks = tracks.iloc[order].reset_index(drop=True)[TRACK_COLUMNS]
    labels = labels.iloc[order].set_axis(pd.Index(tracks["track_id"], name="track_id")).astype(np.float32)
    known = {"kind": "classification", "exclusive": ""}
    tags = tags.assign(**{c: v for c, v in known.items() if c not in tags})
    return Catalog(name, tracks, labels, tags[TAG_COLUMNS].rename_axis("tag"), split)


def one_form(names: pd.Series) -> pd.Series:
    """The names in their one form; each different name is looked at once."""
    forms = {name: normalised(name) for name in names.unique()}
    return names.map(forms).astype(object)


def _check_distinct(dataset: str, what: str, names: pd.Series) -> None:
    if (double := names[names.duplicated()]).empty:
        return
    raise TagscaleError(
        f"{dataset}: several {what} are named {double.iloc[0]!r}, if spaces, Unicode forms and characters without "
        "width do not count. Give each a name of its own."
    )


def artist_keys(tracks: pd.DataFrame) -> pd.Series:
    """The artist of each track. One of an unknown artist counts as by an artist of its own, who made its recording."""
    work = tracks["track_id"].astype(str)
    if "recording" in tracks:
        recording = tracks["recording"].fillna("").astype(str)
        work = work.where(recording == "", "recording " + recording)
    return tracks["artist"].where(tracks["artist"] != "", "unknown artist of " + work)


def _add_column(digest: "hashlib._Hash", column: pd.Series) -> None:
    """Add one column to the digest, with marks between cells and columns, so that no two contents look alike."""
    digest.update(f"\x1d{column.name}\x1d".encode())
    if column.dtype.kind == "f":
        digest.update(np.where(column.isna(), np.nan, column.to_numpy("<f8")).tobytes())
    else:
        cells = column.astype(object).where(column.notna(), "\x00")
        digest.update("\x1e".join(map(str, cells)).encode())
