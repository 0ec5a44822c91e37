"""The training loss between two validations, read from the device without making it wait."""

import math
import time
from collections.abc import Callable

import torch

from tagscale.training.state import State

OnPoint = Callable[[dict[str, float]], None]  # takes the numbers of a point, which has the keys of a row
SECONDS, SHARE = 2.0, 0.01  # between two points: at least, and as a share of the training's time, so that few suffice


class RunningLoss:
    """Reports points of the loss curve while steps are taken: step, train_loss, learning_rate.

    A loss is the mean over the steps since the point before, or since the last validation. On a GPU its sum is copied
    in the background and reported with one of the next steps, because reading it at once would stop the device. Of
    several processes, the first one reports the loss of its own share.

    Args:
        on_point: gets the points; None: nothing is read
        processes: number of processes, of which each has its share of the sum
    """

    def __init__(self, on_point: OnPoint | None, processes: int = 1) -> None:
        self.on_point, self.processes = on_point, processes
        self.begin = time.perf_counter()
        self.due, self.copy = self.begin + SECONDS, torch.zeros(())
        self.ready: torch.cuda.Event | None = None  # of a copy from a GPU
        self.taken: tuple[int, float] | None = None  # step and learning rate of the copy under way
        self.last_step, self.last_sum = 0, 0.0

    def restart(self, state: State) -> None:
        """Begin after a validation, where the sum of the losses begins anew."""
        self.taken, self.last_step, self.last_sum = None, state.validated, 0.0

    def after_step(self, state: State, learning_rate: float) -> None:
        """Take a copy of the sum when a point is due, and report the copy that has arrived."""
        if self.on_point is None:
            return
        if self.taken is None and time.perf_counter() >= self.due:
            self.taken = state.step, learning_rate
            self.copy = state.loss_sum.detach().to("cpu", non_blocking=True, copy=True)
            if state.loss_sum.is_cuda:
                self.ready = torch.cuda.Event()
                self.ready.record()
        if self.taken is not None and (self.ready is None or self.ready.query()):
            self._report(self.on_point, *self.taken)

    def _report(self, on_point: OnPoint, step: int, learning_rate: float) -> None:
        total = self.processes * float(self.copy)
        loss = (total - self.last_sum) / (step - self.last_step)
        self.taken, self.last_step, self.last_sum = None, step, total
        now = time.perf_counter()
        self.due = now + max(SECONDS, SHARE * (now - self.begin))
        if math.isfinite(loss):
            on_point({"step": step, "train_loss": loss, "learning_rate": learning_rate})
