"""The guard around MLflow's scoring app: what it admits, what it refuses, and when a place is free again."""

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvicorn
from mlflow.models import Model
from mlflow.pyfunc import PyFuncModel

from registry.tiny import tiny_tagger
from tagscale.registry.package import example_wav, signature
from tagscale.registry.tagger import AudioTagger
from tagscale.serving import server
from tagscale.serving.server import MODEL_HEADER, RETRY_SECONDS, Limits, guarded, served

NAME = "tagscale-tagger/4"
ONE = Limits(at_once=1, body_bytes=1000, recordings=2, audio_seconds=5.0, seconds=60)


@pytest.fixture(scope="module")
def tagger() -> AudioTagger:
    return tiny_tagger()


class Slow:
    """A model that works until it is told to end; `begun` counts its requests."""

    def __init__(self) -> None:
        self.end, self.begun = threading.Event(), threading.Semaphore(0)

    def predict(self, frame: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        self.begun.release()
        assert self.end.wait(30)
        return pd.DataFrame({"rock": [0.5] * len(frame)})


@contextmanager
def serving(model: PyFuncModel, limits: Limits) -> Iterator[int]:
    """The port of a server, until the block ends."""
    config = uvicorn.Config(guarded(model, NAME, limits), port=0, lifespan="on", log_level="error")
    running = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            running.should_exit = True
            thread.join(20)
    assert not thread.is_alive()


@contextmanager
def slow_server(tagger: AudioTagger, limits: Limits) -> Iterator[tuple[int, Slow]]:
    slow = Slow()
    with serving(PyFuncModel(Model(signature=signature(tagger)), slow), limits) as port:
        try:
            yield port, slow
        finally:
            slow.end.set()


def request(*contents: bytes, **more: Any) -> bytes:
    """The body of a request to tag files."""
    records = [{"audio": base64.b64encode(content).decode()} for content in contents]
    return json.dumps({"dataframe_records": records, **more}).encode()


def asked(port: int, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], Any]:
    """Status, headers and content of an answer, which names the version whatever it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    method, kind = ("GET", {}) if body is None else ("POST", {"Content-Type": "application/json"})
    try:
        connection.request(method, path, body, kind | headers)
        answer = connection.getresponse()
        content = answer.read().decode()
    finally:
        connection.close()
    assert answer.headers[MODEL_HEADER] == NAME
    return answer.status, dict(answer.headers), json.loads(content) if content[:1] == "{" else content


def wait_until_free(port: int) -> None:
    end = time.monotonic() + 10
    while asked(port, "/ready")[0] != 200:
        assert time.monotonic() < end, "the place is never free again"
        time.sleep(0.02)


class InWork:
    """A request in a thread, which is in work when the block begins; `answer` is there when it has ended."""

    def __init__(self, port: int, slow: Slow) -> None:
        self.answer: tuple[int, dict[str, str], Any] | None = None
        self.thread = threading.Thread(target=self._ask, args=(port,))
        self.thread.start()
        assert slow.begun.acquire(timeout=20)

    def _ask(self, port: int) -> None:
        self.answer = asked(port, "/invocations", request(b"song"))

    def status(self) -> int:
        self.thread.join(30)
        assert self.answer
        return self.answer[0]


def test_a_full_server_refuses_at_once_and_says_that_it_is_not_ready(tagger: AudioTagger) -> None:
    with slow_server(tagger, ONE) as (port, slow):
        assert asked(port, "/ready")[0] == 200
        first = InWork(port, slow)
        status, headers, content = asked(port, "/invocations", request(b"song"))
        assert (status, headers["retry-after"]) == (503, str(RETRY_SECONDS))
        assert content["message"] == "1 requests are in work, and this server takes no more at a time. Try again."
        assert asked(port, "/ready")[0] == 503
        assert asked(port, "/ping")[0] == asked(port, "/health")[0] == 200  # it is alive
        slow.end.set()
        assert first.status() == 200
        wait_until_free(port)
        assert asked(port, "/invocations", request(b"song"))[0] == 200


def test_a_place_is_taken_until_the_thread_ends_not_until_the_timeout(tagger: AudioTagger) -> None:
    with slow_server(tagger, Limits(at_once=1, seconds=1)) as (port, slow):
        assert InWork(port, slow).status() == 504
        assert asked(port, "/ready")[0] == 503, "the thread works on"
        assert asked(port, "/invocations", request(b"song"))[0] == 503
        slow.end.set()
        wait_until_free(port)


def test_a_client_that_leaves_does_not_free_its_place(tagger: AudioTagger) -> None:
    with slow_server(tagger, ONE) as (port, slow):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/invocations", request(b"song"), {"Content-Type": "application/json"})
        assert slow.begun.acquire(timeout=20)
        connection.close()
        time.sleep(0.2)
        assert asked(port, "/ready")[0] == 503
        slow.end.set()
        wait_until_free(port)


def test_every_place_is_used(tagger: AudioTagger) -> None:
    with slow_server(tagger, Limits(at_once=2)) as (port, slow):
        first = InWork(port, slow)
        assert asked(port, "/ready")[0] == 200
        second = InWork(port, slow)
        assert asked(port, "/ready")[0] == 503
        slow.end.set()
        assert (first.status(), second.status()) == (200, 200)


def test_large_bodies_are_refused(tagger: AudioTagger) -> None:
    with slow_server(tagger, ONE) as (port, slow):
        slow.end.set()
        large = request(bytes(1000))
        status, _, content = asked(port, "/invocations", large)
        assert (status, content["message"]) == (413, "The body has more than 1000 bytes.")
        pieces = (large[start : start + 100] for start in range(0, len(large), 100))
        assert asked(port, "/invocations", pieces)[0] == 413, "of a length that is not announced"
        whole = request(bytes(600))
        assert len(whole) <= 1000
        assert asked(port, "/invocations", whole)[0] == 200
        assert asked(port, "/invocations", iter([whole[:300], whole[300:]]))[0] == 200


def test_a_body_that_does_not_come_gives_its_place_back(tagger: AudioTagger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "UPLOAD_SECONDS", 0.2)
    with slow_server(tagger, ONE) as (port, _), socket.create_connection(("127.0.0.1", port), timeout=20) as idle:
        idle.sendall(b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        assert b" 408 " in idle.recv(1000).splitlines()[0]
        wait_until_free(port)


def test_other_addresses_have_the_version_too(tagger: AudioTagger) -> None:
    with slow_server(tagger, ONE) as (port, _):
        assert asked(port, "/nowhere")[0] == 404
        assert asked(port, "/version")[0] == 200
        assert asked(port, "/invocations", b"song")[0] == 400
        assert asked(port, "/invocations", b"song", **{"Content-Type": "audio/mpeg"})[0] == 415


def test_the_taggers_scores_in_valid_json(tagger: AudioTagger, caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits(at_once=1, recordings=2, audio_seconds=3.0)
    song, longer = example_wav(2.0), example_wav(3.5)
    with serving(served(tagger, limits), limits) as port:
        status, _, content = asked(port, "/invocations", request(song, longer))
        assert status == 200
        expected = tagger.predict(pd.DataFrame({"audio": [song]})).iloc[0]
        good, bad = content["predictions"]
        assert list(good) == list(tagger.tags)
        np.testing.assert_allclose(list(good.values()), expected, rtol=1e-5)
        assert set(bad.values()) == {None}
        assert "row 1: not tagged: longer than 0.05 minutes" in caplog.text

        status, _, content = asked(port, "/invocations", request(song, song, song))
        assert status == 400
        assert "3 recordings in a request; this server takes 2 at most." in content["message"]
        status, _, content = asked(port, "/invocations", request(song, params={"output": "decisions"}))
        assert status == 400
        assert "has no decisions" in content["message"]
        assert "stack_trace" not in content
        status, _, content = asked(port, "/invocations", json.dumps({"dataframe_records": [{"sound": ""}]}).encode())
        assert status == 400
        assert "audio" in content["message"]
