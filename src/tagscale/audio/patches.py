"""Patches: the excerpts of fixed length that a model sees, as torch datasets over the store.

Random ones for training, a moving window for prediction, a few fixed ones for the validation loss. A patch leaves
the store as int16 and becomes float32 on the model's device (`to_wave`): half the bytes to copy. Datasets give whole
batches at once, so a DataLoader needs no collating.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from tagscale.audio.store import Store
from tagscale.errors import TagscaleError

Batch = tuple[Tensor, Tensor]  # int16 (batch, samples), and for each patch the row of `targets` of its track

FULL_SCALE = 32768  # int16 at 1.0


class Samples(Protocol):
    """What patches need of a store."""

    def samples(self, track_id: str) -> int: ...

    def read(self, track_id: str, start: int, count: int) -> np.ndarray: ...


class Patches(Dataset[Batch]):
    """Common to all patch datasets: which tracks, what belongs to each, how a patch is read.

    Args:
        tracks: track ids
        targets: one row per track, given with every patch of it: labels (tracks, tags) in training, row numbers
            (tracks,) in prediction
        patch_samples: length of a patch; a shorter track is repeated until it fills one
    Raises:
        TagscaleError: tracks that the store does not hold.
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
        wave = _room((len(rows), self.patch_samples))
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
    """Training patches: in every epoch `per_track` patches of each track from random places.

    The places depend on seed, epoch and track alone, whatever the number of workers. An item's number carries its
    epoch: item i of epoch e is e * len(self) + i, which `EpochOrder` counts; so workers hold no state.
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
        if epoch != self._epoch:  # one draw for the whole epoch; per patch it would cost more than reading it
            self._fractions = np.random.default_rng([self.seed, epoch]).random(len(self))
            self._epoch = epoch
        within = items % len(self)
        rows = within // self.per_track
        spare = np.maximum(self.lengths[rows] - self.patch_samples, 0)
        return rows, (self._fractions[within] * (spare + 1)).astype(np.int64)


class EpochOrder(Sampler[int]):
    """Another order of a RandomPatches in every epoch, by its seed. Lightning and distributed samplers' `set_epoch`.

    Each of `world` processes takes every world-th item of the one order, from its `rank` on: shares are disjoint
    and equally long, and what the processes read in one step is what a single one would read with a `world` times
    larger batch. The len % world items at the end of the order are left out; in the next epoch they are others.

    first: items of the share that the next iteration skips, as a training that goes on in mid-epoch has had them.
    """

    def __init__(self, patches: RandomPatches, rank: int = 0, world: int = 1) -> None:
        self.patches, self.rank, self.world = patches, rank, world
        self.epoch = self.first = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of this epoch, from its start unless it is the one that is going on."""
        if epoch != self.epoch:
            self.epoch, self.first = epoch, 0

    def __len__(self) -> int:
        return len(self.patches) // self.world

    def __iter__(self) -> Iterator[int]:
        count = len(self.patches)
        order = np.random.default_rng([self.patches.seed, self.epoch, 1]).permutation(count)
        share = order[: len(self) * self.world][self.rank :: self.world]
        first, self.first = self.first, 0
        return iter((share[first:] + self.epoch * count).tolist())


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
            "store are of different datasets. Run `tagscale preprocess`, `validate` and `partition` again."
        )
    return np.array(lengths, np.int64)


