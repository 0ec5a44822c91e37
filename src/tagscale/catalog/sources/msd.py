"""The Million Song Dataset with its 50 most frequent Last.fm tags: 241,889 previews (Bertin-Mahieux et al. 2011).

The dataset's folder holds 50tagList.txt and the public split (Lee et al. 2017) in one of two forms:
- pickles: msd_id_to_tag_vector.cP (id -> 50 labels), filtered_list_train.cP, whose first 201,680 ids are for training
  and the rest for validation, and filtered_list_test.cP; MSD_id_to_7D_id.pkl and 7D_id_to_path.pkl for the previews.
- arrays: {train,valid,test}_x_msd_id.txt, _x_7d_id.txt and _y.npy, in the same order, for any of the parts.
Reading the pickles executes nothing in them. The dataset's own unique_tracks.txt, which is optional, gives artists and
titles.
"""

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tagscale.catalog.sources import plain_pickle
from tagscale.catalog.sources.annotations import check_paths, check_unique, locate, open_text, read_table, refuse
from tagscale.catalog.tables import Catalog, Split, catalog_of
from tagscale.params.load import DatasetParams
from tagscale.runtime.errors import TagscaleError

SPLITS = {"original": Split("original", artist_filtered=False)}
TAG_SETS = ("top50",)
VARIANTS = ("7digital", "msd")  # how previews are named: 8/9/8985987.clip.mp3, or A/B/C/TRABC....mp3
PARTS = ["train", "valid", "test"]
TRAINING = 201_680  # ids of filtered_list_train.cP; the rest is for validation
LABELS, TAG_LIST = "msd_id_to_tag_vector.cP", "50tagList.txt"
NEEDED = (
    "The split repositories for MSD tagging publish it; the docstring of tagscale.catalog.sources.msd lists the files."
)
MSD_ID = re.compile(r"TR[A-Z]{5}[0-9A-F]{11}")
WITHOUT_PREVIEW = (  # no usable audio, as the split's users found
    "TRBGJIZ128F92E42BC", "TREGWSL128F92C9D42", "TRJKZDA12903CFBA43", "TRVWNOH128E0788B78", "TRCGBRK128F146A901",
)  # fmt: skip


def read(root: Path, dataset: DatasetParams) -> Catalog:
    """Read the catalog of MSD's top 50. Opens no audio, executes nothing.

    Raises:
        TagscaleError: a file is missing, damaged or contradicts another, a pickle holds anything but plain data, or a
            label is outside [0, 1]; the message names the file.
    """
    root = Path(root)
    cells = read_table(
        locate(root, TAG_LIST, NEEDED), "\t", columns=["tag"], header=["tag"], unique="tag", quoted=False
    )
    names = [str(tag).lower() for tag in cells["tag"]]
    pickled = (root / LABELS).is_file()
    if pickled:
        reader = partial(_from_pickles, tags=len(names), training=TRAINING)
        tracks, values = plain_pickle.in_bounds(reader, root)
    else:
        tracks, values = _from_arrays(root, len(names))
    source = root / LABELS if pickled else root
    wrong = ~((values >= 0) & (values <= 1)).all(axis=1)
    refuse(source, tracks["track_id"], pd.Series(wrong, tracks.index), "label outside [0, 1]", "get the file again")
    check_unique(source, tracks["track_id"])
    odd = ~tracks["track_id"].map(lambda track: bool(MSD_ID.fullmatch(track)))
    refuse(source, tracks["track_id"], odd, "id that is none of MSD's", "expected TR, five letters, eleven hex digits")
    tracks["path"] = _paths(root, tracks, dataset.variant or VARIANTS[0])
    tracks = tracks.join(_metadata(root), on="track_id").fillna({"artist": "", "title": ""})
    faulty = tracks["track_id"].isin(WITHOUT_PREVIEW)
    tracks["fault"] = np.where(faulty, "its preview is known to be missing or broken", "")
    split = SPLITS["original"] if dataset.split in (None, "original") else None
    if split is None:
        tracks["split"] = None
    tags = pd.DataFrame({"group": "tags"}, index=names)
    return catalog_of(dataset.name, tracks, pd.DataFrame(values, columns=names), tags, split)


