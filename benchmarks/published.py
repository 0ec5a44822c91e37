"""A published network's scores of MagnaTagATune's clean test split: 4,332 clips, 50 tags, 75 artists.

The folder holds `published/scores_test_clean.csv.gz` and `labels_test_clean.csv.gz` beside MagnaTagATune's annotations,
`clip_info_final.csv.gz`, `annotations_final.csv.gz` and `clean_split.csv.gz`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

KEY = "mp3_path"
SUREST = 1e-4


@dataclass(frozen=True)
class Published:
    """Shape: scores, labels (clips, tags) float64; artists (clips,) names; train_shares (tags,)."""

    clips: list[str]
    tags: list[str]
    scores: np.ndarray
    labels: np.ndarray
    artists: list[str]
    train_shares: np.ndarray

    @property
    def regression(self) -> np.ndarray:
        return np.zeros(len(self.tags), bool)

    @property
    def artist(self) -> np.ndarray:
        """The number of each clip's artist, (clips,)."""
        return np.unique(self.artists, return_inverse=True)[1]


def load(folder: Path) -> Published:
    """Read all of it. Raises FileNotFoundError, and ValueError where the files contradict each other."""
    scores, labels = (pd.read_csv(folder / "published" / f"{name}_test_clean.csv.gz") for name in ("scores", "labels"))
    if list(scores) != list(labels) or not (scores[KEY] == labels[KEY]).all():
        raise ValueError(f"{folder / 'published'}: scores and labels are of different clips or tags")
    tags = [str(name) for name in scores.columns.drop(KEY)]
    clips = pd.read_csv(folder / "clip_info_final.csv.gz", sep="\t", usecols=[KEY, "artist"]).dropna()
    artists = scores[[KEY]].merge(clips, on=KEY, how="left", validate="1:1")["artist"]
    annotations = pd.read_csv(folder / "annotations_final.csv.gz", sep="\t", usecols=[KEY, *tags]).set_index(KEY)[tags]
    if not (annotations.loc[labels[KEY]].to_numpy() == labels[tags].to_numpy()).all():
        raise ValueError(f"{folder}: the labels are not those of annotations_final.csv.gz")
    split = pd.read_csv(folder / "clean_split.csv.gz").set_index(KEY)["split"]
    return Published(
        clips=scores[KEY].tolist(),
        tags=tags,
        scores=scores[tags].to_numpy(float),
        labels=labels[tags].to_numpy(float),
        artists=artists.astype(str).tolist(),
        train_shares=annotations.loc[split.index[split == "train"]].mean().to_numpy(float),
    )


def noisy(scores: np.ndarray, artist: np.ndarray, spread: float, seed: int) -> np.ndarray:
    """Another model: log-odds with noise a clip and tag, and noise an artist and tag, of so large a deviation each."""
    random, chance = np.random.default_rng(seed), scores.clip(SUREST, 1 - SUREST)
    noise = random.standard_normal(scores.shape) + random.standard_normal((artist.max() + 1, scores.shape[1]))[artist]
    return 1 / (1 + (1 - chance) / chance * np.exp(-spread * noise))
