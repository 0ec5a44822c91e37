"""GTZAN: 1,000 excerpts of 30 s in ten genres (Tzanetakis & Cook 2002), with the fault-filtered split.

The split (Kereliuk et al. 2015) leaves out repetitions, mislabelings and distortions that Sturm (2013) found. Its
lists, `train_filtered.txt`, `valid_filtered.txt` and `test_filtered.txt`, one path a line, are in the dataset's
folder; the audio is in `genres/` beside them, or directly there, as .wav or .au.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from tagscale.catalog.sources.annotations import check_paths, locate, read_table, refuse
from tagscale.catalog.tables import Catalog, Split, catalog_of
from tagscale.params.load import DatasetParams

# The split was made artist by artist, but the files name no artist: the claim could not be checked, so none is made.
SPLITS = {"filtered": Split("filtered", artist_filtered=False)}
TAG_SETS = ("genre",)
VARIANTS: tuple[str, ...] = ()
GENRES = ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"]
LISTS = {"train": "train_filtered.txt", "valid": "valid_filtered.txt", "test": "test_filtered.txt"}
NEEDED = "The split is three lists, published with many GTZAN experiments, one `blues/blues.00029.wav` a line."
BROKEN = ("jazz.00054",)  # no decoder reads the published file
NAME = re.compile(r"([a-z]+)/(\1\.\d{5})\.(?:wav|au)")


def read(root: Path, dataset: DatasetParams) -> Catalog:
    """Read GTZAN's catalog: ten mutually exclusive genre tags. Opens no audio, executes nothing.

    Raises:
        TagscaleError: a list is missing, empty or malformed, or a file is in two lists; names file and line.
    """
    root = Path(root)
    parts = [_list(root, part, name) for part, name in LISTS.items()]
    listed = pd.concat([cells.assign(file=path.name) for path, cells in parts])
    path = parts[-1][0]
    double = listed["path"].duplicated(keep=False)
    refuse(path, listed["file"] + ": " + listed["path"], double, "file listed more than once", "list it once")
    genre, stem = listed["path"].str.extract(NAME).T.to_numpy()
    tracks = pd.DataFrame(
        {
            "track_id": stem,
            "path": [_place(root, path) for path in listed["path"]],
            "seconds": 30.0,
            "split": listed["part"].to_numpy(),
            "fault": np.where(np.isin(stem, BROKEN), "known to be broken in the published archive", ""),
        }
    )
    split = SPLITS["filtered"] if dataset.split in (None, "filtered") else None
    if split is None:
        tracks["split"] = None
    labels = pd.DataFrame({tag: (genre == tag).astype(np.float32) for tag in GENRES})
    tags = pd.DataFrame({"group": "genre", "exclusive": "genre"}, index=GENRES)
    return catalog_of(dataset.name, tracks, labels, tags, split)


def _list(root: Path, part: str, name: str) -> tuple[Path, pd.DataFrame]:
    path = locate(root, name, NEEDED)
    cells = read_table(path, "\t", columns=["path"], header=["path"], unique="path", quoted=False)
    check_paths(path, cells["path"])
    wrong = ~cells["path"].map(lambda listed: bool((match := NAME.fullmatch(listed)) and match[1] in GENRES))
    refuse(path, cells["path"], wrong, "line that names no GTZAN file", "expected GENRE/GENRE.NNNNN.wav or .au")
    return path, cells.assign(part=part)


def _place(root: Path, listed: str) -> str:
    """The path of the file that exists: in `genres/` or not, .wav or .au; in `genres/`, as listed, where none does."""
    for folder in ("genres/", ""):
        for ending in (".wav", ".au"):
            candidate = folder + str(Path(listed).with_suffix(ending))
            if (root / candidate).is_file():
                return candidate
    return f"genres/{listed}"
