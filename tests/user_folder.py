"""A dataset as a user has it: a folder with a table, a tags.yaml and real audio files, small enough for a test."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from tagscale.params.load import Params, laid_over, parse, read_yaml

ROOT = Path(__file__).parents[1]
TAGS = {"columns": {"rock": {"kind": "classification"}, "energy": {"kind": "regression", "group": "mood"}}}


def settings(**changes: dict[str, Any]) -> Params:
    """params.yaml for a folder of one's own, with other changes over it."""
    base = laid_over(read_yaml(ROOT / "params.yaml"), {"dataset": {"source": "folder"}})
    return parse(laid_over(base, changes))


def tone(seconds: float, rate: int, frequency: float = 440.0, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def write_table(root: Path, rows: Sequence[dict[str, Any]], tags: dict[str, Any] | None = None) -> None:
    """tracks.csv with the columns of the first row, and tags.yaml."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "tracks.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (root / "tags.yaml").write_text(yaml.safe_dump(TAGS if tags is None else tags, sort_keys=False), encoding="utf-8")


def rows(count: int = 12, artists: int = 6) -> list[dict[str, Any]]:
    """Tracks song00 ... by artists in turn; every second is rock, energy grows."""
    return [
        {
            "track_id": f"song{i:02}",
            "path": f"audio/song{i:02}.wav",
            "artist": f"artist {i % artists}",
            "seconds": "1.0",
            "rock": str(i % 2),
            "energy": f"{i / count:.3f}",
        }
        for i in range(count)
    ]


def write_audio(root: Path, tracks: Sequence[dict[str, Any]]) -> None:
    """A second of another tone for each row, mono WAV at 8 kHz."""
    (root / "audio").mkdir(parents=True, exist_ok=True)
    for i, row in enumerate(tracks):
        soundfile.write(root / row["path"], tone(1.0, 8000, 200 + 20 * i), 8000)
