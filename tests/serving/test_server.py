"""`tagscale serve` as its clients meet it: one server, real requests, and the end of it."""

import base64
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from registry.tiny import empty_store
from servers.processes import free_port
from serving.chromium import CHROMIUM, browser
from serving.served import MODEL, TAGS, Client, as_text, in_project, registered, started
from tagscale.registry.package import example_wav, load_version
from tagscale.registry.versions import Registry
from tagscale.runtime.files import TEMPORARY, read_json
from tagscale.runtime.machine import SLEEPING
from tagscale.serving.rows import read_rows

ROOT = Path(__file__).parents[2]
TOKEN = "a token that nobody guesses"
BODY = 1 << 20


class Running(Client):
    """A server that runs."""

    folder: Path
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = empty_store(request.config, tmp_path_factory.mktemp("served"))
    shutil.copy(ROOT / "params.yaml", folder)
    registered(folder, 0, 1)
    (folder / f".tagscale-serve.killed{TEMPORARY}" / "uploads").mkdir(parents=True)  # with songs of an earlier server
    running = Running(free_port(), TOKEN)
    running.folder = folder
    running.process = started(
        folder, running.port, "--beside", "challenger", "--follow", "1", "--at-once", "4", "--recordings", "3",
        "--body", "1", "--minutes", "2", "--timeout", "20", "--shadow", "challenger", "--record", "served",
        "--corrections", "corrections.csv",
        TAGSCALE_TOKENS=TOKEN, TMPDIR=str(folder),
    )  # fmt: skip
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


@pytest.fixture(scope="module")
def audio() -> dict[str, bytes]:
    return {"good.wav": example_wav(2.0), "long.flac": flac(121), "words.mp3": b"words"}


def flac(seconds: int) -> bytes:
    """A tone that takes little room."""
    content, samples = io.BytesIO(), np.tile(np.repeat([2000, -2000], 1600), 5 * seconds)
    soundfile.write(content, samples.astype(np.int16), 16_000, format="FLAC")
    return content.getvalue()


def expected(server: Running, version: str) -> dict[str, float]:
    with in_project(server.folder):
        tagger, _ = load_version(MODEL, version)
    path = server.folder / "good.wav"
    path.write_bytes(example_wav(2.0))
    return tagger.tag(path).scores


def test_a_form_has_a_result_or_a_reason_for_each_file(server: Running, audio: dict[str, bytes]) -> None:
    answer = server.form({name: audio[name] for name in ("words.mp3", "good.wav", "long.flac")})
    assert answer.status == 200
    assert (answer.content["model"], answer.content["version"]) == (MODEL, "1")
    assert answer.headers["x-tagscale-model"] == f"{MODEL}/1"
    words, good, long = answer.content["results"]
    assert [words["name"], good["name"], long["name"]] == ["words.mp3", "good.wav", "long.flac"]
    assert "not audio in a known format" in words["error"]
    assert long["error"] == "longer than 2 minutes"
    assert good["scores"] == pytest.approx(expected(server, "1"), abs=1e-5)
    assert set(good["decisions"]) == set(TAGS[:2])
    for tag, decision in good["decisions"].items():
        assert decision["decided"] == (good["scores"][tag] >= decision["threshold"])
    assert good["facts"]["source_seconds"] == 2.0
    assert set(good) == {"name", "scores", "decisions", "warnings", "facts"}


