"""The partition: which track is for training, validation or testing, and the order of growing training subsets.

Parts are made of whole artists (a model that knows an artist's sound must not be tested on it) and stratified over
all tags, unless the dataset brings its own split. Training subsets are prefixes of one order, so a larger subset
holds every smaller one, and each prefix has the tags about as often as the whole. When the dataset grows, tracks keep
their parts: new tracks follow their artist, new artists are placed around the others, and the order continues.

A small dataset is divided into folds instead, which are parts alike in every way. For each fold a model is trained that
is tested on it, so that every track is a test track once.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from typing_extensions import TypedDict

from tagscale import POSITIVE
from tagscale.catalog.tables import artist_keys
from tagscale.partition.features import Features, sums_by
from tagscale.partition.growth import (
    COMMAND,
    NOWHERE,
    PARTS,
    add_assignments,
    fold_names,
    inherit,
    no_assignments,
    part_names,
)
from tagscale.partition.quality import TagSums, quality_of, subset_quality
from tagscale.partition.stratify import artist_parts, balanced_order
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing, seal
from tagscale.runtime.reading import Output
from tagscale.runtime.tables import schema, table_in, write_csv, write_table

TABLE = schema(track_id="text", artist="text", part="text", rank="whole")


class Facts(TypedDict):
    """What `Partition.load` takes from partition.json."""

    tags: list[str]
    split: str
    data_hash: str
    settings: dict[str, Any]


@dataclass
class Partition:
    """The parts of a dataset, without its quarantined tracks.

    table: track_id, artist, part (train, valid or test) and rank, sorted by track_id. The training subset of size
        n is `part == "train" and rank < n`, so subsets are nested; rank is -1 outside train. In a partition in folds,
        the parts are fold-1, fold-2 ..., and rank is the place of a track in the order of all tracks.
    tags: the tags to learn, in the order of a model's outputs.
    split: name of the dataset's split that the parts are, or "stratified".
    data_hash: of the divided data (catalog and decoded audio); validate computes it.
    settings: what decides the parts beside the data; a later partition with the same settings continues this one.
    by_tag: prevalence of every tag in every part (quality.py), for quality.csv; not loaded.
    assigned: every assignment ever made with these settings (growth.py), for assigned.parquet; not loaded.
    """

    table: pd.DataFrame
    tags: list[str]
    split: str = "stratified"
    data_hash: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    by_tag: pd.DataFrame | None = None
    assigned: pd.DataFrame | None = None

    @property
    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of track ids, parts, ranks and tags."""
        digest = hashlib.sha256()
        rows = zip(self.table["track_id"], self.table["part"], self.table["rank"], strict=True)
        digest.update("\x1e".join(f"{track}\x1f{part}\x1f{rank}" for track, part, rank in rows).encode())
        digest.update("\x1d".join(["", *self.tags]).encode())
        return digest.hexdigest()[:12]

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts: train, valid and test, or fold-1, fold-2 ..."""
        return part_names(self.table["part"])

    @property
    def folds(self) -> int:
        """The number of folds; 0 where the parts are train, valid and test."""
        return 0 if self.parts == PARTS else len(self.parts)

    def fold(self, number: int) -> "Partition":
        """The partition of a fold's model (from 1): tested on that fold, validated on the next, trained on the others.

        So every track is a test track of one model, and a validation track of one other.
        """
        names = fold_names(self.folds)
        part_of = dict.fromkeys(names, "train") | {names[number - 1]: "test", names[number % len(names)]: "valid"}
        part = self.table["part"].map(part_of).astype(object)
        training = (part == "train").to_numpy()
        rank = np.full(len(self.table), NOWHERE)
        rank[training] = self.table["rank"].to_numpy()[training].argsort().argsort()
        table = self.table.assign(part=part, rank=rank)
        return Partition(table, self.tags, self.split, self.data_hash, self.settings)

    def views(self) -> dict[str, "Partition"]:
        """The partitions that models are trained on, by the name of the fold; {"": self} without folds."""
        return {name: self.fold(number) for number, name in enumerate(fold_names(self.folds), 1)} or {"": self}

    def tracks(self, part: str) -> list[str]:
        """Track ids of train, valid or test, sorted; with folds those of all folds, which are all tracks."""
        return self.rows(part)["track_id"].tolist()

    def rows(self, part: str) -> pd.DataFrame:
        """The rows of `tracks(part)` in the table."""
        return self.table if self.folds else self.table[self.table["part"] == part]

    def about(self, tracks: Sequence[str], column: Literal["artist", "part"]) -> list[str]:
        """The artist or the part of each track, in the given order."""
        values: list[str] = self.table.set_index("track_id")[column].loc[list(tracks)].tolist()
        return values

    def artist_of(self, tracks: Sequence[str]) -> np.ndarray:
        """The number of each track's artist, (tracks,)."""
        return np.unique(self.about(tracks, "artist"), return_inverse=True)[1]

    def fold_of(self, tracks: Sequence[str]) -> np.ndarray:
        """The number of each track's fold, (tracks,). Tracks of a part without folds have one number.

        In the test part, and in the validation part too, the tracks of a fold are those that one model scores.
        """
        return np.unique(self.about(tracks, "part"), return_inverse=True)[1]

    def training_subset(self, size: int | str) -> list[str]:
        """Track ids of the nested training subset of `size` tracks, by rank: a number, or "all".

        Raises:
            TagscaleError: the training part holds fewer tracks, or the size is no positive number.
            ValueError: a partition in folds, which has a training part in each of its `views` only.
        """
        if self.folds:
            raise ValueError("a partition in folds has no training part of its own: ask its views")
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
        """Write partition.parquet and partition.json (with the numbers of `quality`), replacing what was there.

        With them go quality.csv and assigned.parquet, where the partition has them.
        """
        by_part = self.table.groupby("part")
        facts: dict[str, Any] = {
            "hash": self.hash,
            "split": self.split,
            "data_hash": self.data_hash,
            "settings": self.settings,
            "counts": {part: int((self.table["part"] == part).sum()) for part in self.parts},
            "artists": {part: int(by_part["artist"].nunique().get(part, 0)) for part in self.parts},
        }
        with replacing(folder) as fresh:
            fresh.mkdir()
            write_table(self.table, fresh / "partition.parquet")
            if self.assigned is not None:
                write_table(self.assigned, fresh / "assigned.parquet")
            if self.by_tag is not None:
                write_csv(self.by_tag, fresh / "quality.csv")
            seal(fresh, "partition.json", facts | (quality or {}) | {"tags": self.tags})

    @classmethod
    def load(cls, folder: Path) -> "Partition":
        """Read a partition's folder. Raises Damaged where a file is missing or not as `save` wrote it."""
        output = Output(folder, "partition.json", COMMAND)
        facts = output.facts(Facts)
        table = table_in(output, "partition.parquet", TABLE)
        parts = part_names(table["part"])
        if not table["part"].isin(parts).all() or table["track_id"].duplicated().any():
            raise output.damaged("partition.parquet", f"expected every track once, in {', '.join(parts)}")
        return cls(table, facts["tags"], facts["split"], facts["data_hash"], facts["settings"])


