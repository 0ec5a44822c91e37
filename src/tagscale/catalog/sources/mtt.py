"""MagnaTagATune: 25,863 annotated clips of 29 s by 230 artists, 188 tags (Law et al. 2009).

`annotations_final.csv` and `clip_info_final.csv`, as published or gzipped, are in the dataset's folder. The audio is
there, too (`f/american_bach_soloists-...mp3`), or in a folder `mp3` or `audio` beside them.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from tagscale.catalog.sources.annotations import check_paths, locate, numbers, read_table, refuse
from tagscale.catalog.tables import Catalog, Split, catalog_of
from tagscale.params.load import DatasetParams
from tagscale.runtime.errors import TagscaleError

SPLITS = {
    "original": Split("original", artist_filtered=False),  # by folder: 0 to b, c, d to f
    "clean": Split("clean", artist_filtered=False),  # without clips that carry no top-50 tag (Won et al. 2020)
    "artist": Split("artist", artist_filtered=True),  # tagscale's own
}
TAG_SETS = ("top50", "all")
VARIANTS: tuple[str, ...] = ()
ANNOTATIONS, CLIPS = "annotations_final.csv", "clip_info_final.csv"
PUBLISHED = "Set dataset.root to its folder; it is published at mirg.city.ac.uk/datasets/magnatagatune."
REMEDY = "the original split is made of these folders; fetch the file again"
COLUMNS = ["clip_id", "title", "artist", "album", "original_url"]
AUDIO_FOLDERS = ("", "mp3", "audio")
BROKEN = ("35644", "55753", "57881")  # empty files in the published archive
NOT_IN_CLEAN = ("29", "11268", "11269")  # tagged, in train, and yet not in the published lists
SECONDS = 29.1  # the clips' true length; segmentEnd - segmentStart is 29
TOP = 50
PARTS = ["train", "valid", "test"]
SHARES = np.array([18_706, 1_825, 5_329]) / 25_860  # of the artist split: those of the original one
SWEEPS = 20


def read(root: Path, dataset: DatasetParams) -> Catalog:
    """Read MagnaTagATune's catalog. Opens no audio, executes nothing.

    The recording is the song that a clip is cut from. The three broken clips have a fault and are in no split.

    Raises:
        TagscaleError: a file is missing or malformed; the message names file, line and what was expected.
    """
    path = locate(root, ANNOTATIONS, PUBLISHED)
    cells = read_table(path, "\t", columns=["clip_id", "mp3_path"], unique="clip_id")
    check_paths(path, cells["mp3_path"])
    refuse(path, cells["mp3_path"], ~cells["mp3_path"].str.match("[0-9a-f]/"), "mp3_path in no folder 0 to f", REMEDY)
    labels = _labels(path, cells.drop(columns=["clip_id", "mp3_path"]))
    tracks = _tracks(Path(root), path, cells)
    top = labels[labels.astype(np.float64).sum().sort_values(ascending=False, kind="stable").index[:TOP].tolist()]
    name = dataset.split or next(iter(SPLITS))
    split = SPLITS.get(name)
    if split:
        tracks["split"] = _parts(name, tracks, cells["mp3_path"], top).where(tracks["fault"] == "", None)
    chosen = labels if dataset.tags == "all" else top
    tags = pd.DataFrame({"group": "tags"}, index=chosen.columns)
    return catalog_of(dataset.name, tracks, chosen, tags, split)


def _labels(path: Path, cells: pd.DataFrame) -> pd.DataFrame:
    """Labels of all tag columns, (clips, tags) float32."""
    if len(cells.columns) < TOP:
        raise TagscaleError(
            f"{path}, line 1: {len(cells.columns)} tag columns, expected {TOP} or more (published: 188)."
        )
    if cells.isin(["0", "1"]).all(axis=None):  # as published; the loop below takes ten times as long
        return (cells == "1").astype(np.float32)
    labels = {}
    for tag in cells.columns:
        refuse(path, cells[tag], cells[tag] == "", f"no label of `{tag}`", "expected 0 or 1")
        labels[tag] = numbers(path, cells[tag]).astype(np.float32)
    return pd.DataFrame(labels, index=cells.index)


def _tracks(root: Path, path: Path, cells: pd.DataFrame) -> pd.DataFrame:
    """One row a clip, in the order and with the line numbers of the annotations."""
    file = locate(root, CLIPS, PUBLISHED)
    clips = read_table(file, "\t", columns=COLUMNS, unique="clip_id").set_index("clip_id")
    unknown = ~cells["clip_id"].isin(clips.index)
    refuse(path, cells["clip_id"], unknown, f"clip_id that {file.name} does not have", "fetch both files again")
    of_clip = clips.loc[cells["clip_id"]].set_index(cells.index)
    return pd.DataFrame(
        {
            "track_id": cells["clip_id"],
            "path": _audio_folder(root) + cells["mp3_path"],
            "artist": of_clip["artist"],
            "album": of_clip["album"],
            "recording": of_clip["original_url"],
            "title": of_clip["title"],
            "seconds": SECONDS,
            "fault": np.where(cells["clip_id"].isin(BROKEN), "known to be broken in the published archive", ""),
        }
    )


def _audio_folder(root: Path) -> str:
    """`mp3/` or `audio/` where the sixteen folders of audio are there, else ""."""
    for folder in AUDIO_FOLDERS:
        if any((root / folder / digit).is_dir() for digit in "0123456789abcdef"):
            return f"{folder}/" if folder else ""
    return ""


def _parts(name: str, tracks: pd.DataFrame, paths: pd.Series, top: pd.DataFrame) -> pd.Series:
    """The part of each clip in the split `name`; None = in none."""
    if name == "artist":
        return _artist_parts(tracks, top)
    by_folder = {digit: PARTS[0 if digit < "c" else 1 if digit == "c" else 2] for digit in "0123456789abcdef"}
    parts = paths.str.partition("/")[0].map(by_folder).astype(object)
    if name == "clean":
        return parts.where((top > 0).any(axis=1) & ~tracks["track_id"].isin(NOT_IN_CLEAN), None)
    return parts


def _artist_parts(tracks: pd.DataFrame, top: pd.DataFrame) -> pd.Series:
    """Assign whole artists to parts whose shares of the clips and of each top-50 tag come close to SHARES.

    Artists are assigned in order of size, each where the chi-square distance grows least; then artists move as long
    as that reduces the distance. This is a published list in the form of a program: it deliberately does not use the
    partition stage's method, so the list stays the same when that improves, and nothing in it is random.
    """
    amounts = top.assign(clips=1.0).groupby(tracks["artist"]).sum().astype(np.float64)  # (artists, tags + 1)
    amounts = amounts.loc[(-amounts["clips"]).sort_index().sort_values(kind="stable").index]
    values, due = amounts.to_numpy(), SHARES[:, None] * amounts.to_numpy().sum(axis=0)
    weight = np.where(amounts.columns == "clips", TOP / 2, 1.0) / np.maximum(due, 1e-9)
    present = np.zeros_like(due)
    part_of = np.full(len(values), -1)
    for sweep in range(SWEEPS):
        before = part_of.copy()
        for artist, own in enumerate(values):
            if sweep:
                present[part_of[artist]] -= own
            growth = ((own * (2 * (present - due) + own)) * weight).sum(axis=1).round(6)
            part_of[artist] = growth.argmin()
            present[part_of[artist]] += own
        if (part_of == before).all():
            break
    return tracks["artist"].map(dict(zip(amounts.index, np.array(PARTS, object)[part_of], strict=True))).astype(object)
