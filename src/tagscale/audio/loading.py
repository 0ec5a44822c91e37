"""Loading: batches of patches for one process or several, shuffled anew in every epoch, from any batch on.

`tagscale.audio.patches` decides what is read. This module decides in which order, by which process, and from which
position.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Sampler

from tagscale.audio.patches import Batch, Patches, RandomPatches
from tagscale.runtime.errors import TagscaleError


class EpochOrder(Sampler[int]):
    """The order of a RandomPatches in each epoch, by its seed; `start_at` chooses the epoch.

    Each of `world` processes takes every world-th item of the one order, from its `rank` on: shares are disjoint
    and equally long, and in one step the processes read what a single one would read with a `world` times larger
    batch. The last len % world items of the order are left out; they are others in the next epoch.
    """

    def __init__(self, patches: RandomPatches, rank: int = 0, world: int = 1) -> None:
        self.patches, self.rank, self.world = patches, rank, world
        self.epoch = self.first = 0

    def start_at(self, epoch: int, first: int = 0) -> None:
        """Let the next iteration give the items of this epoch, from the share's item `first` on."""
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        return len(self.patches) // self.world

    def __iter__(self) -> Iterator[int]:
        count = len(self.patches)
        order = np.random.default_rng([self.patches.seed, self.epoch, 1]).permutation(count)
        share = order[: len(self) * self.world][self.rank :: self.world]
        return iter((share[self.first :] + self.epoch * count).tolist())


class TrainingLoader(DataLoader[Batch]):
    """A DataLoader of training patches that can start at any batch of any epoch, whatever the number of its workers.

    Where all processes' batches together have the same size, a position means the same for any number of processes.

    >>> patches = RandomPatches(store, tracks, labels, 48_000, 1, seed=0)  # doctest: +SKIP
    >>> batches = loader(patches, 32, workers=2, pin_memory=False)  # doctest: +SKIP
    >>> for epoch in range(10):  # doctest: +SKIP
    ...     batches.start_at(epoch)
    ...     for waves, labels in batches:
    ...         ...
    """

    waited = 0.0  # seconds for which the caller waited for batches, over all epochs

    def start_at(self, epoch: int, batch: int = 0) -> None:
        """Let the next iteration give the batches of this epoch, from this one on."""
        assert isinstance(self.sampler, EpochOrder)
        assert self.batch_size is not None
        self.sampler.start_at(epoch, batch * self.batch_size)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        begin = time.perf_counter()
        for batch in super().__iter__():
            self.waited += time.perf_counter() - begin
            yield batch
            begin = time.perf_counter()


def loader(
    patches: Patches, batch: int, workers: int, pin_memory: bool, rank: int = 0, world: int = 1
) -> DataLoader[Batch]:
    """Whole batches of a dataset: shuffled for training patches (a `TrainingLoader`), in order for all others.

    Of `world` processes, the one numbered `rank` gets its share: of training patches as `EpochOrder` says, of all
    others a contiguous one, so that none is left out. The last, smaller batch of a training epoch is left out unless it
    is the only one: batch norm cannot learn from a batch of one, and the next epoch has another order.

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


def _already_a_batch(batch: Any) -> Any:
    return batch