def test_all_forms_of_a_request_give_the_same(server: Running, audio: dict[str, bytes]) -> None:
    good, scores = audio["good.wav"], expected(server, "1")
    raw = server.ask("/tag?name=a.wav", good, "audio/wav")
    curl = server.ask("/tag", good, "application/x-www-form-urlencoded")  # of --data-binary
    record = server.ask("/tag", {"files": [{"name": "a.wav", "audio": as_text(good)}]})
    wrapped = server.ask("/tag?model=", {"files": [{"audio": base64.encodebytes(good).decode()}]})
    of_browser = server.ask("/tag", {"files": [{"audio": f"data:audio/wav;base64,{as_text(good)}"}]})
    for answer in (raw, curl, record, wrapped, of_browser):
        assert answer.content["results"][0]["scores"] == pytest.approx(scores, abs=1e-5)
    assert raw.content["results"][0]["name"] == record.content["results"][0]["name"] == "a.wav"
    v2 = server.ask(f"/v2/models/{MODEL}/infer", {"id": "7", "inputs": [tensor(good, b"words")]})
    values, errors = (output["data"] for output in v2.content["outputs"])
    assert dict(zip(json.loads(v2.content["parameters"]["tags"]), values, strict=False)) == pytest.approx(
        scores, abs=1e-5
    )
    assert (v2.content["id"], v2.content["outputs"][0]["shape"], errors[0]) == ("7", [2, 3], "")
    assert "not audio" in errors[1]
    for form in (
        {"dataframe_records": [{"audio": as_text(good)}, {"audio": as_text(b"words")}]},
        {"dataframe_split": {"columns": ["audio"], "data": [[as_text(good)], [as_text(b"words")]]}},
        {"inputs": {"audio": [as_text(good), as_text(b"words")]}},
    ):
        answer = server.ask("/invocations", form)
        assert answer.content["predictions"][0] == pytest.approx(scores, abs=1e-5)
        assert set(answer.content["predictions"][1].values()) == {None}
        assert answer.content["errors"][0] is None
        assert "not audio" in answer.content["errors"][1]
    decided = server.ask("/invocations", {"inputs": [as_text(good)], "params": {"output": "decisions"}})
    assert set(decided.content["predictions"][0]) == set(TAGS)
    form = {"inputs": [as_text(good), as_text(b"words")], "params": {"output": "json"}}
    first, second = (json.loads(row["result"]) for row in server.ask("/invocations", form).content["predictions"])
    assert first["scores"] == pytest.approx(scores, abs=1e-5)
    assert first["decisions"].keys() <= set(TAGS)
    assert second.keys() == {"error"}


def tensor(*contents: bytes) -> dict[str, object]:
    return {"name": "audio", "datatype": "BYTES", "shape": [len(contents)], "data": [as_text(one) for one in contents]}


def test_more_than_scores(server: Running, audio: dict[str, bytes]) -> None:
    query = "/tag?taggram=true&embedding=true&spectrogram=true&model=challenger"
    answer = server.ask(query, audio["good.wav"], "audio/wav").content
    assert answer["version"] == "2"
    (result,) = answer["results"]
    assert result["scores"] == pytest.approx(expected(server, "2"), abs=1e-5)
    assert set(result["taggram"]["scores"]) == set(TAGS)
    for tag, windows in result["taggram"]["scores"].items():
        assert len(windows) == len(result["taggram"]["times"]) > 1
        assert np.mean(windows) == pytest.approx(result["scores"][tag], abs=1e-4)
    wait_for(lambda: len(server.ask("/models").content["models"]) == 3)  # the shadow loads when others rest
    lead, beside, shadow = server.ask("/models").content["models"]
    assert [model["role"] for model in (lead, beside, shadow)] == ["lead", "beside", "shadow"]
    assert [model["name"] for model in (lead, beside, shadow)] == ["champion", "challenger", "challenger"]
    assert len(result["embedding"]) == beside["embedding_dims"]
    assert [tag["threshold"] for tag in lead["tags"]] == [0.5, 0.5, None]
    assert result["spectrogram"]["bands"] == 96
    assert server.ask("/tag?model=nobody", audio["good.wav"], "audio/wav").status == 404


