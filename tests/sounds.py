"""Sounds that a small model tells apart within seconds: tones or noise, with or without clicks, loud or soft."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stores import write_store
from tagscale.catalog.tables import catalog_of
from tagscale.models.build import Architecture
from tagscale.params.blocks import TrainParams
from tagscale.params.load import read_yaml
from tagscale.partition.divide import Partition
from tagscale.training.fit import Labelled

PARAMS = Path(__file__).parents[1] / "params.yaml"
TAGS = ("tone", "clicks", "loudness")
KINDS = ("classification", "classification", "regression")
CAPACITY = {
    "waveform": {"layers": 7, "width": 1 / 8, "filters": 8, "units": 16, "dropout": 0.2},
    "spectrogram": {"width": 1 / 16, "filters": 8, "units": 16, "dropout": 0.2},
}
TRAINING, VALIDATION = slice(0, 48), slice(48, 64)  # the rest is for testing


@dataclass
class Sounds:
    """80 recordings of 2 s, a store in memory; every fifth label of the first 48 is missing."""

    recordings: dict[str, np.ndarray]
    labels: np.ndarray  # (80, 3)

    def samples(self, track_id: str) -> int:
        return len(self.recordings[track_id])

    def read(self, track_id: str, start: int, count: int) -> np.ndarray:
        return self.recordings[track_id][start : start + count]

    @property
    def tracks(self) -> list[str]:
        return list(self.recordings)

    def part(self, rows: slice) -> Labelled:
        return Labelled(self.tracks[rows], self.labels[rows])


def make_sounds() -> Sounds:
    random = np.random.default_rng(0)
    facts = [(row % 2, row // 2 % 2, random.uniform()) for row in range(80)]
    recordings = {f"sound{row:02}": _sound(random, *facts[row]) for row in range(len(facts))}
    labels = np.array(facts, np.float32)
    labels[TRAINING].flat[::5] = np.nan
    return Sounds(recordings, labels)


def _sound(random: np.random.Generator, tone: int, clicks: int, loudness: float) -> np.ndarray:
    time = np.arange(32_000) / 16_000
    wave = np.sin(2 * np.pi * random.uniform(200, 2000) * time) if tone else random.standard_normal(len(time)) / 3
    if clicks:
        wave[random.integers(4000) :: 4000] += 3
    return (np.clip(wave * (0.05 + 0.3 * loudness), -1, 1) * 32767).astype(np.int16)


def architecture(model: str = "spectrogram") -> Architecture:
    return Architecture(model, dict(CAPACITY[model]), TAGS, KINDS, patch_seconds=1.5)


def settings(**different: Any) -> TrainParams:
    """The block `train` of params.yaml, for trainings of seconds."""
    usual: dict[str, Any] = {
        "loss": "cross_entropy",
        "patches_per_track": 2,
        "batch": 8,
        "learning_rate": 0.005,
        "weight_decay": 1e-5,
        "max_steps": "2 epochs",
        "min_steps": 0,
        "patience": "10 epochs",
        "validate_every": "1 epoch",
        "precision": "32-true",
    }
    return TrainParams.model_validate(read_yaml(PARAMS)["train"] | usual | different)


def write_study(folder: Path) -> None:
    """The same sounds as the folders catalog, store, descriptors and partition that the earlier stages write."""
    sounds = make_sounds()
    facts = {track: {"source_rate": 16_000, "audio_sha256": track} for track in sounds.tracks}
    write_store(folder / "store", ((track, samples, facts[track]) for track, samples in sounds.recordings.items()))
    ids = pd.Index(sounds.tracks, name="track_id")
    tracks = pd.DataFrame({"track_id": ids, "path": [f"{track}.wav" for track in ids], "artist": ids})
    tracks = tracks.assign(seconds=2.0)
    tags = pd.DataFrame({"group": "sound", "kind": KINDS, "exclusive": ""}, index=pd.Index(TAGS, name="tag"))
    labels = pd.DataFrame(sounds.labels, index=ids, columns=list(TAGS))
    catalog_of("sounds", tracks, labels, tags, None).save(folder / "catalog")
    parts = np.repeat("test", len(ids)).astype(object)
    parts[TRAINING], parts[VALIDATION] = "train", "valid"
    rank = np.where(parts == "train", np.arange(len(ids)), -1)
    table = pd.DataFrame({"track_id": ids, "artist": ids, "part": parts, "rank": rank})
    Partition(table, list(TAGS), data_hash="d" * 12).save(folder / "partition")
    waves = np.stack(list(sounds.recordings.values())) / 32768
    crest = np.abs(waves).max(axis=1) / waves.std(axis=1)
    crossings = (np.diff(np.sign(waves), axis=1) != 0).mean(axis=1)
    descriptors = {"track_id": ids, "rms": waves.std(axis=1), "crest": crest, "crossings": crossings}
    (folder / "descriptors").mkdir()
    pd.DataFrame(descriptors).to_parquet(folder / "descriptors" / "descriptors.parquet", index=False)
