"""The partition: which track is for training, validation or testing, and the order of growing training subsets.

Parts are made of whole artists (a model that knows an artist's sound must not be tested on it) and stratified over
all tags, unless the dataset brings its own split. Training subsets are prefixes of one order, so a larger subset
holds every smaller one, and each prefix has the tags about as often as the whole.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from tagscale.data.catalog import artist_keys
from tagscale.data.stratify import artist_parts, balanced_order, features
from tagscale.errors import TagscaleError
from tagscale.files import read_json, replacing, write_json

PARTS = ("train", "valid", "test")


@dataclass
class Partition:
    """The parts of a dataset, without its quarantined tracks.

    table: track_id, artist, part (train, valid or test) and rank, sorted by track_id. The training subset of size
        n is `part == "train" and rank < n`, so subsets are nested; rank is -1 outside train.
    tags: the tags to learn, in the order of a model's outputs.
    split: name of the dataset's split that the parts are, or "stratified".
    data_hash: of the data version (catalog and decoded audio) that was divided; validate computes it.
    """

    table: pd.DataFrame
    tags: list[str]
    split: str = "stratified"
    data_hash: str = ""

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
            "split": self.split,
            "data_hash": self.data_hash,
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
        facts = read_json(folder / "partition.json")
        table = pd.read_parquet(folder / "partition.parquet")
        return cls(table, facts["tags"], facts["split"], facts["data_hash"])


def divide(
    tracks: pd.DataFrame, labels: pd.DataFrame, kinds: list[str], shares: dict[str, float], seed: int
) -> tuple[Partition, dict[str, Any]]:
    """Divide tracks into train, valid and test, and order the training tracks.

    Args:
        tracks: track_id, artist and split (train, valid, test or None), sorted by track_id.
        labels: of the tags to learn, (tracks, tags), in the order of `tracks`.
        kinds: classification or regression, one a tag.
        shares: of train, valid and test, adding up to 1; a split that the tracks carry wins over them, and
            tracks outside it are left out.

    Returns:
        The partition, and its quality for partition.json: `source` (stratified or split column), `deviation` (of the
        parts' mean labels from the whole's, beside those of a random split by artists), `artists_crossing` (how many
        have tracks in more than one part) and `no_positive` (classification tags by part).

    Raises:
        TagscaleError: fewer artists than parts, or a split that leaves a part empty.
    """
    if tracks["split"].notna().any():  # tracks that the dataset's split does not list are in no part
        listed = tracks["split"].notna().to_numpy()
        tracks, labels = tracks[listed], labels[listed]
    values = labels.to_numpy(np.float32)
    amounts = features(values, kinds)
    tracks = tracks.assign(artist=artist_keys(tracks))
    artists, artist_of = np.unique(tracks["artist"].to_numpy(object), return_inverse=True)
    if tracks["split"].notna().any():
        source, part_of = "split column", _own_split(tracks)
    else:
        source = "stratified"
        if len(artists) < len(PARTS):
            raise TagscaleError(
                f"the dataset has {len(artists)} artist(s), and each of {', '.join(PARTS)} takes whole artists: at "
                f"least {len(PARTS)} are needed. Add tracks of other artists, or a `split` column to the table."
            )
        membership = csr_array((np.ones(len(tracks), np.float32), (artist_of, np.arange(len(tracks)))))
        carries = np.asarray(membership @ _positive(values, kinds).astype(np.float32)) > 0
        due = np.array([shares[part] for part in PARTS])
        part_of = artist_parts(np.asarray(membership @ amounts), carries, due, seed)[artist_of]
    training = np.flatnonzero(part_of == 0)
    rank = np.full(len(tracks), -1)
    rank[training[balanced_order(amounts[training], seed)]] = np.arange(len(training))
    table = pd.DataFrame({"track_id": tracks["track_id"], "artist": tracks["artist"]})
    table = table.assign(part=np.array(PARTS)[part_of], rank=rank).reset_index(drop=True)
    parts_of_artist = table.groupby("artist")["part"].nunique()
    positive = _positive(values, kinds)
    by_chance = _deviation(values, _random_parts(artist_of, shares, seed))
    quality = {
        "source": source,
        "deviation": _deviation(values, part_of) | {f"random_{name}": value for name, value in by_chance.items()},
        "artists_crossing": int((parts_of_artist > 1).sum()),
        "no_positive": {
            part: [
                tag
                for tag, kind, some in zip(labels.columns, kinds, positive[part_of == i].any(axis=0), strict=True)
                if kind == "classification" and not some
            ]
            for i, part in enumerate(PARTS)
        },
    }
    return Partition(table, list(labels.columns)), quality


def _own_split(tracks: pd.DataFrame) -> np.ndarray:
    """The dataset's own split as the index of each track's part."""
    part_of = tracks["split"].map(PARTS.index).to_numpy(np.int64)
    empty = [part for i, part in enumerate(PARTS) if not (part_of == i).any()]
    if empty:
        raise TagscaleError(
            f"split: no usable track is for {', '.join(empty)}. Give some tracks that split, or remove the column."
        )
    return part_of


def _positive(values: np.ndarray, kinds: list[str]) -> np.ndarray:
    """Which tracks carry which classification tag: (tracks, tags)."""
    return (values >= 0.5) & (np.array(kinds) == "classification")


def _random_parts(artist_of: np.ndarray, shares: dict[str, float], seed: int) -> np.ndarray:
    """Whole artists in random order, filling train, then valid, then test: what one would do without stratifying."""
    sizes = np.bincount(artist_of)
    order = np.random.default_rng(seed).permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    borders = np.cumsum([shares[part] for part in PARTS])[:-1] * len(artist_of)
    part_of = np.empty(len(sizes), np.int64)
    part_of[order] = np.searchsorted(borders, before, side="right")
    return part_of[artist_of]


def _deviation(values: np.ndarray, part_of: np.ndarray) -> dict[str, float]:
    """Largest and mean |mean label in a part - mean label| over tags and parts, among annotated tracks."""
    there = ~np.isnan(values)
    known = np.where(there, values, 0)
    whole = known.sum(axis=0, dtype=np.float64) / np.maximum(there.sum(axis=0), 1)
    gaps = []
    for part in range(len(PARTS)):
        count = there[part_of == part].sum(axis=0)
        mean = known[part_of == part].sum(axis=0, dtype=np.float64) / np.maximum(count, 1)
        gaps.append(np.abs(mean - whole)[count > 0])
    found = np.concatenate(gaps)
    return {"max": round(float(found.max(initial=0)), 6), "mean": round(float(found.sum()) / max(len(found), 1), 6)}