def divide(
    tracks: pd.DataFrame,
    labels: pd.DataFrame,
    kinds: list[str],
    shares: dict[str, float],
    seed: int,
    assigned: pd.DataFrame | None = None,
) -> tuple[Partition, dict[str, Any]]:
    """Divide tracks into train, valid and test, or into folds, and order the tracks for training.

    Args:
        tracks: track_id, artist, split (train, valid, test or None) and, where known, recording; sorted by track_id.
        labels: of the tags to learn, (tracks, tags), in the order of `tracks`.
        kinds: classification or regression, one a tag.
        shares: of train, valid and test, or of `fold_names`, adding up to 1; a split that the tracks carry wins over
            them, and tracks outside it are left out.
        assigned: what earlier partitions decided (growth.py): those tracks and artists keep their part and order. A
            split that the tracks carry wins over this too.

    Returns:
        The partition, and its quality for partition.json: `source` (stratified or split column), `artists_crossing`
        (how many have tracks in more than one part), what `quality_of` returns, `subsets` (`subset_quality`) and, of
        folds, `unlearned`: the classification tags that no training track of a fold's model has.

    Raises:
        TagscaleError: fewer artists than parts, or a split or earlier assignments that leave a part empty.
    """
    parts, own = tuple(shares), bool(tracks["split"].notna().any())
    if own:  # tracks outside the dataset's split get no part
        listed = tracks["split"].notna().to_numpy()
        tracks, labels = tracks[listed], labels[listed]
    assigned = no_assignments() if own or assigned is None else assigned
    values = np.ascontiguousarray(labels.to_numpy(np.float32))
    tracks = tracks.assign(artist=artist_keys(tracks))[["track_id", "artist", "split"]]
    artist_of, artists = pd.factorize(tracks["artist"].to_numpy(object), sort=True)
    part_of, place = inherit(assigned, tracks, parts)
    if own:
        part_of = _own_split(tracks)
    elif len(artists) < len(parts):
        remedy = "add a `split` column to the table" if parts == PARTS else "lower partition.folds (3 at least)"
        raise TagscaleError(
            f"the dataset has {len(artists)} artist(s), and each of {', '.join(parts)} takes whole artists: at "
            f"least {len(parts)} are needed. Add tracks of other artists, or {remedy}. Where the tagger is to serve "
            "these artists alone, leave the column artist empty: each track then counts as an artist of its own."
        )
    # a group: the tracks of one artist that are in one part, or that have none yet
    groups, group_of = np.unique(artist_of * (len(parts) + 1) + part_of - NOWHERE, return_inverse=True)
    artist_of_group, part_of_group = np.divmod(groups, len(parts) + 1)
    part_of_group += NOWHERE
    sums = TagSums(values, kinds, group_of, len(groups))
    features = Features(values, kinds)
    if not own:
        amounts = sums_by(group_of, len(groups), len(features), features.of)
        due = np.array(list(shares.values()))
        part_of_group = artist_parts(amounts, sums.positive > 0, due, seed, part_of_group)
        part_of = part_of_group[group_of]
        if empty := _empty(part_of, parts):
            raise TagscaleError(
                f"no usable track is left in {', '.join(empty)}, and tracks never move from one part to another. Bring "
                "back tracks of its artists, add tracks of new artists, or change partition.seed to divide all afresh."
            )
    ordered = [0] if parts == PARTS else list(range(len(parts)))
    place = _places(features, part_of, ordered, place, int(assigned["place"].max()) + 1 if len(assigned) else 0, seed)
    order = np.flatnonzero(place != NOWHERE)
    order = order[np.argsort(place[order])]
    rank = np.full(len(tracks), NOWHERE)
    rank[order] = np.arange(len(order))
    table = tracks[["track_id", "artist"]].assign(part=np.array(parts, object)[part_of], rank=rank)
    table = table.reset_index(drop=True)
    tags = pd.DataFrame({"tag": list(labels.columns), "kind": kinds})
    quality, by_tag = quality_of(sums, part_of_group, artist_of_group, tags, shares, seed)
    crossing = int((np.bincount(artist_of_group) > 1).sum())
    origin: dict[str, Any] = {"source": "split column" if own else "stratified", "artists_crossing": crossing}
    partition = Partition(table, list(labels.columns), by_tag=by_tag)
    if not own:
        partition.assigned = add_assignments(assigned, table.assign(place=place))
    if partition.folds:
        origin["unlearned"] = _unlearned(partition, labels, kinds)
    return partition, origin | quality | {"subsets": subset_quality(values, order, seed)}


