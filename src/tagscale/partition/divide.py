"""The partition: which track is for training, validation or testing, and the order of growing training subsets.

Parts are made of whole artists (a model that knows an artist's sound must not be tested on it) and stratified over
all tags, unless the dataset brings its own split. Training subsets are prefixes of one order, so a larger subset
holds every smaller one, and each prefix has the tags about as often as the whole. When the dataset grows, tracks keep
their parts: new tracks follow their artist, new artists are placed around the others, and the order continues.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired

import numpy as np
import pandas as pd
from typing_extensions import TypedDict

from tagscale.catalog.tables import artist_keys
from tagscale.partition.features import Features, sums_by
from tagscale.partition.growth import COMMAND, NOWHERE, PARTS, add_assignments, inherit, no_assignments
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
    settings: NotRequired[dict[str, Any]]


@dataclass
class Partition:
    """The parts of a dataset, without its quarantined tracks.

    table: track_id, artist, part (train, valid or test) and rank, sorted by track_id. The training subset of size
        n is `part == "train" and rank < n`, so subsets are nested; rank is -1 outside train.
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
        """Write partition.parquet and partition.json (with the numbers of `quality`), replacing what was there.

        With them go quality.csv and assigned.parquet, where the partition has them.
        """
        by_part = self.table.groupby("part")
        facts: dict[str, Any] = {
            "hash": self.hash,
            "split": self.split,
            "data_hash": self.data_hash,
            "settings": self.settings,
            "counts": {part: int((self.table["part"] == part).sum()) for part in PARTS},
            "artists": {part: int(by_part["artist"].nunique().get(part, 0)) for part in PARTS},
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
        if not table["part"].isin(PARTS).all() or table["track_id"].duplicated().any():
            raise output.damaged("partition.parquet", f"expected every track once, in {', '.join(PARTS)}")
        return cls(table, facts["tags"], facts["split"], facts["data_hash"], facts.get("settings", {}))


def divide(
    tracks: pd.DataFrame,
    labels: pd.DataFrame,
    kinds: list[str],
    shares: dict[str, float],
    seed: int,
    assigned: pd.DataFrame | None = None,
) -> tuple[Partition, dict[str, Any]]:
    """Divide tracks into train, valid and test, and order the training tracks.

    Args:
        tracks: track_id, artist and split (train, valid, test or None), sorted by track_id.
        labels: of the tags to learn, (tracks, tags), in the order of `tracks`.
        kinds: classification or regression, one a tag.
        shares: of train, valid and test, adding up to 1; a split that the tracks carry wins over them, and
            tracks outside it are left out.
        assigned: what earlier partitions decided (growth.py): those tracks and artists keep their part and order. A
            split that the tracks carry wins over this too.

    Returns:
        The partition, and its quality for partition.json: `source` (stratified or split column), `artists_crossing`
        (how many have tracks in more than one part), what `quality_of` returns and `subsets` (`subset_quality`).

    Raises:
        TagscaleError: fewer artists than parts, or a split or earlier assignments that leave a part empty.
    """
    own = bool(tracks["split"].notna().any())
    if own:  # tracks outside the dataset's split get no part
        listed = tracks["split"].notna().to_numpy()
        tracks, labels = tracks[listed], labels[listed]
    assigned = no_assignments() if own or assigned is None else assigned
    values = np.ascontiguousarray(labels.to_numpy(np.float32))
    tracks = tracks.assign(artist=artist_keys(tracks))[["track_id", "artist", "split"]]
    artist_of, artists = pd.factorize(tracks["artist"].to_numpy(object), sort=True)
    part_of, place = inherit(assigned, tracks)
    if own:
        part_of = _own_split(tracks)
    elif len(artists) < len(PARTS):
        raise TagscaleError(
            f"the dataset has {len(artists)} artist(s), and each of {', '.join(PARTS)} takes whole artists: at "
            f"least {len(PARTS)} are needed. Add tracks of other artists, or a `split` column to the table."
        )
    # a group: the tracks of one artist that are in one part, or that have none yet
    groups, group_of = np.unique(artist_of * (len(PARTS) + 1) + part_of - NOWHERE, return_inverse=True)
    artist_of_group, part_of_group = np.divmod(groups, len(PARTS) + 1)
    part_of_group += NOWHERE
    sums = TagSums(values, kinds, group_of, len(groups))
    features = Features(values, kinds)
    if not own:
        amounts = sums_by(group_of, len(groups), len(features), features.of)
        due = np.array([shares[part] for part in PARTS])
        part_of_group = artist_parts(amounts, sums.positive > 0, due, seed, part_of_group)
        part_of = part_of_group[group_of]
        _check_no_part_is_empty(part_of)
    place = _places(features, part_of, place, int(assigned["place"].max()) + 1 if len(assigned) else 0, seed)
    order = np.flatnonzero(part_of == 0)
    order = order[np.argsort(place[order])]
    rank = np.full(len(tracks), NOWHERE)
    rank[order] = np.arange(len(order))
    table = tracks[["track_id", "artist"]].assign(part=np.array(PARTS, object)[part_of], rank=rank)
    table = table.reset_index(drop=True)
    tags = pd.DataFrame({"tag": list(labels.columns), "kind": kinds})
    quality, by_tag = quality_of(sums, part_of_group, artist_of_group, tags, shares, seed)
    crossing = int((np.bincount(artist_of_group) > 1).sum())
    origin = {"source": "split column" if own else "stratified", "artists_crossing": crossing}
    partition = Partition(table, list(labels.columns), by_tag=by_tag)
    if not own:
        partition.assigned = add_assignments(assigned, table.assign(place=place))
    return partition, origin | quality | {"subsets": subset_quality(values, order, seed)}


def _own_split(tracks: pd.DataFrame) -> np.ndarray:
    """The dataset's own split as the index of each track's part."""
    part_of = tracks["split"].map(PARTS.index).to_numpy(np.int64)
    if empty := _empty(part_of):
        raise TagscaleError(
            f"split: no usable track is for {', '.join(empty)}. Give some tracks that split, or remove the column."
        )
    return part_of


def _check_no_part_is_empty(part_of: np.ndarray) -> None:
    if empty := _empty(part_of):
        raise TagscaleError(
            f"no usable track is left in {', '.join(empty)}, and tracks never move from one part to another. Bring "
            "back tracks of its artists, add tracks of new artists, or change partition.seed to divide all afresh."
        )


def _empty(part_of: np.ndarray) -> list[str]:
    return [part for i, part in enumerate(PARTS) if not (part_of == i).any()]


def _places(features: Features, part_of: np.ndarray, place: np.ndarray, following: int, seed: int) -> np.ndarray:
    """Places of training tracks: inherited ones, and for new tracks those from `following` on, in balanced order."""
    ahead = np.flatnonzero((part_of == 0) & (place != NOWHERE))
    new = np.flatnonzero((part_of == 0) & (place == NOWHERE))
    before = sums_by(np.zeros(len(ahead), np.int64), 1, len(features), lambda some: features.of(ahead[some]))[0]
    place = place.copy()
    if len(new):
        place[new[balanced_order(features.of(new), seed, before)]] = following + np.arange(len(new))
    return place
