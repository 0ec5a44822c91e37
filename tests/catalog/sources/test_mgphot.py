"""MGPHot's tables, made up in their format: one list of values a song, named by a second table."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagscale.catalog.sources import mgphot
from tagscale.catalog.tables import Catalog, Split
from tagscale.runtime.errors import TagscaleError
from user_folder import settings

GROUPS = {"Vocals": 7, "Harmony": 2, "Rhythm": 10, "Instrumentation": 16, "Lyrics": 8, "Sonority": 6, "Focus": 9}
CATEGORIES = [group for group, count in GROUPS.items() for _ in range(count)]
GENES = [f"{i}\tgene {i:02}\t{category}\twhat it means" for i, category in enumerate(CATEGORIES)]
SONGS = [
    ("1", "Andy Williams", "Hawaiian Wedding", [i / 57 for i in range(58)]),
    ("10", "Bobby Darin", 'The ""Hop""', [0.5] * 57 + [None]),
    ("2", "Dean Martin", "Angel Baby", [1, 0] * 29),
]


def write(root: Path, songs: list[tuple[str, str, str, Any]] = SONGS, genes: list[str] = GENES) -> None:
    rows = [f'{track}\t{artist}\t"{title}"\t1958\t{json.dumps(values)}' for track, artist, title, values in songs]
    lines = {"gene_values": ["mgphot_track_id\tartist\ttitle\tyear\tgene_values", *rows]}
    lines["genes"] = ["gene_id\tname\tcategory\tdescription", *genes]
    for name, content in lines.items():
        (root / f"mgphot_{name}.tsv").write_text("\n".join(content) + "\n", encoding="utf-8")


def write_split(root: Path, **songs: str) -> None:
    index = {key.removeprefix("song"): {"artist": "x", "split": part} for key, part in songs.items()}
    (root / "genome_index_split_without_gene.json").write_text(json.dumps(index), encoding="utf-8")


def catalog(root: Path, split: str | None = None) -> Catalog:
    asked = {"name": "m", "source": "mgphot", "tags": None, "split": split, "variant": None}
    return mgphot.read(root, settings(dataset=asked).dataset)


def test_tracks_and_labels(tmp_path: Path) -> None:
    write(tmp_path, genes=GENES[::-1])
    found = catalog(tmp_path)
    assert found.tracks["track_id"].tolist() == ["1", "10", "2"]
    assert found.tracks["path"].tolist() == ["1.mp3", "10.mp3", "2.mp3"]
    assert found.tracks["title"].tolist()[1] == 'The "Hop"'
    assert found.tags.index.tolist() == [f"gene {i:02}" for i in range(58)]
    assert found.tags["group"].value_counts().to_dict() == {group.lower(): count for group, count in GROUPS.items()}
    assert set(found.tags["kind"]) == {"regression"}
    expected = np.array([[np.nan if value is None else value for value in song[3]] for song in SONGS], np.float32)
    np.testing.assert_array_equal(found.labels, expected)
    (tmp_path / "audio").mkdir()
    assert catalog(tmp_path).tracks["path"].tolist()[0] == "audio/1.mp3"


def test_split(tmp_path: Path) -> None:
    write(tmp_path)
    assert catalog(tmp_path).split is None
    with pytest.raises(TagscaleError, match=r"genome_index_split_without_gene\.json: no such file.*MGPHot-audio"):
        catalog(tmp_path, "mtg")
    write_split(tmp_path, song2="val", song1="train")
    assert catalog(tmp_path).split == catalog(tmp_path, "mtg").split == Split("mtg", artist_filtered=True)
    assert catalog(tmp_path).tracks["split"].tolist() == ["train", None, "valid"]
    stratified = catalog(tmp_path, "stratified")
    assert stratified.split is None
    assert stratified.tracks["split"].isna().all()


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "expected a mapping from track ids"),
        ('{"1": {"artist": "x"}}', "expected a mapping from track ids"),
        ('{"7": {"split": "train"}}', r"1 songs are not in mgphot_gene_values\.tsv, 7 for one"),
        ('{"1": {"split": "dev"}}', "song 1: unknown split 'dev'; known: train, val, test"),
    ],
)
def test_bad_split(tmp_path: Path, index: str, message: str) -> None:
    write(tmp_path)
    (tmp_path / "genome_index_split.json").write_text(index)
    with pytest.raises(TagscaleError, match=message):
        catalog(tmp_path)


@pytest.mark.parametrize(
    ("song", "message"),
    [
        (("1", "a", "b", [0] * 58), "mgphot_track_id used more than once: line 2 `1`, line 5 `1`"),
        (("../1", "a", "b", [0] * 58), r"mgphot_track_id that is no number: line 5 `\.\./1`"),
        (("/1", "a", "b", [0] * 58), "mgphot_track_id that is no number: line 5 `/1`"),
        (("9", "a", "b", "text"), "gene_values that are no list of numbers: line 5"),
        (("9", "a", "b", ["x"] * 58), "gene_values that are no list of numbers: line 5"),
        (("9", "a", "b", [True] * 58), "gene_values that are no list of numbers: line 5"),
        (
            ("9", "a", "b", [0] * 57),
            r"gene_values of another length than the 58 rows of mgphot_genes\.tsv: line 5 `57`",
        ),
        (("9", "a", "b", [1.2] + [0] * 57), r"gene value outside \[0, 1\]: line 5"),
        (("9", "a", "b", [-0.1] + [0] * 57), r"gene value outside \[0, 1\]: line 5"),
        (("9", "a", "b", [float("inf")] + [0] * 57), r"gene value outside \[0, 1\]: line 5"),
    ],
)
def test_bad_songs(tmp_path: Path, song: tuple[str, str, str, Any], message: str) -> None:
    write(tmp_path, [*SONGS, song])
    with pytest.raises(TagscaleError, match=message):
        catalog(tmp_path)


@pytest.mark.parametrize(
    ("genes", "message"),
    [
        ([], "no rows"),
        ([*GENES, "57\tanother\tFocus\t"], "gene_id used more than once: line 59 `57`, line 60 `57`"),
        ([*GENES, "59\tanother\tFocus\t"], "gene_id out of sequence: line 60 `59`"),
        ([*GENES, "a\tanother\tFocus\t"], "gene_id out of sequence: line 60 `a`"),
        ([*GENES, "58\tgene 00\tFocus\t"], "name used more than once: line 2 `gene 00`, line 60"),
        ([*GENES, "58\tanother\t\t"], "empty category: line 60"),
    ],
)
def test_bad_genes(tmp_path: Path, genes: list[str], message: str) -> None:
    write(tmp_path, genes=genes)
    with pytest.raises(TagscaleError, match=message):
        catalog(tmp_path)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match=r"mgphot_genes\.tsv: no such file.*zenodo\.org/records/15372063"):
        catalog(tmp_path)
    write(tmp_path)
    (tmp_path / "mgphot_gene_values.tsv").write_text("")
    with pytest.raises(TagscaleError, match=r"mgphot_gene_values\.tsv: empty"):
        catalog(tmp_path)
    (tmp_path / "mgphot_gene_values.tsv").write_text("mgphot_track_id\tartist\ttitle\n1\ta\tb\n")
    with pytest.raises(TagscaleError, match="line 1: missing column gene_values"):
        catalog(tmp_path)
