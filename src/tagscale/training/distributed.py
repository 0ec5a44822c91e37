"""One training in several processes, on one machine or several: who this process is, and what all agree on.

`torchrun` starts the processes and tells each by its environment (WORLD_SIZE, RANK ...); so does whatever else starts
them, as a cluster's training operator. `launch` is torchrun's own engine, for the devices of this machine.
"""

import atexit
import ctypes
import logging
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch import distributed as dist

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.machine import cores

_NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_PR_SET_PDEATHSIG = 1  # prctl.h of Linux


@dataclass(frozen=True)
class World:
    """The processes of a training, and which of them this one is."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1  # processes on this machine

    @classmethod
    def current(cls) -> "World":
        """As the environment says; one process where it says nothing. Raises TagscaleError when it says half of it."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        lacking = [name for name in _NEEDED if name not in os.environ]
        if lacking:
            raise TagscaleError(
                f"WORLD_SIZE is {size}, but {', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not set. "
                "Start the processes with torchrun, or unset WORLD_SIZE."
            )
        local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return cls(int(os.environ["RANK"]), size, int(os.environ["LOCAL_RANK"]), local_size)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and logs."""
        return self.rank == 0

    def share_of(self, batch: int) -> int:
        """Patches of a batch that each process takes. Raises TagscaleError when the batch cannot be divided evenly."""
        if batch % self.size:
            raise TagscaleError(
                f"train.batch {batch} cannot be divided evenly over {self.size} processes. Take "
                f"{max(1, batch // self.size) * self.size}, or another number of processes (train.devices, torchrun)."
            )
        return batch // self.size

    def connect(self) -> None:
        """Meet the other processes; nothing where there are none, or where they have met."""
        if self.size == 1 or dist.is_initialized():
            return
        if torch.cuda.is_available():
            device = torch.device("cuda", self.local_rank)
            torch.cuda.set_device(device)
            dist.init_process_group("nccl", device_id=device)
        else:
            dist.init_process_group("gloo")
        atexit.register(dist.destroy_process_group)

    def trainer_settings(self) -> dict[str, Any]:
        """What Lightning's trainer must be told of these processes."""
        if self.size == 1:
            return {"devices": 1}
        # Buffers are alike already: batch norm sees the whole batch (training.sync_norm)
        strategy = DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)
        return {
            "devices": self.local_size,
            "num_nodes": self.size // self.local_size,
            "strategy": strategy,
            "use_distributed_sampler": False,  # `audio.loading.loader` gives each its share
            "plugins": [TorchElasticEnvironment()],
        }


class EndedFromOutside(Callback):
    """Lets each of several processes end at once when it is asked to, as torchrun does when one of them failed.

    Lightning would ask in every step whether any process has been, which makes GPUs wait, and would answer through
    processes that may be gone.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.world_size > 1:
            trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def together() -> bool:
    """Whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def summed(value: Tensor) -> Tensor:
    """Sum over all processes, without a gradient; changes `value` itself."""
    if together():
        dist.all_reduce(value)
    return value


def agreed(decision: bool) -> bool:
    """What the first process decides, in all of them."""
    return from_first(b"y" if decision else b"") == b"y"


def from_first(content: bytes) -> bytes:
    """The first process's bytes, in all of them; what the others give does not matter."""
    if not together():
        return content
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    first = dist.get_rank() == 0
    length = torch.tensor([len(content)], device=device)
    dist.broadcast(length, src=0)
    room = torch.empty(int(length.item()), dtype=torch.uint8, device=device)
    if first and content:
        room.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    if len(room):
        dist.broadcast(room, src=0)
    return content if first else room.cpu().numpy().tobytes()


def processes_wanted(devices: int | None, batch: int) -> int:
    """How many processes `train.devices` asks this process to start; 1 where it is one of several already.

    Raises:
        TagscaleError: more devices than there are GPUs, a batch that they cannot share.
    """
    world = World.current()
    if world.size > 1 or devices in (None, 1):
        world.share_of(batch)
        return 1
    assert devices is not None
    gpus = torch.cuda.device_count()
    if gpus and devices > gpus:
        raise TagscaleError(f"train.devices is {devices}, but this machine has {gpus} GPU(s). Lower train.devices.")
    World(size=devices).share_of(batch)
    return devices


def launch(processes: int, *arguments: str) -> None:
    """Run `python ARGUMENTS` in so many processes of this machine, and wait for all of them.

    Raises:
        TagscaleError: one of them failed, and so all were ended. Names it; its message is on stderr.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # the processes speak for themselves
    threads = str(max(1, cores() // processes))
    try:
        with _environment("OMP_NUM_THREADS", threads):
            elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise TagscaleError(
            f"Training on {processes} processes ended: process {rank} failed (exit status {failure.exitcode}), and "
            "the others were ended. Its message stands above. Started again, training continues where it was saved."
        ) from None


def end_with_parent() -> None:
    """Let this process be killed when the one that launched it dies, so that none trains on alone. Linux only."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def lost_processes_explained(world: World) -> Iterator[None]:
    """Say of an error in talking to the other processes what it means: one of them is gone."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if world.size == 1 or not (isinstance(error, dist.DistError) or "gloo" in text or "NCCL" in text):
            raise
        raise TagscaleError(
            f"Process {world.rank} of {world.size} lost another process of this training, which failed or was ended "
            f"({text.splitlines()[0][:200]}). Look at that one's message; started again, training continues where it "
            "was saved."
        ) from error


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable that is not set, for a while."""
    given = name in os.environ
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if not given:
            del os.environ[name]