def test_a_long_recording_is_scored_in_turns(server: Running) -> None:
    before, content = value(server.ask("/metrics").content, "tagscale_batch_size_count"), flac(60)
    result = server.ask("/tag?taggram=true", content, "audio/flac").content["results"][0]
    turns = value(server.ask("/metrics").content, "tagscale_batch_size_count") - before
    times = result["taggram"]["times"]
    assert (times[0], times[-1], len(times)) == (0.75, 59.25, 118)
    assert turns >= 60 * 1.5 / 0.5 / 48, "windows of 1.5 s each half second, 48 s of them in a turn"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_gets_the_page(server: Running, audio: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "good.wav").write_bytes(audio["good.wav"])
    with browser(tmp_path / "profile") as page:
        page.go(f"http://127.0.0.1:{server.port}/")
        page.wait("!locked.hidden")
        page.click("#token")
        page.write(TOKEN)
        page.press("Enter")
        page.wait("state.models.length === 2")
        page.choose_file("#file", tmp_path / "good.wav")
        page.wait("!view.hidden && audio.duration > 0")
        rows = (
            "[...document.querySelectorAll('#tags tr:has(td)')].map(row => [...row.cells].map(cell => cell.innerText))"
        )
        shown = {tag: float(score.split()[0]) for tag, score, *_ in page.value(rows)}
        assert shown == pytest.approx(expected(server, "1"), abs=0.006)
        assert page.value("document.querySelector('#dataset').hidden"), "it knows none"
        page.click("td button")
        page.write("Ada")
        page.press("Enter")
        page.wait("document.querySelector('#status').textContent.startsWith('Recorded: ')")
    assert (server.folder / "corrections.csv").read_text().splitlines()[1].split(",")[1:4] == ["Ada", "", "good.wav"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "because"),
    [
        (b"words", "audio/mpeg", 422, "not audio in a known format"),
        (b"", "audio/mpeg", 400, "The request is empty"),
        (b"words", "text/plain", 415, "text/plain"),
        (b"{", "application/json", 400, "no JSON"),
        (b"[" * 200_000, "application/json", 400, "no JSON"),
        (b'{"file": 1}', "application/json", 400, "holds no files"),
        (b'{"files": []}', "application/json", 400, "No recordings"),
        (b'{"files": [{"audio": "a"}]}', "application/json", 422, "no base64"),
        (b'{"files": [{"audio": null, "name": "\\ud800"}]}', "application/json", 422, "expected base64, found nothing"),
        (b'{"files": [{}, {}, {}, {}]}', "application/json", 400, "3 at most"),
        (b"--x\r\n", "multipart/form-data; boundary=x", 400, "No recordings"),
        (b"broken", "multipart/form-data", 400, "boundary"),
        (bytes(BODY + 1), "audio/mpeg", 413, "more than 1048576 bytes"),
    ],
)  # fmt: skip
def test_what_is_refused(server: Running, body: bytes, kind: str, status: int, because: str) -> None:
    answer = server.ask("/tag", body, kind)
    assert (answer.status, because in answer.content["error"]) == (status, True), answer.content
    assert answer.headers["x-tagscale-model"] == f"{MODEL}/1"


def test_a_word_that_would_have_no_effect_is_refused_with_the_nearest_known_one(server: Running) -> None:
    audio = example_wav(1.5)
    known = "known: model, beside, name, taggram, embedding, spectrogram."
    asked = {
        f"The query has 'tagram', which means nothing here; {known} Did you mean taggram?": (
            *("/tag?embedding=true&tagram=true", audio, "audio/wav"),
        ),
        f"The query has 'treshold', which means nothing here; {known}": ("/tag?treshold=0.5", audio, "audio/wav"),
        "The JSON has 'taggram', which means nothing here; known: files.": (
            *("/tag", {"files": [{"audio": as_text(audio)}], "taggram": True}),
        ),
        "A file of the JSON has 'nme', which means nothing here; known: name, audio. Did you mean name?": (
            *("/tag", {"files": [{"audio": as_text(audio)}, {"audio": as_text(audio), "nme": "a"}]}),
        ),
    }
    for error, request in asked.items():
        answer = server.ask(*request)
        assert (answer.status, answer.content) == (400, {"error": error})
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n' + audio + b"\r\n--x--\r\n"
    answer = server.ask("/tag", part, "multipart/form-data; boundary=x")
    assert answer.status == 400
    assert answer.content["error"].endswith(
        "The form has 'files', which means nothing here; known: file. Did you mean file?"
    )


