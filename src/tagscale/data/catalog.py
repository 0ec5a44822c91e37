"""The catalog: one table of tracks, one of labels and one of tags, whatever the dataset looked like on disk.

Every later stage reads this and knows nothing of where the data came from. Files of a catalog's folder:
tracks.parquet, labels.parquet (same row order), tags.csv and dataset.json (name, source, root, hash, counts).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tagscale.errors import TagscaleError
from tagscale.files import read_json, replacing, write_json

TRACK_COLUMNS = ["track_id", "path", "artist", "album", "title", "seconds", "split"]
TAG_COLUMNS = ["group", "kind", "exclusive"]


@dataclass
class Catalog:
    """Tracks and their labels, sorted by track id.

    tracks: track_id, path (POSIX, relative to the dataset's root), artist, album and title ("" = unknown),
        seconds (annotated duration, NaN = unknown), split (train, valid, test or None), one row a track.
    labels: (tracks, tags) float32 in [0, 1], NaN = not annotated; index track_id in the order of `tracks`.
    tags: index tag in the order of the columns of `labels`; group, kind (classification or regression),
        exclusive (name of the set of mutually exclusive tags that it belongs to, "" = none).
    """

    name: str
    tracks: pd.DataFrame
    labels: pd.DataFrame
    tags: pd.DataFrame

    @property
    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of the content; the name is no part of it."""
        digest = hashlib.sha256()
        for column in TRACK_COLUMNS:
            _add_column(digest, self.tracks[column])
        _add_column(digest, self.tags.index.to_series())
        for column in TAG_COLUMNS:
            _add_column(digest, self.tags[column])
        values = self.labels.to_numpy("<f4", copy=True)
        values[np.isnan(values)] = np.nan  # NaNs differ in their bits; these do not
        digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()[:12]

    def save(self, folder: Path, source: str = "folder", root: str = "") -> None:
        """Write the catalog's folder, replacing what was there.

        Args:
            source: where the data came from, for dataset.json ("synth", "folder").
            root: the dataset's folder as the user gave it, for dataset.json.
        """
        with replacing(folder) as fresh:
            fresh.mkdir()
            self.tracks.to_parquet(fresh / "tracks.parquet", index=False)
            self.labels.rename_axis("track_id").reset_index().to_parquet(fresh / "labels.parquet", index=False)
            self.tags.rename_axis("tag").to_csv(fresh / "tags.csv", lineterminator="\n")
            facts = {"name": self.name, "source": source, "root": root, "hash": self.hash}
            counts = {
                "tracks": len(self.tracks),
                "artists": int(self.tracks["artist"].nunique()),
                "tags": len(self.tags),
            }
            write_json(fresh / "dataset.json", facts | counts)

    @classmethod
    def load(cls, folder: Path) -> "Catalog":
        """Read a catalog's folder. Raises TagscaleError when a file of it is missing."""
        folder = Path(folder)
        for file in ("tracks.parquet", "labels.parquet", "tags.csv", "dataset.json"):
            if not (folder / file).is_file():
                raise TagscaleError(f"{folder / file}: no such file. Run `tagscale catalog` first.")
        tags = pd.read_csv(folder / "tags.csv", dtype=str, keep_default_na=False).set_index("tag")
        tracks = pd.read_parquet(folder / "tracks.parquet")
        tracks["split"] = tracks["split"].astype(object).where(tracks["split"].notna(), None)
        return cls(
            name=read_json(folder / "dataset.json")["name"],
            tracks=tracks,
            labels=pd.read_parquet(folder / "labels.parquet").set_index("track_id"),
            tags=tags[TAG_COLUMNS],
        )


def _add_column(digest: "hashlib._Hash", column: pd.Series) -> None:
    """Feed one column to the digest so that neither order nor cell borders can be confused."""
    digest.update(f"\x1d{column.name}\x1d".encode())
    if column.dtype.kind == "f":
        digest.update(np.where(column.isna(), np.nan, column.to_numpy("<f8")).tobytes())
    else:
        cells = column.astype(object).where(column.notna(), "\x00")
        digest.update("\x1e".join(map(str, cells)).encode())
