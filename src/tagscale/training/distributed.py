"""One training in several processes, on one machine or several: which process this is, and what all agree on.

torchrun starts the processes and tells each its place by the environment (WORLD_SIZE, RANK ...); so does whatever else
starts them, as a cluster's training operator. `launch` is torchrun's own engine, for the devices of this machine.
"""

import atexit
import ctypes
import logging
import os
import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.machine import cores
from tagscale.runtime.signals import Interrupted

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
        """The world that the environment describes; one process where it says nothing.

        Raises:
            TagscaleError: the environment names several processes, but not the place of this one.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        missing = [name for name in _NEEDED if name not in os.environ]
        if missing:
            raise TagscaleError(
                f"WORLD_SIZE is {size}, but {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set. "
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
        """Connect to the other processes, where there are any and they are not connected yet."""
        if self.size == 1 or dist.is_initialized():
            return
        if torch.cuda.is_available():
            device = torch.device("cuda", self.local_rank)
            torch.cuda.set_device(device)
            dist.init_process_group("nccl", device_id=device)
        else:
            dist.init_process_group("gloo")
        atexit.register(dist.destroy_process_group)


def together() -> bool:
    """Whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def summed(value: Tensor) -> Tensor:
    """Sum over all processes, without a gradient; changes `value` itself."""
    if together():
        dist.all_reduce(value)
    return value


def agreed(decision: bool) -> bool:
    """The first process's decision, in all processes."""
    return from_first(b"y" if decision else b"") == b"y"


def from_first(content: bytes) -> bytes:
    """The first process's bytes, in all processes; the bytes of the others are ignored."""
    if not together():
        return content
    box = [content]
    dist.broadcast_object_list(box, src=0, device=torch.device("cuda" if dist.get_backend() == "nccl" else "cpu"))
    return box[0]


def processes_wanted(devices: int | None, batch: int) -> int:
    """How many processes `train.devices` asks this process to start; 1 where it is one of several already.

    Raises:
        TagscaleError: more devices than GPUs, or a batch that the devices cannot share.
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


def launch(processes: int, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in so many processes of this machine, and wait for all of them.

    Args:
        function, arguments: anything that can be pickled
    Raises:
        TagscaleError: one process failed, and all were ended. Names it; its own message is on stderr.
        Interrupted: Ctrl-C or another signal ended all of them.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
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
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # each process reports its own failure
    try:
        with _default("OMP_NUM_THREADS", str(max(1, cores() // processes))):
            elastic_launch(config, run_worker)(function, *arguments)
    except SignalException as error:
        interruption = Interrupted(error.sigval)
        interruption.add_note("")  # the first process says what is kept
        raise interruption from None
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise TagscaleError(
            f"Training on {processes} processes ended: process {rank} failed (exit status {failure.exitcode}), and "
            "the others were ended. Its message is above. Started again, training resumes from its last state."
        ) from None


def run_worker(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in one of several processes; exit with 1 and a message on stderr when it raises TagscaleError.

    On Linux the process is killed when its parent dies, so that none trains on alone.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        function(*arguments)
    except TagscaleError as problem:
        print(f"error {problem}", file=sys.stderr, flush=True)
        sys.exit(1)


@contextmanager
def _default(name: str, value: str) -> Iterator[None]:
    """Set an environment variable inside the block, unless it is set."""
    given = name in os.environ
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if not given:
            del os.environ[name]