def test_other_protocols_refuse_in_the_same_form(server: Running) -> None:
    assert server.ask(f"/v2/models/{MODEL}/infer", {"inputs": []}).status == 400
    assert server.ask("/v2/models/nobody/infer", {"inputs": [tensor(b"a")]}).status == 404
    assert server.ask("/invocations", {"dataframe_records": [{"sound": ""}]}).status == 400
    assert server.ask("/invocations", {"inputs": []}).content == {"error": "No recordings in this request."}
    assert server.ask("/invocations", b"a", "audio/mpeg").status == 415
    assert "error" in server.ask("/nowhere").content
    assert server.ask("/models", {}).status == 405, "LitServe's own routes, which take files by name, are gone"
    assert server.ask("/tag?taggram=perhaps", b"a", "audio/wav").status == 400


def test_health_is_open_and_all_else_needs_a_token(server: Running) -> None:
    stranger, guest = Client(server.port), Client(server.port, "a wrong token")
    for path in (
        "/healthz",
        "/readyz",
        "/ping",
        "/ready",
        "/health",
        "/v2/health/live",
        "/v2/health/ready",
        "/metrics",
    ):
        assert stranger.ask(path).status == 200
    for client in (stranger, guest):
        for path, body in (("/models", None), ("/tag", b"a"), ("/invocations", {}), ("/nowhere", None)):
            answer = client.ask(path, body)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert json.loads(server.ask(f"/v2/models/{MODEL}").content["parameters"]["tags"]) == list(TAGS)
    assert server.ask(f"/v2/models/{MODEL}/versions/1/ready").status == 200
    assert server.ask("/v2").content["name"] == "tagscale"


class Upload:
    """A request that stands still in the middle of its body, and so holds its place."""

    def __init__(self, server: Running, content: bytes) -> None:
        self.rest = content[-10:]
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        head = f"POST /tag HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: audio/wav\r\n"
        self.socket.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content[:-10])

    def end(self) -> bytes:
        """Send the rest. Returns the line of the answer's status."""
        self.socket.sendall(self.rest)
        with self.socket:
            return self.socket.recv(1000).splitlines()[0]


def wait_for(condition: object, seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < ends, "it does not come"
        time.sleep(0.02)


def test_a_full_server_refuses_at_once_and_says_that_it_is_not_ready(server: Running, audio: dict[str, bytes]) -> None:
    uploads = [Upload(server, audio["good.wav"]) for _ in range(4)]
    wait_for(lambda: server.ask("/readyz").status == 429)
    answer = server.ask("/tag", audio["good.wav"], "audio/wav")
    assert (answer.status, answer.headers["retry-after"]) == (429, "5")
    assert server.ask("/healthz").status == 200, "it is alive"
    uploads.pop().socket.close()  # a client that leaves
    wait_for(lambda: server.ask("/readyz").status == 200)
    assert [upload.end() for upload in uploads] == [b"HTTP/1.1 200 OK"] * 3


def test_requests_share_batches_and_a_moved_alias_loses_none(server: Running) -> None:
    content, stop, versions = example_wav(1.5), threading.Event(), list[tuple[str, str]]()

    def ask() -> None:
        while not stop.is_set():
            answer = server.ask("/tag", content, "audio/wav")
            assert answer.status == 200, answer.content
            versions.append((answer.content["version"], answer.headers["x-tagscale-model"]))

    with ThreadPoolExecutor(4) as pool, in_project(server.folder):
        clients = [pool.submit(ask) for _ in range(4)]
        time.sleep(0.5)
        Registry.open(MODEL).set_alias("champion", "2")
        try:
            wait_for(lambda: versions and versions[-1][0] == "2")
            time.sleep(0.3)
        finally:
            stop.set()
        for client in clients:
            client.result(30)
    numbers = [number for number, _ in versions]
    first = numbers.index("2")
    assert numbers[0] == "1"
    assert set(numbers[first + 4 :]) == {"2"}, "each client had one request in work when the version changed"
    assert all(name == f"{MODEL}/{number}" for number, name in versions)
    metrics = server.ask("/metrics").content
    assert f'role="lead",sha256="{server.ask("/models").content["models"][0]["sha256"]}",version="2"' in metrics
    assert value(metrics, "tagscale_batch_size_count") < value(metrics, "tagscale_batch_size_sum")


def value(metrics: str, name: str) -> float:
    return float(next(line for line in metrics.splitlines() if line.startswith(f"{name} ")).split()[1])


def test_hostile_uploads_change_nothing_for_others(server: Running, audio: dict[str, bytes]) -> None:
    scores = expected(server, "2")
    wav, noise = bytearray(audio["good.wav"]), np.random.default_rng(0).bytes(50_000)
    hostile = [
        noise,
        b"RIFF" + noise,
        b"fLaC" + noise,
        b"ID3" + noise,
        b"OggS" + noise,
        bytes(wav[:44]),
        bytes(wav[:3000]),
    ]
    wav[40:44] = b"\xff\xff\xff\xff"
    hostile.append(bytes(wav))
    with ThreadPoolExecutor(4) as pool:
        bad = pool.map(lambda content: server.ask("/tag", content, "audio/wav"), hostile[:3])
        good = server.form({"good.wav": audio["good.wav"], "a": hostile[3], "b": hostile[4]})
        assert {answer.status for answer in bad} == {422}
    assert good.content["results"][0]["scores"] == pytest.approx(scores, abs=1e-5)
    assert all("error" in result for result in good.content["results"][1:])
    for content in hostile[5:]:
        assert server.ask("/tag", content, "audio/wav").status in (200, 422)


def curls() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / "serving.md").read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("curl ")]


