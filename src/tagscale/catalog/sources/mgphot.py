"""MGPHot: 58 musicological attributes of songs in the Billboard Hot 100, 1958 to 2022 (Oramas et al. 2025).

`mgphot_gene_values.tsv` and `mgphot_genes.tsv`, plain or gzipped, are in the dataset's folder. The audio is the user's
own: `<mgphot_track_id>.mp3` there, or in a folder `audio` there. The dataset has no split; the split of the repository
MGPHot-audio is used where its `genome_index_split_without_gene.json` (or `genome_index_split.json`) is there, too.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tagscale.catalog.sources.annotations import check_unique, locate, open_text, read_table, refuse
from tagscale.catalog.tables import Catalog, Split, catalog_of
from tagscale.params.load import DatasetParams
from tagscale.runtime.errors import TagscaleError

SPLITS = {"mtg": Split("mtg", artist_filtered=True)}
TAG_SETS = ("genes",)
VARIANTS: tuple[str, ...] = ()
VALUES, GENES = "mgphot_gene_values.tsv", "mgphot_genes.tsv"
INDEXES = ("genome_index_split_without_gene.json", "genome_index_split.json")
PUBLISHED = "Set dataset.root to its folder; it is published at zenodo.org/records/15372063."
PARTS = {"train": "train", "val": "valid", "test": "test"}


def read(root: Path, dataset: DatasetParams) -> Catalog:
    """Read MGPHot's catalog: every song a track, every attribute a regression tag. Opens no audio, executes nothing.

    Tags are grouped by the published category. With `dataset.split` None the split is "mtg" where its index exists,
    else none. A song that the index leaves out is in no part.

    Raises:
        TagscaleError: a file is missing or malformed, or the split "mtg" has no index.
    """
    root = Path(root)
    genes = _genes(locate(root, GENES, PUBLISHED))
    path = locate(root, VALUES, PUBLISHED)
    cells = read_table(
        path, "\t", columns=["mgphot_track_id", "artist", "title", "gene_values"], unique="mgphot_track_id"
    )
    ids = cells["mgphot_track_id"]
    refuse(path, ids, ~ids.str.fullmatch(r"\d+"), "mgphot_track_id that is no number", "audio files are named by it")
    labels = _labels(path, cells["gene_values"], len(genes))
    tracks = pd.DataFrame(
        {
            "track_id": ids,
            "path": ("audio/" if (root / "audio").is_dir() else "") + ids + ".mp3",
            "artist": cells["artist"],
            "recording": ids,
            "title": cells["title"],
        }
    )
    split = _split(root, tracks, dataset.split)
    return catalog_of(dataset.name, tracks, labels.set_axis(genes.index, axis=1), genes, split)


def _genes(path: Path) -> pd.DataFrame:
    """The attributes: index tag, in the order of the values; group and kind."""
    cells = read_table(path, "\t", columns=["gene_id", "name", "category"], unique="gene_id")
    check_unique(path, cells["name"])
    refuse(path, cells["category"], cells["category"] == "", "empty category", "every row needs one")
    place = pd.to_numeric(cells["gene_id"], errors="coerce")
    wrong = ~place.isin(range(len(place)))
    refuse(path, cells["gene_id"], wrong, "gene_id out of sequence", "expected 0, 1, 2, ...: the places of the values")
    ordered = cells.loc[place.sort_values().index]
    tags = pd.DataFrame({"group": ordered["category"].str.lower(), "kind": "regression"})
    return tags.set_axis(pd.Index(ordered["name"], name="tag"))


def _labels(path: Path, cells: pd.Series, count: int) -> pd.DataFrame:
    """Values of all attributes, (songs, count) float32 in [0, 1]; null = not annotated."""
    rows = cells.map(_values)
    refuse(path, cells, rows.isna(), "gene_values that are no list of numbers", "expected a list: [0.4, 0, ...]")
    lengths = rows.map(len)
    what = f"gene_values of another length than the {count} rows of {GENES}"
    refuse(path, lengths, lengths != count, what, "fetch both files again")
    values = np.array(rows.tolist(), np.float64).reshape(len(rows), count)
    outside = ~(np.isnan(values) | ((values >= 0) & (values <= 1)))
    refuse(
        path, cells.str[:40], pd.Series(outside.any(axis=1), index=cells.index), "gene value outside [0, 1]", "fix it"
    )
    return pd.DataFrame(values.astype(np.float32), index=cells.index)


def _values(text: str) -> list[float] | None:
    """A list of numbers as text, NaN for null; None for anything else."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, list) or not all(value is None or type(value) in (int, float) for value in values):
        return None
    return [np.nan if value is None else float(value) for value in values]


def _split(root: Path, tracks: pd.DataFrame, wanted: str | None) -> Split | None:
    """Fill the column `split` from the index, whose keys are track ids; None: no split."""
    there = [root / name for name in INDEXES if (root / name).is_file()]
    if wanted not in (None, "mtg") or (wanted is None and not there):
        return None
    path = there[0] if there else locate(root, INDEXES[0], "It is published in github.com/MTG/MGPHot-audio.")
    with open_text(path) as file:
        try:
            index: Any = json.load(file)
        except (ValueError, RecursionError) as error:
            raise TagscaleError(f"{path}: not JSON ({error}). Fetch it again.") from None
    if not isinstance(index, dict) or not all(isinstance(song, dict) and "split" in song for song in index.values()):
        raise TagscaleError(f"{path}: expected a mapping from track ids to songs that have a `split`. Fetch it again.")
    known = set(tracks["track_id"])
    if unknown := [key for key in index if key not in known]:
        raise TagscaleError(
            f"{path}: {len(unknown)} songs are not in {VALUES}, {unknown[0]} for one. Fetch both again."
        )
    for key, song in index.items():
        if song["split"] not in PARTS:
            raise TagscaleError(f"{path}: song {key}: unknown split {song['split']!r}; known: {', '.join(PARTS)}.")
    tracks["split"] = tracks["track_id"].map({key: PARTS[song["split"]] for key, song in index.items()})
    return SPLITS["mtg"]
