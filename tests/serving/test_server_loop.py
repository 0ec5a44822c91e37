"""The process that holds the models: its batches, and the versions that it takes up."""

import queue
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from tagscale.runtime.errors import TagscaleError
from tagscale.serving.server.lineup import BESIDE, LEAD, Slot, State
from tagscale.serving.server.model import Models, WaitingLoop


class Queue:
    """LitServe's queue of requests: every look at it costs a message to another process. looks: how many there were."""

    def __init__(self) -> None:
        self.inner, self.looks = queue.Queue[Any](), 0

    def get(self, timeout: float) -> Any:
        self.looks += 1
        return self.inner.get(timeout=timeout)

    def get_nowait(self) -> Any:
        self.looks += 1
        return self.inner.get_nowait()


class Api:
    max_batch_size, batch_timeout, request_timeout, stream = 4, 0, 60, False


@dataclass
class Tagger:
    slot: Slot

    def __post_init__(self) -> None:
        if self.slot.version == "damaged":
            raise TagscaleError("its weights are damaged")

    def about(self) -> dict[str, str]:
        return asdict(self.slot)


def test_a_version_that_cannot_be_loaded_holds_up_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def slots(lead: str, beside: str) -> list[Slot]:
        roles = {"champion": (LEAD, lead), "challenger": (BESIDE, beside)}
        return [Slot(name, role, "tagger", version, "") for name, (role, version) in roles.items()]

    models = Models(tmp_path, "models", (LEAD, BESIDE), 2)
    models.state, models.hold = State(tmp_path), Tagger
    models.taggers = {slot.name: Tagger(slot) for slot in slots("1", "2")}
    models.state.set_slots(slots("damaged", "3"))
    assert not models._take_up()
    assert [one["version"] for one in State(tmp_path).loaded()] == ["1", "3"]
    assert "tagger/damaged could not be loaded; the one before stays: its weights are damaged" in caplog.text
    models.state.set_slots(slots("4", "3"))
    assert models._take_up()
    assert [one["version"] for one in State(tmp_path).loaded()] == ["4", "3"]


def test_an_idle_loop_sleeps_and_a_batch_is_what_waits() -> None:
    loop, requests = WaitingLoop(), Queue()
    assert loop.get_batch_requests(Api(), requests, None) == ([], [])
    assert requests.looks == 1
    for number in range(6):
        requests.inner.put((0, f"{number}", time.monotonic(), number))
    batches = [loop.get_batch_requests(Api(), requests, None)[0] for _ in range(2)]
    assert [[content for _, _, content in batch] for batch in batches] == [[0, 1, 2, 3], [4, 5]]
    requests.inner.put((0, "late", time.monotonic() - 61, 6))
    assert loop.get_batch_requests(Api(), requests, None) == ([], [(0, "late")])
