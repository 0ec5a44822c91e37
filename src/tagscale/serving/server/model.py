"""The process that holds the models and scores recordings in batches, in LitServe's worker.

A batch is what waits when the one before is finished. So a lone recording waits for nobody, and the busier the server
is, the larger its batches are.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty
from typing import Any

import litserve  # type: ignore[import-untyped]
from litserve.loops import BatchedLoop  # type: ignore[import-untyped]

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.memory import keep_freed_memory
from tagscale.runtime.processes import end_with_parent
from tagscale.serving.server.lineup import Slot, State
from tagscale.serving.server.work import Answer

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5  # between two looks at the lineup
RETRY_SECONDS = 30.0  # after a version that could not be loaded
Request = dict[str, Any]  # samples: file of int16; facts: of the recording; slot; taggram, embedding, spectrogram: bool


class WaitingLoop(BatchedLoop):
    """LitServe's loop of batches, which sleeps while nothing is asked.

    Its own either looks at the empty queue without a pause, or keeps each request waiting for companions.
    """

    def get_batch_requests(self, lit_api: Any, request_queue: Any, transport: Any) -> tuple[list[Any], list[Any]]:
        try:
            first = request_queue.get(timeout=1.0)
        except Empty:
            return [], []
        batch: tuple[list[Any], list[Any]] = super().get_batch_requests(
            lit_api, _Before(first, request_queue), transport
        )
        return batch


class _Before:
    """A queue with one more element in front."""

    def __init__(self, first: Any, rest: Any) -> None:
        self.first, self.rest = [first], rest

    def get_nowait(self) -> Any:
        return self.first.pop() if self.first else self.rest.get_nowait()


class Models(litserve.LitAPI):
    """The models of some roles.

    Args:
        state: folder of the server
        roles: which of its slots
        niceness: how far this process steps back for others
    """

    def __init__(self, state: Path, name: str, roles: Sequence[str], batch: int, niceness: int = 0) -> None:
        super().__init__(max_batch_size=batch, batch_timeout=0, api_path=f"/{name}", loop=WaitingLoop())
        self.folder, self.name, self.roles, self.niceness = state, name, tuple(roles), niceness

    def setup(self, device: str) -> None:
        """Load what the lineup says; a change of it is taken up beside."""
        import torch

        from tagscale.serving.server import held  # here, so that the other processes need no torch

        keep_freed_memory()
        self.hold = held.Held
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever waits for this process ends it
        end_with_parent()
        os.nice(self.niceness)
        if device.startswith("cuda") and torch.cuda.is_available():
            torch.cuda.set_device(device)
        self.state = State(self.folder)
        self.taggers: dict[str, Any] = {slot.name: self.hold(slot) for slot in self._slots()}
        self._say()
        threading.Thread(target=self._follow, daemon=True, name="follow").start()

    def predict(self, x: list[Request], **_: Any) -> list[Answer]:
        """Answers in the order of the requests, each scores or an error."""
        answers: dict[int, Answer] = {}
        for slot in dict.fromkeys(request["slot"] for request in x):
            places = [place for place, request in enumerate(x) if request["slot"] == slot]
            held = self.taggers[slot]  # one for all of them, though it may be replaced meanwhile
            answers |= zip(places, held.answer([x[place] for place in places]), strict=True)
        first = {"batch": len(x)}
        return [answers[place] | (first if place == 0 else {}) for place in range(len(x))]

    def _slots(self) -> list[Slot]:
        return [slot for slot in self.state.slots() if slot.role in self.roles]

    def _say(self) -> None:
        self.state.set_loaded(self.name, [self.taggers[slot.name].about() for slot in self._slots()])

    def _follow(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS if self._take_up() else RETRY_SECONDS)

    def _take_up(self) -> bool:
        """Load each version that is new in the lineup, put it in place, and say so. False: one could not be loaded."""
        fresh = [slot for slot in self._slots() if self.taggers[slot.name].slot != slot]
        for slot in fresh:
            try:
                self.taggers[slot.name] = self.hold(slot)
                self._say()
            except Exception as error:
                text = "%s/%s could not be loaded; the one before stays: %s"
                logger.error(text, slot.model, slot.version, error, exc_info=not isinstance(error, TagscaleError))
        return all(self.taggers[slot.name].slot == slot for slot in fresh)
