"""Tag scores of whole songs: the mean of a model's sigmoid outputs over a moving window.

Source: Pons et al. 2018, section 4, "Parameters": several predictions are computed for a song by a moving window and
then averaged, which worked better than one prediction from the whole song.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

from tagscale.audio.loading import loader
from tagscale.audio.patches import Samples, Windows, to_wave
from tagscale.errors import TagscaleError
from tagscale.models.build import Architecture

BATCH_SECONDS = 200  # of audio in one batch of windows, whatever their length: bounds the memory


def predict(
    model: nn.Module,
    architecture: Architecture,
    store: Samples,
    tracks: Sequence[str],
    hop_seconds: float,
) -> pd.DataFrame:
    """Scores of every track: index track_id in the given order, one float32 column a tag, in [0, 1].

    Windows of all tracks are batched together; only running sums are held. Runs on a GPU where there is one, and
    leaves the model there, in evaluation mode.

    Args:
        hop_seconds: step of the window; the last window ends where the track ends
    Raises:
        TagscaleError: a track that the store does not hold.
    """
    scores = _mean_scores(model, architecture, store, tracks, hop_seconds)
    return pd.DataFrame(scores, index=pd.Index(tracks, name="track_id"), columns=list(architecture.tags))


def scores_of_samples(
    model: nn.Module, architecture: Architecture, samples: np.ndarray, hop_seconds: float
) -> np.ndarray:
    """Scores of one recording of any length: float32 (tags,), in [0, 1].

    Args:
        samples: (n,) mono at the architecture's sample rate; int16, or floats in [-1, 1]
    Raises:
        TagscaleError: no samples, or floats that are not numbers.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise TagscaleError(f"Expected a mono recording of finite samples (n,), found shape {samples.shape}.")
    if samples.dtype != np.int16:
        samples = np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)
    return _mean_scores(model, architecture, _OneRecording(samples), [""], hop_seconds)[0]


@torch.inference_mode()
def _mean_scores(
    model: nn.Module, architecture: Architecture, store: Samples, tracks: Sequence[str], hop_seconds: float
) -> np.ndarray:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).eval()
    hop = max(1, round(hop_seconds * architecture.sample_rate))
    windows = Windows(store, tracks, np.arange(len(tracks)), architecture.patch_samples, hop)
    batch = max(1, round(BATCH_SECONDS / architecture.patch_seconds))
    sums = torch.zeros(len(tracks), len(architecture.tags), dtype=torch.float64, device=device)
    for patches, rows in loader(windows, batch, workers=0, pin_memory=False):
        scores = model(to_wave(patches.to(device))).sigmoid()  # (windows, tags)
        sums.index_add_(0, rows.to(device), scores.double())
    counts = torch.from_numpy(windows.counts).to(device)
    return (sums / counts[:, None]).float().cpu().numpy()


class _OneRecording:
    """Samples in memory, as a store of one track."""

    def __init__(self, recording: np.ndarray) -> None:
        self.recording = recording

    def samples(self, track_id: str) -> int:
        return len(self.recording)

    def read(self, track_id: str, start: int, count: int) -> np.ndarray:
        return self.recording[start : start + count]
