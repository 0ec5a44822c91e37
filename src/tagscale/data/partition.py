"""The partition: which track is for training, validation or testing, and the order of growing training subsets."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tagscale.errors import TagscaleError
from tagscale.files import read_json, replacing, write_json

PARTS = ("train", "valid", "test")


@dataclass
class Partition:
    """The parts of a dataset, without its quarantined tracks.

    table: track_id, artist, part (train, valid or test) and rank, sorted by track_id. The training subset of size
        n is `part == "train" and rank < n`, so subsets are nested; rank is -1 outside train.
    tags: the tags to learn, in the order of a model's outputs.
    """

    table: pd.DataFrame
    tags: list[str]

    @property
    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of track ids, parts, ranks and tags."""
        digest = hashlib.sha256()
        rows = zip(self.table["track_id"], self.table["part"], self.table["rank"], strict=True)
        digest.update("\x1e".join(f"{track}\x1f{part}\x1f{rank}" for track, part, rank in rows).encode())
        digest.update("\x1d".join(["", *self.tags]).encode())
        return digest.hexdigest()[:12]

    def tracks(self, part: str) -> list[str]:
        """Track ids of train, valid or test, sorted."""
        return self.table.loc[self.table["part"] == part, "track_id"].tolist()

    def training_subset(self, size: int | str) -> list[str]:
        """Track ids of the nested training subset of `size` tracks, by rank: a number, or "all".

        Raises:
            TagscaleError: the training part holds fewer tracks, or the size is no positive number.
        """
        ordered = self.table[self.table["part"] == "train"].sort_values("rank")["track_id"].tolist()
        if size == "all":
            return ordered
        if not str(size).isdigit() or int(size) < 1:
            raise TagscaleError(f"training size {size!r}: expected a positive number of tracks or `all`.")
        if int(size) > len(ordered):
            raise TagscaleError(
                f"training size {size}: the training part holds {len(ordered)} tracks. "
                "Lower train.sizes in params.yaml, or write `all`."
            )
        return ordered[: int(size)]

    def save(self, folder: Path, quality: dict[str, Any] | None = None) -> None:
        """Write partition.parquet and partition.json (with the numbers of `quality`), replacing what was there."""
        by_part = self.table.groupby("part")
        facts: dict[str, Any] = {
            "hash": self.hash,
            "counts": {part: int((self.table["part"] == part).sum()) for part in PARTS},
            "artists": {part: int(by_part["artist"].nunique().get(part, 0)) for part in PARTS},
        }
        with replacing(folder) as fresh:
            fresh.mkdir()
            self.table.to_parquet(fresh / "partition.parquet", index=False)
            write_json(fresh / "partition.json", facts | (quality or {}) | {"tags": self.tags})

    @classmethod
    def load(cls, folder: Path) -> "Partition":
        """Read a partition's folder. Raises TagscaleError when a file of it is missing."""
        folder = Path(folder)
        for file in ("partition.parquet", "partition.json"):
            if not (folder / file).is_file():
                raise TagscaleError(f"{folder / file}: no such file. Run `tagscale partition` first.")
        return cls(
            table=pd.read_parquet(folder / "partition.parquet"), tags=read_json(folder / "partition.json")["tags"]
        )
