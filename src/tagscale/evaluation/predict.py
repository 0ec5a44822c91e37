"""Tag scores of whole songs: the mean of a model's sigmoid outputs over a moving window.

A batch holds windows of many songs. Threads read the next batches, into pinned memory where there is a GPU, while the
model scores the present one. The model runs in float32: half precision makes close scores equal, and every such tie
moves an AUC.
Source: Pons et al. 2018, section 4, "Parameters": several predictions are computed for a song by a moving window and
then averaged, which worked better than one prediction from the whole song.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tagscale.audio.patches import Batch, Samples, Windows, to_wave
from tagscale.models.build import Architecture, shortest_samples
from tagscale.models.pretrained.probe import JoinedProbes
from tagscale.models.tagger import Tagger
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.pcm import recording

if TYPE_CHECKING:  # pandas takes a second to import
    import pandas as pd

# Seconds of audio in one batch of windows, whatever their length: benchmarks/results/batches.md. More at once is faster
# by at most .15 of the time where freed memory is kept; where it is not (`keep_freed_memory` was not called), PyTorch
# asks the kernel for a wide model's maps anew in every layer, and four minutes at once take up to 3.3 times as long as
# these. A GPU needs more.
BATCH_SECONDS = 48
BATCH_SECONDS_GPU = 960
READERS = 2  # threads that read ahead, one batch each


def predict(
    model: nn.Module,
    architecture: Architecture,
    store: Samples,
    tracks: Sequence[str],
    hop_seconds: float,
    window_seconds: float | None = None,
) -> "pd.DataFrame":
    """Scores of every track: index track_id in the given order, one float32 column a tag, in [0, 1].

    Windows of all tracks are batched together, and only running sums are kept. Runs on a GPU where there is one, and
    leaves the model there, in evaluation mode. A track shorter than the window is repeated until it fills one.

    Args:
        hop_seconds: step of the window; the last window ends where the track ends
        window_seconds: its length; None for that of the patches that the model was trained on
    Raises:
        TagscaleError: a track that the store does not hold, or a window shorter than the model accepts.
    """
    import pandas as pd

    scores = _means(_scores, len(architecture.tags), model, architecture, store, tracks, hop_seconds, window_seconds)
    return pd.DataFrame(scores, index=pd.Index(tracks, name="track_id"), columns=list(architecture.tags))


def scores_of_recordings(
    model: nn.Module,
    architecture: Architecture,
    recordings: Sequence[np.ndarray],
    hop_seconds: float,
    window_seconds: float | None = None,
) -> np.ndarray:
    """Scores of recordings of any length: (recordings, tags) float32 in [0, 1]. Their windows are batched together.

    Args:
        recordings: each (n,) mono at the architecture's sample rate; int16, or floats in [-1, 1]
        hop_seconds, window_seconds: as `predict` takes them
    Raises:
        TagscaleError: no samples, floats that are not numbers, or a window shorter than the model accepts.
    """
    store = _Recordings(recordings)
    return _means(_scores, len(architecture.tags), model, architecture, store, store.names, hop_seconds, window_seconds)


def scores_and_features(
    model: Tagger | JoinedProbes,
    architecture: Architecture,
    recordings: Sequence[np.ndarray],
    hop_seconds: float,
    window_seconds: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (recordings, tags), and the means over all windows of what the last layer sees (recordings, features).

    Both float32, of one pass. Arguments and errors as of `scores_of_recordings`.
    """
    store, tags = _Recordings(recordings), len(architecture.tags)
    means = _means(
        _scores_and_features, tags + model.dims, model, architecture, store, store.names, hop_seconds, window_seconds
    )
    return means[:, :tags], means[:, tags:]


def window_samples(architecture: Architecture, window_seconds: float | None) -> int:
    """Length of the moving window in samples: the given one, or that of the model's patches.

    Raises:
        TagscaleError: the model cannot take so short a window.
    """
    if window_seconds is None:
        return architecture.patch_samples
    samples, shortest = round(window_seconds * architecture.sample_rate), shortest_samples(architecture)
    if samples < shortest:
        raise TagscaleError(
            f"evaluate.window_seconds: found {window_seconds:g}, but the {architecture.model} model of this capacity "
            f"needs at least {shortest} samples ({shortest / architecture.sample_rate:.2f} s). Raise it, or write null "
            f"for the patches of {architecture.patch_seconds:g} s that the model was trained on."
        )
    return samples