@pytest.mark.parametrize("line", curls())
def test_the_requests_of_the_docs(server: Running, tmp_path: Path, line: str) -> None:
    for name in ("song.wav", "other.wav"):
        (tmp_path / name).write_bytes(example_wav(1.5))
    line = line.replace("localhost:8080", f"127.0.0.1:{server.port}")
    line = line.replace("curl ", f"curl --fail-with-body -H 'Authorization: Bearer {TOKEN}' ")
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "error" not in json.loads(done.stdout)


def test_the_threads_of_the_models_sleep_while_they_wait(server: Running) -> None:
    for state in server.folder.glob(".tagscale-serve.*/loaded-*.json"):
        environment = Path(f"/proc/{read_json(state)['process']}/environ").read_text().split("\0")
        assert {f"{name}={os.environ.get(name, value)}" for name, value in SLEEPING.items()} <= set(environment)


@pytest.mark.slow
def test_requests_outlive_the_process_of_the_models(server: Running, audio: dict[str, bytes]) -> None:
    (state,) = server.folder.glob(".tagscale-serve.*/loaded-models.json")
    first = read_json(state)["process"]
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(server.ask, "/tag", audio["good.wav"], "audio/wav") for _ in range(12)]
        os.kill(first, signal.SIGKILL)
        assert {answer.result(60).status for answer in asked} == {200}
    assert read_json(state)["process"] != first
    assert server.ask("/healthz").status == 200


def test_sigterm_lets_requests_end_and_refuses_new_ones(server: Running, audio: dict[str, bytes]) -> None:
    """The last test: it ends the server."""
    wait_for(lambda: "tagscale_shadow_waiting 0.0" in server.ask("/metrics").content)  # it steps back for others
    metrics = server.ask("/metrics").content
    upload = Upload(server, audio["good.wav"])
    wait_for(lambda: "tagscale_requests_in_work 1.0" in server.ask("/metrics").content)
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: server.ask("/readyz").status == 503)
    answer = server.ask("/tag", audio["good.wav"], "audio/wav")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert server.ask("/healthz").status == 200
    assert upload.end() == b"HTTP/1.1 200 OK"
    assert server.process.wait(120) == 0
    assert not list(server.folder.glob(".tagscale-serve.*")), "nothing is left behind"
    lead, shadow = (read_rows(server.folder / "served" / role).files for role in ("lead", "shadow"))
    assert set(shadow["version"]) == {"2"}
    assert set(lead["version"]) == {"1", "2"}
    assert set(shadow["path"]) < set(lead["path"])
    assert len(shadow) >= value(metrics, 'tagscale_shadow_total{outcome="heard"}') > 10
    times = pd.read_parquet(server.folder / "served" / "times")
    assert sorted(times["path"]) == sorted([*lead["path"], *shadow["path"]])
