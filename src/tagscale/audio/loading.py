"""Loading: the batches of training steps, shuffled anew in every epoch, for one process or several, from any step on.

`tagscale.audio.patches` decides what is read. This module decides in which order, by which process, and from which
position.
"""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Sampler

from tagscale.audio.patches import Batch, Patches, RandomPatches
from tagscale.runtime.errors import TagscaleError


class StepOrder(Sampler[list[int]]):
    """The items of each training step, without an end: epoch after epoch, every epoch in another order, by the seed.

    Each of `world` processes takes every world-th item of the one order, from its `rank` on: shares are disjoint
    and equally long, and in one step the processes read what a single one would read with a `world` times larger
    batch. The last, smaller batch of an epoch is left out unless it is the only one: batch norm cannot learn from a
    batch of one, and the next epoch has another order.

    Attributes:
        epoch_steps: steps in which every patch is read once, but for those left out
        first: the step with which the next iteration begins
    """

    def __init__(self, patches: RandomPatches, batch: int, rank: int = 0, world: int = 1) -> None:
        self.patches, self.batch, self.rank, self.world = patches, batch, rank, world
        self.epoch_steps = epoch_steps(len(patches), batch * world)
        self.first = 0

    def __iter__(self) -> Iterator[list[int]]:
        epoch, place = divmod(self.first, self.epoch_steps)
        for number in itertools.count(epoch):
            items = self._epoch(number)
            for step in range(place if number == epoch else 0, self.epoch_steps):
                yield items[step * self.batch : (step + 1) * self.batch].tolist()

    def _epoch(self, number: int) -> np.ndarray:
        """This process's items of an epoch, in their order."""
        count = len(self.patches)
        order = np.random.default_rng([self.patches.seed, number, 1]).permutation(count)
        return order[: count // self.world * self.world][self.rank :: self.world] + number * count


def epoch_steps(patches: int, batch: int) -> int:
    """Steps of whole batches in an epoch of so many patches; 1 where there are fewer than a batch.

    >>> epoch_steps(9, 4), epoch_steps(3, 4)
    (2, 1)
    """
    return max(1, patches // batch)


class TrainingLoader(DataLoader[Batch]):
    """A DataLoader of training patches that can start at any step, whatever the number of its workers.

    Where all processes' batches together have the same size, a step means the same for any number of processes.

    >>> patches = RandomPatches(store, tracks, labels, 48_000, 1, seed=0)  # doctest: +SKIP
    >>> batches = loader(patches, 32, workers=2, pin_memory=False)  # doctest: +SKIP
    >>> for waves, labels in itertools.islice(batches.steps_from(0), 1000):  # doctest: +SKIP
    ...     ...
    """

    waited = 0.0  # seconds for which the caller waited for batches, over all steps

    def steps_from(self, step: int) -> Iterator[Batch]:
        """The batches of this step and of all that follow, without an end."""
        assert isinstance(self.batch_sampler, StepOrder)
        self.batch_sampler.first = step
        return iter(self)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        begin = time.perf_counter()
        for batch in super().__iter__():
            self.waited += time.perf_counter() - begin
            yield batch
            begin = time.perf_counter()


def loader(
    patches: Patches, batch: int, workers: int, pin_memory: bool, rank: int = 0, world: int = 1
) -> DataLoader[Batch]:
    """Batches of a dataset: of training patches shuffled and without an end (a `TrainingLoader`), of others in order.

    Of `world` processes, the one numbered `rank` gets its share: of training patches as `StepOrder` says, of all
    others a contiguous one, so that none is left out.

    Raises:
        TagscaleError: fewer training patches than processes.
    """
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} of {world} processes")
    common: dict[str, Any] = {
        "collate_fn": _already_a_batch,
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "pin_memory": pin_memory,
    }
    if not isinstance(patches, RandomPatches):
        share = range(rank * len(patches) // world, (rank + 1) * len(patches) // world)
        return DataLoader(patches, batch, sampler=share, **common)
    if len(patches) < world:
        raise TagscaleError(f"{len(patches)} training patches for {world} processes. Train with fewer processes.")
    return TrainingLoader(patches, batch_sampler=StepOrder(patches, batch, rank, world), **common)


def _already_a_batch(batch: Any) -> Any:
    return batch