def _unlearned(partition: Partition, labels: pd.DataFrame, kinds: list[str]) -> dict[str, list[str]]:
    """By fold, the classification tags without a positive track in the training part of its model."""
    positive = (labels.to_numpy() >= POSITIVE) & (np.array(kinds) == "classification")
    tags = labels.columns[np.array(kinds) == "classification"]
    carried = {
        name: labels.columns[positive[(view.table["part"] == "train").to_numpy()].any(axis=0)]
        for name, view in partition.views().items()
    }
    return {name: [tag for tag in tags if tag not in known] for name, known in carried.items()}


def _own_split(tracks: pd.DataFrame) -> np.ndarray:
    """The dataset's own split as the index of each track's part."""
    part_of = tracks["split"].map(PARTS.index).to_numpy(np.int64)
    if empty := _empty(part_of, PARTS):
        raise TagscaleError(
            f"split: no usable track is for {', '.join(empty)}. Give some tracks that split, or remove the column."
        )
    return part_of


def _empty(part_of: np.ndarray, parts: Sequence[str]) -> list[str]:
    return [part for i, part in enumerate(parts) if not (part_of == i).any()]


def _places(
    features: Features, part_of: np.ndarray, ordered: list[int], place: np.ndarray, following: int, seed: int
) -> np.ndarray:
    """Places of the tracks of the ordered parts: inherited ones, and for new tracks those from `following` on.

    New tracks are in balanced order. Several parts alternate, each in proportion to its new tracks: so every prefix is
    balanced in whichever of the parts a model is trained on.
    """
    orders, progress = [np.empty(0, np.int64)], [np.empty(0)]
    for part in ordered:
        ahead = np.flatnonzero((part_of == part) & (place != NOWHERE))
        new = np.flatnonzero((part_of == part) & (place == NOWHERE))
        if len(new):
            orders.append(new[balanced_order(features.of(new), seed, _sum(features, ahead))])
            progress.append((np.arange(len(new)) + 0.5) / len(new))
    turns = np.concatenate(orders)[np.argsort(np.concatenate(progress), kind="stable")]
    place = place.copy()
    place[turns] = following + np.arange(len(turns))
    return place


def _sum(features: Features, tracks: np.ndarray) -> np.ndarray:
    """Features of these tracks together: (features,)."""
    return sums_by(np.zeros(len(tracks), np.int64), 1, len(features), lambda some: features.of(tracks[some]))[0]
