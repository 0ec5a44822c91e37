"""The loop that makes batches in LitServe's worker."""

import queue
import time
from typing import Any

from tagscale.serving.server.model import WaitingLoop


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
