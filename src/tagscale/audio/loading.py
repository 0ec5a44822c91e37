"""Loading: batches of patches for one process or several, shuffled anew in every epoch, with a position to save.

What is read is settled by `tagscale.audio.patches`; here, in which order, by which process, and from where on.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Sampler

from tagscale.audio.patches import Batch, Patches, RandomPatches
from tagscale.runtime.errors import TagscaleError


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


class TrainingLoader(DataLoader[Batch]):
    """A DataLoader of training patches whose position can be saved and restored, in the middle of an epoch too.

    The position counts batches that were handed out; what workers have read ahead does not count, nor does their
    number. It fits every rank, so one process may save it for all; and another number of processes too, where all
    their batches together are as large as before.

    >>> patches = RandomPatches(store, tracks, labels, 48_000, 1, seed=0)  # doctest: +SKIP
    >>> batches = loader(patches, 32, workers=2, pin_memory=False)  # doctest: +SKIP
    >>> batches.load_state_dict(saved)  # doctest: +SKIP
    >>> for epoch in range(batches.order.epoch, 10):  # doctest: +SKIP
    ...     batches.order.set_epoch(epoch)
    ...     for waves, labels in batches:
    ...         saved = batches.state_dict()
    """

    handed_out = 0  # batches of the current epoch
    waited = 0.0  # seconds that the caller had to wait for batches, in all epochs

    @property
    def order(self) -> EpochOrder:
        """The sampler; `set_epoch` chooses the epoch."""
        assert isinstance(self.sampler, EpochOrder)
        return self.sampler

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        self._epoch = self.order.epoch
        self.handed_out = self.order.first // self._batch
        begin = time.perf_counter()
        for batch in super().__iter__():
            self.handed_out += 1
            self.waited += time.perf_counter() - begin
            yield batch
            begin = time.perf_counter()

    def state_dict(self) -> dict[str, int]:
        """Epoch and batches of it that were handed out, and what the loader must have to go on from there."""
        started = getattr(self, "_epoch", -1) == self.order.epoch and self.order.first == 0
        done = self.handed_out if started else self.order.first // self._batch
        return {"epoch": self.order.epoch, "batches": done} | self._plan()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration go on where `state_dict` was called; `set_epoch` of the same epoch changes nothing.

        Raises:
            TagscaleError: the state is of other patches, or of another batch size over all processes.
        """
        plan = self._plan()
        if state.get("batch", 0) * state.get("world", 0) == plan["batch"] * plan["world"]:
            state = state | {"batch": plan["batch"], "world": plan["world"]}  # the same patches in every step
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


def _already_a_batch(batch: Any) -> Any:
    return batch
