"""A server of `tagscale serve` as a process, and what its clients say to it."""

import base64
import http.client
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry.tiny import tiny_tagger
from tagscale import tracking
from tagscale.evaluation.decisions import Decisions, Sigmoid, TagDecision
from tagscale.registry.package import register
from tagscale.registry.versions import Registry
from tagscale.runtime.identity import RunIdentity
from tagscale.serving.server.guard import Limits

MODEL = "tagscale-tagger"
LIMITS = Limits(at_once=16, body_bytes=1 << 20, recordings=8, audio_seconds=1200.0, seconds=300)
TAGS = ("rock", "Señal 音楽", "energy")


@dataclass
class Answered:
    status: int
    headers: Mapping[str, str]
    content: Any


@dataclass
class Client:
    port: int
    token: str = ""

    def ask(
        self, path: str, body: Any = None, kind: str = "application/json", method: str = "", **more: str
    ) -> Answered:
        """An answer, whose JSON is strict: no NaN."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {} if body is None else {"Content-Type": kind}
        headers |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        body = json.dumps(body) if isinstance(body, dict) else body
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        content = json.loads(text, parse_constant=lambda word: 1 / 0) if text[:1] == "{" else text
        return Answered(answer.status, {key.lower(): value for key, value in answer.headers.items()}, content)

    def form(self, files: Mapping[str, bytes], query: str = "") -> Answered:
        """Upload files as a browser does."""
        mark = uuid.uuid4().hex
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
            + content
            + b"\r\n"
            for name, content in files.items()
        ]
        return self.ask(
            f"/tag{query}", b"".join(parts) + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"
        )


def as_text(content: bytes) -> str:
    return base64.b64encode(content).decode()


@contextmanager
def in_project(folder: Path) -> Iterator[None]:
    """Be in a project's folder, with its own registry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        yield


def registered(folder: Path, *seeds: int) -> None:
    """Register a tiny tagger for each seed; the first one is champion, the last challenger."""
    one = TagDecision(calibration=Sigmoid(slope=1.0, offset=0.0), threshold=0.5, tracks=10, positives=5)
    with in_project(folder):
        registry = Registry.open_or_create(MODEL, "for tests")
        for seed in seeds:
            tagger = tiny_tagger(tags=TAGS, seed=seed)
            tagger.decisions = Decisions(tags=dict.fromkeys(TAGS[:2], one))
            identity = RunIdentity("spectrogram", "all", seed, "tiny", "dddddddddddd", "pppppppppppp", "ssssssssssss")
            with tracking.find_run("study", identity) as run:
                number = register(registry, run, tagger, identity.name, {}, "a description")
            if seed == seeds[0]:
                registry.set_alias("champion", number)
            registry.set_alias("challenger", number)


def started(folder: Path, port: int, *words: str, **environment: str) -> subprocess.Popen[bytes]:
    """A server in a folder, which becomes ready."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    command = [sys.executable, "-c", "import sys; from tagscale.cli import main; main(sys.argv[1:])"]
    command += ["serve", "--port", str(port), *words]
    process = subprocess.Popen(command, cwd=folder, env=known | environment, start_new_session=True)
    ends, client = time.monotonic() + 120, Client(port)
    while True:
        assert process.poll() is None, "the server ends"
        assert time.monotonic() < ends, "the server is not ready in time"
        try:
            if client.ask("/readyz").status == 200:
                return process
        except OSError:
            pass
        time.sleep(0.1)