def window_count(lengths: np.ndarray, patch_samples: int, hop_samples: int) -> np.ndarray:
    """Number of positions of a moving window; at least one.

    >>> window_count(np.array([5, 30, 31, 40]), patch_samples=10, hop_samples=10)
    array([1, 3, 4, 4])
    """
    return np.maximum(-(-(lengths - patch_samples) // hop_samples), 0) + 1


class TrainingLoader(DataLoader[Batch]):
    """A DataLoader of training patches whose position can be saved and restored, in the middle of an epoch too.

    The position counts batches that were handed out; what workers have read ahead does not count, nor does their
    number. It fits every rank, so one process may save it for all.

    >>> patches = RandomPatches(store, tracks, labels, 48_000, 1, seed=0)  # doctest: +SKIP
    >>> batches = loader(patches, 32, workers=2, pin_memory=False)  # doctest: +SKIP
    >>> batches.load_state_dict(saved)  # doctest: +SKIP
    >>> for epoch in range(batches.order.epoch, 10):  # doctest: +SKIP
    ...     batches.order.set_epoch(epoch)
    ...     for waves, labels in batches:
    ...         saved = batches.state_dict()
    """

    handed_out = 0  # batches of the current epoch

    @property
    def order(self) -> EpochOrder:
        """The sampler; `set_epoch` chooses the epoch."""
        assert isinstance(self.sampler, EpochOrder)
        return self.sampler

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        self._epoch = self.order.epoch
        self.handed_out = self.order.first // self._batch
        for batch in super().__iter__():
            self.handed_out += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Epoch and batches of it that were handed out, and what the loader must have to go on from there."""
        started = getattr(self, "_epoch", -1) == self.order.epoch and self.order.first == 0
        done = self.handed_out if started else self.order.first // self._batch
        return {"epoch": self.order.epoch, "batches": done} | self._plan()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration go on where `state_dict` was called; `set_epoch` of the same epoch changes nothing.

        Raises:
            TagscaleError: the state is of other patches, another batch size or another number of processes.
        """
        plan = self._plan()
        others = [f"{name} {state.get(name)}, here {value}" for name, value in plan.items() if state.get(name) != value]
        if others:
            raise TagscaleError(
                f"The saved position is of another loader ({'; '.join(others)}). Train with the settings it was saved "
                "with, or start anew."
            )
        self.order.set_epoch(int(state["epoch"]))
        self.order.first, self.handed_out = int(state["batches"]) * self._batch, 0

    @property
    def _batch(self) -> int:
        assert self.batch_size is not None
        return self.batch_size

    def _plan(self) -> dict[str, int]:
        order = self.order
        return {
            "batch": self._batch,
            "world": order.world,
            "items": len(order.patches),
            "patch_samples": order.patches.patch_samples,
            "seed": order.patches.seed,
        }


def loader(
    patches: Patches, batch: int, workers: int, pin_memory: bool, rank: int = 0, world: int = 1
) -> DataLoader[Batch]:
    """Whole batches of a dataset: shuffled for training patches (a `TrainingLoader`), in order for all others.

    Of `world` processes, the one numbered `rank` gets its share: of training patches as `EpochOrder` says, of all
    others a contiguous one, nothing left out. The last, smaller batch of a training epoch is left out unless it is
    the only one: batch norm cannot learn from a batch of one, and the next epoch's order is another one.

    Raises:
        TagscaleError: fewer training patches than processes.
    """
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} of {world} processes")
    common: dict[str, Any] = {
        "batch_size": batch,
        "collate_fn": _already_a_batch,
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "pin_memory": pin_memory,
    }
    if not isinstance(patches, RandomPatches):
        share = range(rank * len(patches) // world, (rank + 1) * len(patches) // world)
        return DataLoader(patches, sampler=share, **common)
    if len(patches) < world:
        raise TagscaleError(f"{len(patches)} training patches for {world} processes. Train with fewer processes.")
    order = EpochOrder(patches, rank, world)
    return TrainingLoader(patches, sampler=order, drop_last=len(order) >= batch, **common)


def batches_per_epoch(patches: RandomPatches, batch: int, world: int = 1) -> int:
    """Training steps of one epoch of `loader`, in each of `world` processes."""
    return max(1, len(patches) // world // batch)


def _room(shape: tuple[int, int]) -> Tensor:
    """An int16 tensor to read into; in a data loader's worker already in the memory that it shares, a copy less."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.int16)
    storage = torch.UntypedStorage._new_shared(shape[0] * shape[1] * 2, device="cpu")
    return torch.empty(0, dtype=torch.int16).set_(storage).view(shape)


def to_wave(patches: Tensor) -> Tensor:
    """int16 to float32 in [-1, 1), on the tensor's device."""
    return patches.float() / FULL_SCALE


def _already_a_batch(batch: Any) -> Any:
    return batch