def _from_pickles(root: Path, tags: int, training: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Ids, parts and labels of the pickled lists."""
    labels = plain_pickle.read(root / LABELS)
    if not isinstance(labels, dict):
        raise TagscaleError(f"{root / LABELS}: holds a {type(labels).__name__}, expected a dict from id to labels.")
    known = _ids(root, "filtered_list_train.cP")
    lists = [known[:training], known[training:], _ids(root, "filtered_list_test.cP")]
    ids = [track for part in lists for track in part]
    missing = [track for track in ids if track not in labels]
    if missing:
        raise TagscaleError(f"{root / LABELS}: no labels of {len(missing)} tracks of the lists, as {missing[0]}.")
    seven = _optional_dict(root / "MSD_id_to_7D_id.pkl")
    tracks = pd.DataFrame({"track_id": ids, "split": np.repeat(PARTS, [len(part) for part in lists])})
    tracks["seven"] = [seven.get(track, "") for track in ids]
    try:
        values = np.stack([_vector(labels[track], tags) for track in ids])
    except (ValueError, TypeError, OverflowError):
        raise TagscaleError(f"{root / LABELS}: not every track has {tags} labels, as many as {TAG_LIST}.") from None
    return tracks, values


def _vector(labels: Any, tags: int) -> np.ndarray:
    """Labels of a track, an array or a list of numbers, as (tags,) float32. Raises ValueError for anything else."""
    if isinstance(labels, (list, tuple)):
        plain = len(labels) == tags and all(isinstance(label, (int, float)) for label in labels)
    else:
        plain = isinstance(labels, np.ndarray) and labels.size == tags
    if not plain:
        raise ValueError
    return np.asarray(labels, np.float32).reshape(tags)


def _ids(root: Path, name: str) -> list[str]:
    path = root / name
    if not path.is_file():
        raise TagscaleError(f"{path}: no such file. {NEEDED}")
    ids = plain_pickle.read(path)
    if not isinstance(ids, list) or not ids or not all(isinstance(track, str) for track in ids):
        raise TagscaleError(f"{path}: expected a list of track ids, at least one.")
    return ids


def _optional_dict(path: Path) -> dict[str, str]:
    """Names by names, of which numbers may be written as such; empty without the file."""
    if not path.is_file():
        return {}
    content = plain_pickle.read(path)
    if not isinstance(content, dict):
        raise TagscaleError(f"{path}: holds a {type(content).__name__}, expected a dict.")
    names = [name for pair in content.items() for name in pair]
    odd = [name for name in names if not isinstance(name, str) and not (isinstance(name, int) and abs(name) < 10**18)]
    if odd:
        raise TagscaleError(f"{path}: holds a {type(odd[0]).__name__} in place of an id or a path. Get it again.")
    return {str(name): str(value) for name, value in content.items()}


def _from_arrays(root: Path, tags: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Ids, 7digital ids and labels of the parts that exist as text and .npy."""
    tables, values = [], []
    for part in PARTS:
        if not (root / f"{part}_y.npy").is_file():
            continue
        tables.append(pd.DataFrame({"track_id": _lines(root, f"{part}_x_msd_id.txt"), "split": part}))
        seven = _lines(root, f"{part}_x_7d_id.txt") if (root / f"{part}_x_7d_id.txt").is_file() else None
        path = root / f"{part}_y.npy"
        try:
            with np.errstate(over="raise"):  # a shape whose size overflows
                matrix = np.lib.format.open_memmap(path, mode="r")  # allocates nothing of what the header announces
        except Exception as error:  # NumPy parses the header as Python's own text, which fails in many ways
            why = str(error)[:200] or type(error).__name__
            raise TagscaleError(f"{path}: not an array of numbers ({why}). Get the file again.") from None
        if matrix.shape != (len(tables[-1]), tags) or matrix.dtype.kind not in "biuf":
            expected = f"({len(tables[-1])}, {tags}) numbers, a row for each line of {part}_x_msd_id.txt"
            raise TagscaleError(f"{path}: {matrix.shape} of {matrix.dtype}, expected {expected}.")
        if seven is not None and len(seven) != len(matrix):
            raise TagscaleError(f"{root / f'{part}_x_7d_id.txt'}: {len(seven)} lines, expected {len(matrix)}.")
        tables[-1]["seven"] = seven if seven is not None else ""
        values.append(matrix.astype(np.float32))
    if not tables:
        raise TagscaleError(f"{root}: neither {LABELS} nor any of train_y.npy, valid_y.npy, test_y.npy. {NEEDED}")
    return pd.concat(tables, ignore_index=True), np.concatenate(values)


def _lines(root: Path, name: str) -> list[str]:
    path = locate(root, name, NEEDED)
    return read_table(path, "\t", columns=["id"], header=["id"], quoted=False)["id"].tolist()


def _paths(root: Path, tracks: pd.DataFrame, variant: str) -> pd.Series:
    """The path of each preview below `root`."""
    if variant == "msd":
        return tracks["track_id"].map(lambda track: f"{track[2]}/{track[3]}/{track[4]}/{track}.mp3")
    unknown = ~tracks["seven"].str.fullmatch(r"\d{2,}")
    refuse(
        root, tracks["track_id"], unknown, "no 7digital id of", "add MSD_id_to_7D_id.pkl, or set dataset.variant to msd"
    )
    source = root / "7D_id_to_path.pkl"
    listed = plain_pickle.in_bounds(_optional_dict, source) if source.is_file() else {}
    paths = tracks["seven"].map(lambda seven: listed.get(seven, f"{seven[0]}/{seven[1]}/{seven}.clip.mp3"))
    check_paths(source, paths)
    return paths


def _metadata(root: Path) -> pd.DataFrame:
    """Artist and title by track id, from lines of TRACK<SEP>SONG<SEP>ARTIST<SEP>TITLE; empty without the file."""
    rows = []
    if (root / "unique_tracks.txt").is_file():
        path = root / "unique_tracks.txt"
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                cells = line.rstrip("\r\n").split("<SEP>")
                if len(cells) != 4:
                    raise TagscaleError(
                        f"{path}, line {number}: {len(cells)} cells, expected 4 with <SEP> between them."
                    )
                rows.append((cells[0], cells[2], cells[3]))
    return pd.DataFrame(rows, columns=["track_id", "artist", "title"]).drop_duplicates("track_id").set_index("track_id")
