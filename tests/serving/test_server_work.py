"""What the server does when its models do not answer, die, or the shadow falls behind: its HTTP side, in here."""

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from serving.served import LIMITS, Answered, Client, as_text
from tagscale.registry.package import example_wav
from tagscale.runtime.files import read_json
from tagscale.runtime.processes import ATTEMPTS
from tagscale.serving.server import guard, record, work
from tagscale.serving.server.app import ANSWERING, Http, Settings
from tagscale.serving.server.lineup import BESIDE, LEAD, SHADOW, Asked, State
from tagscale.serving.server.metrics import Metrics
from tagscale.serving.server.work import MORE, Recording, Scoring, Wanted

SONG = example_wav(1.0)
NAMES = {"model": "tagger", "version": "1", "sha256": "1" * 64}
ANSWER = {**NAMES, "scores": {"rock": 0.5}, "decisions": {}, "warnings": [], "facts": {"source_seconds": 1.0}}
Score = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Models:
    """A process of models that answers when it is told to. asked: the requests that came."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.end = threading.Event()

    async def score(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        while not self.end.is_set():
            await asyncio.sleep(0.01)
        return dict(ANSWER)


@contextmanager
def serving(
    folder: Path, score: Score, shadow: Score, record: Path | None = None, **limits: Any
) -> Iterator[tuple[Client, Http]]:
    """The HTTP side of a server, until the block ends."""
    state = State(folder)
    state.set_loaded(ANSWERING, [{**NAMES, "name": "champion", "role": LEAD, "tags": []}])
    asked = [Asked("champion", LEAD, "tagger"), Asked("challenger", SHADOW, "tagger")]
    settings = Settings(
        "127.0.0.1", 8080, asked, replace(LIMITS, **limits), 16, 0, ["t" * 20], open_metrics=False, record=record
    )
    http, app = Http(settings, state, score, shadow), FastAPI()
    http.install(app)
    app.add_middleware(http.guard)  # type: ignore[arg-type]  # as LitServe does
    running = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="on", log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        try:
            yield Client(listening.getsockname()[1], "t" * 20), http
        finally:
            running.should_exit = True
            thread.join(120)
    assert not thread.is_alive()


def test_models_that_do_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = Models()
    monkeypatch.setattr(guard, "UPLOAD_SECONDS", 0.5)
    with serving(tmp_path, models.score, models.score, at_once=1, seconds=3) as (client, http):
        models.end.set()
        wait_for(lambda: client.ask("/tag", SONG, "audio/wav").status == 200)  # a decoder starts
        models.end.clear()
        assert Client(client.port).ask("/metrics").status == 401, "metrics are not open here"
        answer = client.ask("/tag", SONG, "audio/wav")
        assert (answer.status, answer.content["error"]) == (504, "The answer was not there after 3 s.")
        assert client.ask("/readyz").status == 200, "its place is free again"
        assert not list(http.state.uploads.iterdir())
        assert client.ask("/healthz").status == 200
        (task,) = http.lead.asked
        http.lead.asked[task] -= 10
        answer = client.ask("/healthz")
        assert (answer.status, "have owed an answer for" in answer.content["error"]) == (503, True)
        models.end.set()
        assert client.ask("/tag", SONG, "audio/wav").status == 200
        wait_for(lambda: client.ask("/healthz").status == 200)  # the answer that was owed comes, too
        with socket.create_connection(("127.0.0.1", client.port), timeout=20) as idle:
            head = f"POST /tag HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {client.token}\r\n"
            idle.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
            assert b" 408 " in idle.recv(1000).splitlines()[0]
        assert client.ask("/readyz").status == 200


def test_what_is_refused_is_counted_under_its_route(tmp_path: Path) -> None:
    models = Models()
    models.end.set()
    with serving(tmp_path, models.score, models.score, at_once=1, body_bytes=10_000) as (client, http):
        stranger = Client(client.port)
        asked = [
            (stranger.ask("/tag", SONG, "audio/wav"), "/tag", 401),
            (stranger.ask("/nowhere"), "other", 401),
            (client.ask("/nowhere"), "other", 404),
            (client.ask("/tag?model=none", b"words", "audio/wav"), "/tag", 404),
            (client.ask("/tag"), "/tag", 405),
            (client.ask("/tag", SONG, "audio/wav"), "/tag", 413),
            (client.ask("/tag", b"words", "text/plain"), "/tag", 415),
            (client.ask("/tag", b"words", "audio/wav"), "/tag", 422),
            (client.ask("/v2/models/none"), "/v2/models/{name}", 404),
            (client.ask("/"), "/", 200),
        ]
        http.in_front.in_work = 1
        full = "/v2/models/{name}/versions/{version}/infer"
        asked.append((client.ask("/v2/models/a/versions/1/infer", {}), full, 429))
        asked.append((client.ask("/dataset/audio?track_id=t1"), "other", 429))  # it has no dataset
        assert client.ask("/dataset").status == 200, "which reads no file"
        http.in_front.in_work = 0
        http.in_front.drain()
        asked.append((client.ask("/invocations", {}), "/invocations", 503))
        metrics = client.ask("/metrics").content
        for answer, path, status in asked:
            assert answer.status == status, answer.content
            assert f'tagscale_requests_total{{path="{path}",status="{status}"}} 1.0' in metrics


def test_a_client_that_does_not_take_its_answer_gives_its_place_back(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a part", "more_body": True})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(60)  # as uvicorn where the client reads nothing

    async def ask() -> None:
        state, limits = State(tmp_path), replace(LIMITS, seconds=0.05)
        calls = {"begin": lambda: None, "end": lambda: None}
        front = guard.Guard(app, state, Metrics(state), limits, paths=[], tokens=[], open_metrics=True, **calls)
        scope = {"type": "http", "method": "GET", "path": "/dataset/audio", "headers": []}
        with pytest.raises(TimeoutError):
            await front(scope, send, send)
        assert front.in_work == 0

    asyncio.run(ask())


def test_a_version_beside_that_fails_or_is_late_costs_the_first_ones_answer_nothing(tmp_path: Path) -> None:
    """Of three recordings one hangs in the version beside, one fails there, and one is answered."""
    other = {**NAMES, "version": "2", "sha256": "2" * 64}
    told = {"1": asyncio.Event().wait, "2": lambda: 1 / 0, "0": lambda: asyncio.sleep(0)}

    async def score(request: dict[str, Any]) -> dict[str, Any]:
        if request["slot"] == "champion":
            return dict(ANSWER)
        await told[Path(request["samples"]).stem]()
        return ANSWER | other

    with serving(tmp_path, score, score, seconds=4) as (client, http):
        loaded = [{**NAMES, "name": "champion", "role": LEAD}, {**other, "name": "other", "role": BESIDE}]
        http.state.set_loaded(ANSWERING, [about | {"tags": []} for about in loaded])
        wait_for(lambda: client.ask("/tag", SONG, "audio/wav").status == 200)  # a decoder starts
        answer = client.form(dict.fromkeys("abc", SONG), "?beside=other")
    assert (answer.status, answer.headers["x-tagscale-model"]) == (200, "tagger/1")
    assert [one["scores"] for one in answer.content["results"]] == [ANSWER["scores"]] * 3
    first, late, failed = answer.content["beside"]["results"]
    assert answer.content["beside"]["version"] == "2"
    assert first["scores"] == ANSWER["scores"]
    assert late == {"name": "b", "error": "the answer was not there after 4 s"}
    assert failed == {"name": "c", "error": "this version failed; the server's log says why"}


def test_an_answer_has_the_tags_of_the_version_that_gave_it(tmp_path: Path) -> None:
    """The alias moves to a version with other tags, which answers before it is said to be loaded."""
    moved = {**NAMES, "version": "2", "sha256": "2" * 64}
    about = {"name": "champion", "role": LEAD, "tags": [{"tag": "jazz", "threshold": 0.25}]}

    async def score(request: dict[str, Any]) -> dict[str, Any]:
        asyncio.get_running_loop().call_later(0.1, http.state.set_loaded, ANSWERING, [moved | about])
        return {**ANSWER, **moved, "scores": {"jazz": 0.75}}

    requests = {
        "/tag": {"files": [{"audio": as_text(SONG)}]},
        "/invocations": {"inputs": [as_text(SONG)]},
        "/v2/models/tagger/infer": {
            "inputs": [{"name": "a", "datatype": "BYTES", "shape": [1], "data": [as_text(SONG)]}]
        },
    }
    said = {}
    for path, request in requests.items():
        with serving(tmp_path, score, score) as (client, http):
            answer = client.ask(path, request)
        assert (answer.status, answer.headers["x-tagscale-model"]) == (200, "tagger/2")
        said[path] = answer.content
    assert said["/tag"]["sha256"] == moved["sha256"]
    assert "tags" not in said["/tag"]
    assert said["/invocations"]["predictions"] == [{"jazz": 0.75}]
    assert said["/v2/models/tagger/infer"]["outputs"][0]["data"] == [0.75]


def test_the_open_inference_protocol_as_it_is_written(tmp_path: Path) -> None:
    """Parameters are no lists, outputs are those that are named, data may have as many dimensions as its shape."""
    models, text = Models(), as_text(SONG)
    models.end.set()
    of_audio = {"name": "audio", "datatype": "BYTES", "shape": [1], "data": [text]}
    with serving(tmp_path, models.score, models.score) as (client, http):
        http.state.set_loaded(
            ANSWERING,
            [{**NAMES, "name": "champion", "role": LEAD, "tags": [{"tag": "rock", "threshold": None}]}],
        )

        def infer(tensor: dict[str, Any], **more: Any) -> Answered:
            return client.ask("/v2/models/tagger/infer", {"inputs": [of_audio | tensor], **more})

        answers = [client.ask("/v2/models/tagger"), infer({})]
        for answer in answers:
            assert {type(value) for value in answer.content["parameters"].values()} == {str}
            assert json.loads(answer.content["parameters"]["tags"]) == ["rock"]
            assert json.loads(answer.content["parameters"]["thresholds"]) == [None]
        named = infer({}, outputs=[{"name": "error"}])
        assert [output["name"] for output in named.content["outputs"]] == ["error"]
        for mark, same in (("7", "7"), ("\ud800", "?")):
            assert infer({}, id=mark).content["id"] == same, "half a character is no UTF-8"
        square = infer({"shape": [2, 1], "data": [[text], [text]]})
        assert square.content["outputs"][0]["shape"] == [2, 1]
        asked = len(models.asked)
        for tensor in ({"shape": [2]}, {"shape": None}, {"shape": [1] * 100}, {"data": text}, {"datatype": "FP32"}):
            answer = infer(tensor)
            assert (answer.status, "one input of the datatype BYTES" in answer.content["error"]) == (400, True), tensor
        for outputs in ([{"name": "tags"}], [{}], 5):
            answer = infer({}, outputs=outputs)
            assert (answer.status, "NAME one of scores, error" in answer.content["error"]) == (400, True), outputs
        for inputs in (text, {"audio": text}):
            answer = client.ask("/invocations", {"inputs": inputs})
            assert (answer.status, "Expected the column `audio`" in answer.content["error"]) == (400, True)
        assert len(models.asked) == asked


def test_a_fault_of_the_server_is_an_error_as_all_others(tmp_path: Path) -> None:
    async def score(request: dict[str, Any]) -> dict[str, Any]:
        raise OSError("No space left on device")

    with serving(tmp_path, score, score) as (client, http):
        answer = client.ask("/tag", SONG, "audio/wav")
        assert (answer.status, answer.content) == (500, {"error": "The server failed; its log says why."})
        assert answer.headers["x-tagscale-model"] == "tagger/1"
        assert 'path="/tag",status="500"} 1.0' in client.ask("/metrics").content
        assert client.ask("/readyz").status == 200
        assert not list(http.state.uploads.iterdir())


def test_a_slow_upload_has_the_time_that_its_length_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "UPLOAD_SECONDS", 0.2)
    monkeypatch.setattr(guard, "SLOWEST", len(SONG) // 100)
    models = Models()
    models.end.set()
    with serving(tmp_path, models.score, models.score) as (client, _):
        head = f"POST /tag HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {client.token}\r\n"
        with socket.create_connection(("127.0.0.1", client.port), timeout=20) as slow:
            slow.sendall(f"{head}Content-Length: {len(SONG)}\r\n\r\n".encode() + SONG[:-100])
            time.sleep(0.6)
            slow.sendall(SONG[-100:])
            assert b" 200 " in slow.recv(1000).splitlines()[0]


def test_head_says_what_get_does_without_the_body(tmp_path: Path) -> None:
    models = Models()
    with serving(tmp_path, models.score, models.score) as (client, _):
        for path in ("/", "/readyz", "/healthz", "/models", "/nowhere"):
            head, get = client.ask(path, method="HEAD"), client.ask(path)
            assert (head.status, head.content) == (get.status, ""), path
            assert head.headers["content-length"] == get.headers["content-length"]
        assert client.ask("/tag", method="HEAD").status == 405


def no_links(*_: object) -> None:
    raise OSError("Operation not supported")  # of a file system without hard links


def test_a_shadow_that_falls_behind_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "WAITING", 2)
    monkeypatch.setattr(record, "AT_ONCE", 1)
    monkeypatch.setattr(os, "link", no_links)
    lead, shadow = Models(), Models()
    lead.end.set()
    with serving(tmp_path, lead.score, shadow.score) as (client, http):
        for _ in range(5):
            assert client.ask("/tag", SONG, "audio/wav").status == 200
        assert len(lead.asked) == 5
        assert 'tagscale_shadow_total{outcome="dropped"} 2.0' in client.ask("/metrics").content
        assert len(list(http.state.uploads.iterdir())) == 3, "samples of what waits, and of what is in work"
        shadow.end.set()
        wait_for(lambda: 'tagscale_shadow_total{outcome="heard"} 3.0' in client.ask("/metrics").content)
        assert not list(http.state.uploads.iterdir())
        assert {request["slot"] for request in shadow.asked} == {"challenger"}


def test_a_part_that_cannot_be_written_costs_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(record, "PART_ROWS", 1)
    models, rows = Models(), tmp_path / "rows"
    models.end.set()
    rows.write_text("no folder")
    with serving(tmp_path, models.score, models.score, rows) as (client, _):
        assert client.ask("/tag", SONG, "audio/wav").status == 200
        wait_for(lambda: "rows of what was served are lost" in caplog.text)
        rows.unlink()
        assert client.ask("/tag", SONG, "audio/wav").status == 200
        wait_for(lambda: bool(list(rows.glob("lead/*.parquet"))))


def test_versions_are_recorded_that_went_before_their_rows_were_written(tmp_path: Path) -> None:
    """Else `compare-served` would know no tags of theirs."""

    def about(number: int, role: str) -> dict[str, Any]:
        tags = [{"tag": "rock", "threshold": None}]
        return {"model": "tagger", "version": f"{number}", "sha256": f"{number}" * 64, "name": role, "role": role} | {
            "tags": tags
        }

    async def lead(request: dict[str, Any]) -> dict[str, Any]:
        http.state.set_loaded(ANSWERING, [about(3, LEAD)])  # it answers, and is replaced
        return ANSWER

    models = Models()
    with serving(tmp_path, lead, models.score, tmp_path / "rows") as (client, http):
        http.state.set_loaded(ANSWERING, [about(1, LEAD)])
        http.state.set_loaded(SHADOW, [about(2, SHADOW)])
        assert client.ask("/tag", SONG, "audio/wav").content["version"] == "1"
        http.state.set_loaded(SHADOW, [about(4, SHADOW)])
        damaged = tmp_path / "rows" / record.MODELS / f"{'1' * 64}.json"
        damaged.parent.mkdir(parents=True, exist_ok=True)
        damaged.write_text("damaged")
    assert list((tmp_path / "rows").glob("times/*.parquet"))
    known = {file.stem: read_json(file) for file in damaged.parent.iterdir()}
    assert {digest[:1] for digest in known} == {"1", "2", "3"}
    assert known["1" * 64]["tags"][0]["tag"] == "rock"


def wait_for(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < ends, "it does not come"
        time.sleep(0.02)


@pytest.mark.parametrize("deaths", [1, ATTEMPTS])
def test_what_a_process_of_models_dies_over_is_asked_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    monkeypatch.setattr(work, "LOOK_SECONDS", 0.01)
    state, asked = State(tmp_path), list[dict[str, Any]]()
    processes = iter(range(100))
    monkeypatch.setattr(State, "process", lambda self, name: number[-1])
    number = [next(processes)]

    async def score(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        if len(asked) <= deaths:
            await asyncio.sleep(0.1)
            number.append(next(processes))  # another one takes its place
            await asyncio.sleep(60)
        return {"scores": {}, "batch": 3}

    async def ask() -> dict[str, Any]:
        sizes = list[int]()
        scoring = Scoring(score, state, ANSWERING, sizes.append)
        watching = asyncio.create_task(scoring.watch())
        answer = await scoring.ask(Recording("a", samples=tmp_path), "champion", Wanted())
        watching.cancel()
        await asyncio.sleep(0.01)  # what is cancelled ends
        assert not scoring.asked
        assert sizes == [3] * ("error" not in answer)
        return answer

    answer = asyncio.run(ask())
    assert len(asked) == min(deaths + 1, ATTEMPTS)
    lost = {"error": "the process of the models ended while it was scored"}
    assert answer == (lost if deaths == ATTEMPTS else {"scores": {}})


def test_a_recording_with_more_turns_waits_in_the_queue_before_each(tmp_path: Path) -> None:
    state, order = State(tmp_path), list[str]()

    async def score(request: dict[str, Any]) -> dict[str, Any]:
        name = Path(request["samples"]).name
        order.append(name)
        await asyncio.sleep(0)
        return dict(MORE) if name == "long" and order.count("long") < 3 else {"scores": {}}

    async def ask() -> list[dict[str, Any]]:
        scoring = Scoring(score, state, ANSWERING)
        names = ("long", "one", "other")
        return await asyncio.gather(
            *(scoring.ask(Recording(name, samples=tmp_path / name), "champion", Wanted()) for name in names)
        )

    assert asyncio.run(ask()) == [{"scores": {}}] * 3
    assert order == ["long", "one", "other", "long", "long"]


def test_the_next_process_does_not_owe_what_nobody_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "LOOK_SECONDS", 0.01)
    number = [1]
    monkeypatch.setattr(State, "process", lambda self, name: number[-1])

    async def owed() -> list[int]:
        scoring = Scoring(Models().score, State(tmp_path), ANSWERING)
        watching = asyncio.create_task(scoring.watch())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await scoring.ask(Recording("a", samples=tmp_path), "champion", Wanted())
        before = len(scoring.asked)
        number.append(2)
        await asyncio.sleep(0.1)
        watching.cancel()
        return [before, len(scoring.asked)]

    assert asyncio.run(owed()) == [1, 0]