@torch.inference_mode()
def _means(
    outputs: Callable[[Any, Tensor], Tensor],
    width: int,
    model: nn.Module,
    architecture: Architecture,
    store: Samples,
    tracks: Sequence[str],
    hop_seconds: float,
    window_seconds: float | None,
) -> np.ndarray:
    """(tracks, outputs): sums over the windows of each track in float64, divided by their number."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    window = window_samples(architecture, window_seconds)
    hop = max(1, round(hop_seconds * architecture.sample_rate))
    model.to(device).eval()
    windows = Windows(store, tracks, np.arange(len(tracks)), window, hop)
    seconds = BATCH_SECONDS_GPU if device.type == "cuda" else BATCH_SECONDS
    batch = max(1, round(seconds * architecture.sample_rate / window))
    sums = torch.zeros(len(tracks), width, dtype=torch.float64, device=device)
    for patches, rows in _read_ahead(windows, batch, pin_memory=device.type == "cuda"):
        values = _halved(outputs, model, patches.to(device, non_blocking=True))
        first, last = int(rows[0]), int(rows[-1])  # tracks follow each other
        of_track = torch.arange(first, last + 1)[:, None] == rows  # (tracks, windows)
        # A product, not `index_add_`, whose order of summation changes from run to run on a GPU.
        sums[first : last + 1] += of_track.to(device, torch.float64) @ values.double()
    counts = torch.from_numpy(windows.counts).to(device)
    return (sums / counts[:, None]).float().cpu().numpy()


def _scores(model: nn.Module, wave: Tensor) -> Tensor:
    """(windows, samples) -> (windows, tags)."""
    scores: Tensor = model(wave).float().sigmoid()
    return scores


def _scores_and_features(model: Tagger | JoinedProbes, wave: Tensor) -> Tensor:
    """(windows, samples) -> (windows, tags + features)."""
    features = model.encode(wave)
    return torch.cat([model.output(features).float().sigmoid(), features.float()], dim=1)


def _halved(outputs: Callable[[Any, Tensor], Tensor], model: nn.Module, patches: Tensor) -> Tensor:
    """Outputs of int16 (windows, samples); in two halves where the batch does not fit the device's memory."""
    try:
        return outputs(model, to_wave(patches))
    except torch.OutOfMemoryError:
        if len(patches) == 1:
            raise
    torch.cuda.empty_cache()  # outside the handler, which still holds the tensors that did not fit
    return torch.cat([_halved(outputs, model, half) for half in patches.tensor_split(2)])


def _read_ahead(windows: Windows, batch: int, pin_memory: bool) -> Iterator[Batch]:
    """All windows in order, in batches; the next ones are read while the caller works on the present one."""

    def read(start: int) -> Batch:
        patches, rows = windows.__getitems__(list(range(start, min(start + batch, len(windows)))))
        return (patches.pin_memory() if pin_memory else patches), rows

    pool = ThreadPoolExecutor(READERS, thread_name_prefix="tagscale-read")
    try:
        waiting = deque(pool.submit(read, start) for start in range(0, min(len(windows), READERS * batch), batch))
        for start in range(0, len(windows), batch):
            ready = waiting.popleft().result()
            following = start + READERS * batch
            if following < len(windows):
                waiting.append(pool.submit(read, following))
            yield ready
    finally:
        pool.shutdown(cancel_futures=True)


class _Recordings:
    """Samples in memory, as a store whose tracks are named by their numbers."""

    def __init__(self, recordings: Sequence[np.ndarray]) -> None:
        self.content = {str(number): recording(samples) for number, samples in enumerate(recordings)}
        self.names = list(self.content)

    def samples(self, track_id: str) -> int:
        return len(self.content[track_id])

    def read(self, track_id: str, start: int, count: int) -> np.ndarray:
        return self.content[track_id][start : start + count]
