"""MTG-Jamendo: 55,701 full tracks by 3,565 artists, with genre, instrument and mood tags (Bogdanov et al. 2019).

The lists `autotagging_<set>-{train,validation,test}.tsv` of the repository mtg-jamendo-dataset, plain or gzipped, one
folder a split. Audio: `41/241.mp3`, or the low-quality copies `41/241.low.mp3`, directly in the dataset's folder.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from tagscale.catalog.sources.annotations import check_paths, locate, numbers, read_table, refuse
from tagscale.catalog.tables import Catalog, Split, catalog_of
from tagscale.params.load import DatasetParams
from tagscale.runtime.errors import TagscaleError

SPLITS = {f"split-{i}": Split(f"split-{i}", artist_filtered=True) for i in range(5)}
FILES = {
    "top50": "autotagging_top50tags",
    "genre": "autotagging_genre",
    "instrument": "autotagging_instrument",
    "mood": "autotagging_moodtheme",
    "all": "autotagging",
}
TAG_SETS = tuple(FILES)
VARIANTS = ("full", "low")
PARTS = {"train": "train", "validation": "valid", "test": "test"}
COLUMNS = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
GROUPS = {"genre": "genre", "instrument": "instrument", "mood/theme": "mood"}
TAG = re.compile(r"(genre|instrument|mood/theme)---(\S.*)")
DAY = 86_400.0  # seconds; no track is longer


def read(root: Path, dataset: DatasetParams) -> Catalog:
    """Read MTG-Jamendo's catalog: the tracks of one split's three lists. Opens no audio, executes nothing.

    A tag that a track does not have counts as 0. Every track is a recording of its own. With the split "stratified"
    the tracks are those of split-0.

    Raises:
        TagscaleError: a list is missing or malformed, or a track is in two of them.
    """
    name = dataset.split if dataset.split in SPLITS else "split-0"
    tag_set = dataset.tags or TAG_SETS[0]
    folder = _folder(Path(root), name, f"{FILES[tag_set]}-train.tsv")
    lists = {part: _list(folder, f"{FILES[tag_set]}-{file}.tsv") for file, part in PARTS.items()}
    cells = pd.concat([rows.assign(split=part) for part, rows in lists.items()], ignore_index=True)
    double = cells.loc[cells["TRACK_ID"].duplicated(), "TRACK_ID"]
    if len(double):
        raise TagscaleError(f"{folder}: {len(double)} tracks are in more than one list, {double.iloc[0]} for one.")
    paths = cells["PATH"]
    if dataset.variant == "low":
        paths = paths.str.replace(r"\.mp3$", ".low.mp3", regex=True)
    labels, tags = _labels(cells["tags"])
    tracks = pd.DataFrame(
        {
            "track_id": cells["TRACK_ID"],
            "path": paths,
            "artist": cells["ARTIST_ID"],
            "album": cells["ALBUM_ID"],
            "recording": cells["TRACK_ID"],
            "seconds": cells["seconds"],
        }
    )
    split = SPLITS[name] if dataset.split in (None, name) else None
    if split:
        tracks["split"] = cells["split"]
    return catalog_of(dataset.name, tracks, labels, tags, split)


def _folder(root: Path, split: str, file: str) -> Path:
    """The folder of a split's lists: below `root` as in the repository, or `root` unless that is another split's."""
    places = [root / "splits" / split, root / "data" / "splits" / split, root / split]
    if not any(root.resolve().name.endswith(other) for other in SPLITS if other != split):
        places.append(root)
    for place in places:
        if (place / file).is_file() or (place / f"{file}.gz").is_file():
            return place
    looked = ", ".join(str(place) for place in places)
    raise TagscaleError(
        f"{root}: no {file} (nor .gz) of {split}. Looked in {looked}. Set dataset.root to the folder `data` of a "
        "clone of github.com/MTG/mtg-jamendo-dataset, or to a folder that holds its `splits`."
    )


def _list(folder: Path, name: str) -> pd.DataFrame:
    """The rows of one list, with the columns tags (lists of (group, name)) and seconds added."""
    path = locate(folder, name, "A split has three lists: train, validation and test.")
    cells = read_table(path, "\t", columns=COLUMNS, rest="TAGS", unique="TRACK_ID", quoted=False)
    check_paths(path, cells["PATH"])
    refuse(path, cells["PATH"], ~cells["PATH"].str.endswith(".mp3"), "path that is no .mp3", "correct the file")
    tokens = [[tag for tag in row.split("\t") if tag] for row in cells["TAGS"]]
    matches = [[TAG.fullmatch(tag) for tag in row] for row in tokens]
    wrong = pd.Series([not all(row) for row in matches], index=cells.index)
    refuse(path, cells["TAGS"], wrong, "tag of no known group", f"expected GROUP---TAG, groups: {', '.join(GROUPS)}")
    tags = [[(GROUPS[match[1]], match[2]) for match in row if match] for row in matches]
    return cells.assign(tags=pd.Series(tags, index=cells.index), seconds=numbers(path, cells["DURATION"], 0, DAY))


def _labels(tagged: pd.Series) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels, (tracks, tags) float32, and the description of each tag; tags sorted by group and name."""
    pairs = sorted({pair for row in tagged for pair in row})
    words = [word for _, word in pairs]
    names = [word if words.count(word) == 1 else f"{group} {word}" for group, word in pairs]
    column = {pair: i for i, pair in enumerate(pairs)}
    labels = np.zeros((len(tagged), len(pairs)), np.float32)
    rows = np.repeat(np.arange(len(tagged)), tagged.map(len))
    labels[rows, [column[pair] for row in tagged for pair in row]] = 1
    tags = pd.DataFrame({"group": [group for group, _ in pairs]}, index=pd.Index(names, name="tag"))
    return pd.DataFrame(labels, columns=names), tags
