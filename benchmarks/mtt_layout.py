"""The default corpus in MagnaTagATune's layout: its folders, its MP3s, its two tables, to the last quote and CRLF.

For trying the source `mtt` with audio where the real 25,863 clips are not at hand:

    python benchmarks/mtt_layout.py --tracks 500 --root data/mtt
    tagscale preset mtt && dvc repro
"""

import csv
import hashlib
import re
import tempfile
from pathlib import Path
from typing import Annotated

import pandas as pd
import soundfile
import soxr
import typer
from rich.console import Console

from tagscale.params.blocks import SynthParams
from tagscale.synth.corpus import make_corpus

SECONDS = 29.1  # of a clip
RATE, KBITS = 16_000, 32  # mono MP3 as in the published archive
TAGS = 188
CLIP_COLUMNS = ["clip_id", "track_number", "title", "artist", "album", "url", "segmentStart", "segmentEnd"]
CLIP_COLUMNS += ["original_url", "mp3_path"]


def main(
    tracks: Annotated[int, typer.Option(help="Clips.")] = 500,
    artists: Annotated[int, typer.Option(help="Artists.")] = 80,
    root: Annotated[Path, typer.Option(help="Folder for the tables and the sixteen folders of clips.")] = Path(
        "data/mtt"
    ),
    workers: int | None = None,
) -> None:
    """Render clips and write them as MagnaTagATune is published."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder)
        settings = SynthParams(
            tracks=tracks, artists=artists, seconds=SECONDS, seed=3, label_noise=0.02, soundfont=None
        )
        make_corpus(corpus, settings, workers, Console())
        table = pd.read_csv(corpus / "tracks.csv", dtype=str, keep_default_na=False)
        clips = [_clip(number, row) for number, row in enumerate(table.to_dict("records"), start=2)]
        for clip, path in zip(clips, table["path"], strict=True):
            _convert(corpus / path, root / clip["mp3_path"])
    _write(root / "clip_info_final.csv", CLIP_COLUMNS, clips)
    labels = _labels(table)
    rows = [
        {"clip_id": clip["clip_id"], **{tag: str(value) for tag, value in row.items()}, "mp3_path": clip["mp3_path"]}
        for clip, row in zip(clips, labels.to_dict("records"), strict=True)
    ]
    _write(root / "annotations_final.csv", ["clip_id", *labels, "mp3_path"], rows)
    print(f"{root}: {tracks} clips by {table['artist'].nunique()} artists, {labels.shape[1]} tags")


def _clip(number: int, row: dict[str, str]) -> dict[str, str]:
    """One line of clip_info_final.csv. The folder follows from the album, as it does in the published data."""
    album = row["album"] or "Untitled"
    folder = hashlib.sha256(f"{row['artist']}/{album}".encode()).hexdigest()[0]
    names = "-".join(_slug(name) for name in (row["artist"], album, f"{number % 15 + 1:02}", row["title"]))
    return {
        "clip_id": str(number),
        "track_number": f"{number % 15 + 1:02}",
        "title": row["title"],
        "artist": row["artist"],
        "album": album,
        "url": f"http://www.example.org/artists/albums/{_slug(album)}/",
        "segmentStart": "30",
        "segmentEnd": "59",
        "original_url": f"http://www.example.org/all/{number}.mp3",
        "mp3_path": f"{folder}/{names}-30-59.mp3",
    }


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _convert(source: Path, target: Path) -> None:
    """To mono MP3 at 16 kHz and a constant 32 kb/s."""
    target.parent.mkdir(parents=True, exist_ok=True)
    samples, rate = soundfile.read(source, always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), rate, RATE)
    level = {8: 1.0, 32: 0.842, 160: 0.0}[KBITS]  # libsndfile: 0 is the format's highest bit rate, 1 its lowest
    with soundfile.SoundFile(
        target, "w", RATE, 1, format="MP3", bitrate_mode="CONSTANT", compression_level=level
    ) as file:
        file.write(mono)


def _labels(table: pd.DataFrame) -> pd.DataFrame:
    """188 columns of 0 and 1: the corpus's classification tags, the rest never given, as MagnaTagATune's rarest are."""
    first = list(table.columns).index("split") + 1 if "split" in table else 0
    numbers = table.iloc[:, first:].apply(pd.to_numeric, errors="coerce")
    binary = [column for column in numbers if numbers[column].isin([0, 1]).all()]
    labels = numbers[binary].astype(int)
    labels.columns = [column.replace("_", " ") for column in labels]
    unused = {f"unused {number}": 0 for number in range(TAGS - labels.shape[1])}
    return labels.assign(**unused)


def _write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    typer.run(main)
