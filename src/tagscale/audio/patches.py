"""Patches: the excerpts of fixed length that a model sees, as torch datasets over the store.

Random ones for training, a moving window for prediction, a few fixed ones for the validation loss. A patch leaves
the store as int16 and becomes float32 on the model's device (`to_wave`): half the bytes to copy. Datasets give whole
batches at once, so a DataLoader needs no collating (`tagscale.audio.loading`).
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.pcm import FULL_SCALE
from tagscale.store.read import Store

Batch = tuple[Tensor, Tensor]  # int16 (batch, samples), and for each patch the row of `targets` of its track


class Samples(Protocol):
    """The part of a store that patches need."""

    def samples(self, track_id: str) -> int: ...

    def read(self, track_id: str, start: int, count: int) -> np.ndarray: ...


class Patches(Dataset[Batch]):
    """A patch dataset: the tracks, the targets of each, and how a patch is read.

    Args:
        tracks: track ids
        targets: one row per track, which comes with every patch of it: labels (tracks, tags) in training, row numbers
            (tracks,) in prediction
        patch_samples: length of a patch; a shorter track is repeated until it fills one
    Raises:
        TagscaleError: the store lacks a track.
    """

    def __init__(self, store: Samples, tracks: Sequence[str], targets: np.ndarray, patch_samples: int) -> None:
        if len(tracks) != len(targets):
            raise ValueError(f"{len(tracks)} tracks, but {len(targets)} rows of targets")
        self.store, self.tracks, self.targets, self.patch_samples = store, list(tracks), targets, patch_samples
        self.lengths = _lengths(store, self.tracks)

    def __len__(self) -> int:
        raise NotImplementedError

    def places(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each item the row of its track and the first sample of its patch."""
        raise NotImplementedError

    def __getitems__(self, items: list[int]) -> Batch:
        rows, starts = self.places(np.asarray(items, np.int64))
        wave = _buffer((len(rows), self.patch_samples))
        patches = wave.numpy()
        counts = np.minimum(self.lengths[rows], self.patch_samples).tolist()
        tracks, places = [self.tracks[row] for row in rows], starts.tolist()
        excerpts = [patch[:count] for patch, count in zip(patches, counts, strict=True)]
        if isinstance(self.store, Store):
            self.store.read_into(tracks, places, excerpts)
        else:
            for track, start, excerpt in zip(tracks, places, excerpts, strict=True):
                excerpt[:] = self.store.read(track, start, len(excerpt))
        for patch, count in zip(patches, counts, strict=True):
            if count < self.patch_samples:
                patch[:] = np.resize(patch[:count], self.patch_samples)
        return wave, torch.from_numpy(self.targets[rows])


class RandomPatches(Patches):
    """Training patches: `per_track` patches from random places of each track in every epoch.

    The places depend on seed, epoch and track alone, whatever the number of workers. An item's number carries its
    epoch: item i of epoch e is e * len(self) + i, which `StepOrder` counts, so workers hold no state.
    """

    def __init__(
        self,
        store: Samples,
        tracks: Sequence[str],
        targets: np.ndarray,
        patch_samples: int,
        per_track: int,
        seed: int,
    ) -> None:
        super().__init__(store, tracks, targets, patch_samples)
        self.per_track, self.seed = per_track, seed
        self._epoch, self._fractions = -1, np.empty(0)

    def __len__(self) -> int:
        return len(self.tracks) * self.per_track

    def places(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        epoch = int(items[0]) // len(self)
        if epoch != self._epoch:  # one draw for the whole epoch; a draw per patch would take longer than reading it
            self._fractions = np.random.default_rng([self.seed, epoch]).random(len(self))
            self._epoch = epoch
        within = items % len(self)
        rows = within // self.per_track
        spare = np.maximum(self.lengths[rows] - self.patch_samples, 0)
        return rows, (self._fractions[within] * (spare + 1)).astype(np.int64)


class Windows(Patches):
    """All positions of a moving window over each track; the last window ends where the track ends.

    Args:
        hop_samples: step of the window
    """

    def __init__(
        self, store: Samples, tracks: Sequence[str], targets: np.ndarray, patch_samples: int, hop_samples: int
    ) -> None:
        super().__init__(store, tracks, targets, patch_samples)
        self.hop_samples = hop_samples
        self.counts = window_count(self.lengths, patch_samples, hop_samples)
        self.ends = np.cumsum(self.counts)  # items of track r: from ends[r - 1] up to ends[r]
        self.firsts = self.ends - self.counts

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def places(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = np.searchsorted(self.ends, items, side="right")
        spare = np.maximum(self.lengths[rows] - self.patch_samples, 0)
        return rows, np.minimum((items - self.firsts[rows]) * self.hop_samples, spare)


class SpacedPatches(Patches):
    """The same `per_track` patches of each track every time, centred in as many equal sections: cheap to score."""

    def __init__(
        self, store: Samples, tracks: Sequence[str], targets: np.ndarray, patch_samples: int, per_track: int
    ) -> None:
        super().__init__(store, tracks, targets, patch_samples)
        self.per_track = per_track

    def __len__(self) -> int:
        return len(self.tracks) * self.per_track

    def places(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = items // self.per_track
        spare = np.maximum(self.lengths[rows] - self.patch_samples, 0)
        return rows, spare * (2 * (items % self.per_track) + 1) // (2 * self.per_track)


def _lengths(store: Samples, tracks: list[str]) -> np.ndarray:
    lengths, missing = [], []
    for track in tracks:
        try:
            lengths.append(store.samples(track))
        except KeyError:
            missing.append(track)
    if missing:
        raise TagscaleError(
            f"{len(missing)} of {len(tracks)} tracks are not in the store, the first is {missing[0]!r}: partition and "
            "store belong to different datasets. Run `tagscale preprocess`, `validate` and `partition` again."
        )
    return np.array(lengths, np.int64)


def window_count(lengths: np.ndarray, patch_samples: int, hop_samples: int) -> np.ndarray:
    """Number of positions of a moving window; at least one.

    >>> window_count(np.array([5, 30, 31, 40]), patch_samples=10, hop_samples=10)
    array([1, 3, 4, 4])
    """
    return np.maximum(-(-(lengths - patch_samples) // hop_samples), 0) + 1


def _buffer(shape: tuple[int, int]) -> Tensor:
    """An int16 tensor to read into. In a data loader's worker it lies in shared memory, which saves a copy."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.int16)
    storage = torch.UntypedStorage._new_shared(shape[0] * shape[1] * 2, device="cpu")
    return torch.empty(0, dtype=torch.int16).set_(storage).view(shape)


def to_wave(patches: Tensor) -> Tensor:
    """int16 to float32 in [-1, 1), on the tensor's device."""
    return patches.float() / FULL_SCALE
