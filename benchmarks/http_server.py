"""`tagscale serve` beside `mlflow models serve`: times, throughput and memory on the same model, beside hostile uploads
and long ones, too; and what a turn of a long recording takes.

    python benchmarks/http_server.py PROJECT AUDIO --output benchmarks/results/serving.md

PROJECT is a folder with params.yaml and a registry, AUDIO one with audio files. Both servers run all the time; they
are asked in turn, so that whatever else the machine does meets both. In a closed loop each client sends its next
request when it has its answer. In an open loop requests come at random times at a rate (Poisson), whether or not the
server keeps up, and a time counts from when the request was due: a server that falls behind cannot hide it. Each
server gets the rate that is 70 % of the slower one's throughput. What to look for: processor time a song, which the
load of a shared machine moves least; the other numbers only on a machine of its own.
"""

import argparse
import asyncio
import base64
import datetime
import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import psutil
import soundfile
import torch
from machine import processor
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import tagscale
from fuzz.audio import changed, originals
from tagscale import SAMPLE_RATE
from tagscale.decoding.audio import decode_audio
from tagscale.decoding.decode import Decoded
from tagscale.decoding.formats import SUFFIXES
from tagscale.evaluation.predict import BATCH_SECONDS
from tagscale.params.load import registered_model

CLIENTS, SECONDS = (1, 8), 6.0
SHARE = 0.7  # of the slower server's throughput, in the open loop
START_SECONDS = 600  # of a busy machine
HOSTILE = 40  # files
GOOD = 4  # clients beside a hostile one, or one with a long recording
LONG_SECONDS = 19 * 60  # the server takes 20 minutes by default


@dataclass
class Server:
    """A server that runs. body: the request of a file: path, type, content."""

    name: str
    command: list[str]
    port: int
    health: str
    body: Callable[[bytes], tuple[str, str, bytes]]
    process: subprocess.Popen[bytes] | None = None

    def start(self, project: Path) -> float:
        """Seconds until it answers."""
        begin = time.monotonic()
        self.process = subprocess.Popen(self.command, cwd=project, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while True:
            try:
                if urlopen(f"http://127.0.0.1:{self.port}{self.health}", timeout=5).status == 200:
                    return time.monotonic() - begin
            except OSError:
                if self.process.poll() is not None or time.monotonic() - begin > START_SECONDS:
                    raise SystemExit(f"{self.name} does not start: {' '.join(self.command)}") from None
                time.sleep(0.2)

    @property
    def memory(self) -> float:
        """MB of its processes; what several share is divided among them."""
        assert self.process
        top = psutil.Process(self.process.pid)
        return sum(one.memory_full_info().pss for one in [top, *top.children(recursive=True)]) / 1e6

    @property
    def cpu(self) -> float:
        """Seconds of processor time that its processes have used."""
        assert self.process
        top = psutil.Process(self.process.pid)
        return sum(sum(one.cpu_times()[:2]) for one in [top, *top.children(recursive=True)])

    def stop(self) -> None:
        if self.process:
            children = psutil.Process(self.process.pid).children(recursive=True)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
            for child in children:
                if child.is_running():
                    child.kill()


def mlflow_body(content: bytes) -> tuple[str, str, bytes]:
    record = {"dataframe_records": [{"audio": base64.b64encode(content).decode()}]}
    return "/invocations", "application/json", json.dumps(record).encode()


def tagscale_body(content: bytes) -> tuple[str, str, bytes]:
    return "/tag", "application/octet-stream", content


@dataclass
class Stage:
    """What a server did in one stage. times: of answers, in seconds; cpu: processor time of all its processes."""

    times: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0

    def quantile(self, q: float) -> float:
        return float(np.quantile(self.times, q)) if self.times else float("nan")

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds if self.seconds else float("nan")

    def __add__(self, other: "Stage") -> "Stage":
        seconds, cpu = self.seconds + other.seconds, self.cpu + other.cpu
        return Stage(self.times + other.times, self.statuses + other.statuses, seconds, cpu)

    @property
    def cost(self) -> float:
        """Processor time of an answer."""
        return self.cpu / len(self.times) if self.times else float("nan")


async def post(server: Server, content: bytes) -> int:
    """The status of an answer, on a connection of its own."""
    path, kind, body = server.body(content)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: {kind}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        line = await reader.readline()
        await reader.read()
        return int(line.split()[1]) if line else 0
    except OSError:
        return 0
    finally:
        writer.close()


async def closed(
    server: Server, contents: Sequence[bytes], clients: int, seconds: float, others: Sequence[bytes] = ()
) -> Stage:
    """Clients that each send their next request when they have an answer; one more sends other files."""
    stage, begin, cpu = Stage(), time.monotonic(), server.cpu

    async def client(own: Sequence[bytes], keep: bool) -> None:
        for content in itertools.cycle(own):
            asked = time.monotonic()
            if asked - begin > seconds:
                return
            status = await post(server, content)
            if keep:
                stage.times.append(time.monotonic() - asked)
                stage.statuses.append(status)

    shares = [contents[place::clients] for place in range(clients)]
    await asyncio.gather(*(client(own, True) for own in shares), *([client(others, False)] if others else []))
    stage.seconds, stage.cpu = time.monotonic() - begin, server.cpu - cpu
    return stage


async def opened(server: Server, contents: Sequence[bytes], rate: float, seconds: float) -> Stage:
    """Requests at random times; each counts from when it was due."""
    stage, begin, due, draws, tasks = Stage(), time.monotonic(), 0.0, random.Random(0), list[Awaitable[None]]()
    cpu = server.cpu

    async def one(content: bytes, at: float) -> None:
        status = await post(server, content)
        stage.times.append(time.monotonic() - at)
        stage.statuses.append(status)

    for content in itertools.cycle(contents):
        due += draws.expovariate(rate)
        if due > seconds:
            break
        await asyncio.sleep(max(0.0, begin + due - time.monotonic()))
        tasks.append(asyncio.ensure_future(one(content, begin + due)))
    await asyncio.gather(*tasks)
    stage.seconds, stage.cpu = time.monotonic() - begin, server.cpu - cpu
    return stage


def row(what: str, one: Stage, other: Stage) -> str:
    """A line of the table: both servers, and how many times as fast the second is."""
    cells = [what]
    for stage in (one, other):
        bad = len(stage.statuses) - stage.statuses.count(200)
        cells += [f"{value:.2f}" for value in (stage.cost, stage.rate, stage.quantile(0.5), stage.quantile(0.99))]
        cells.append(f"{len(stage.times)}")
        cells[-1] += f", {bad} failed" if bad else ""
    cells += [f"{value:.2f}" for value in (one.cost / other.cost, other.rate / one.rate)]
    return f"| {' | '.join(cells)} |"


def measure(
    servers: Sequence[Server], contents: Sequence[bytes], hostile: Sequence[bytes], seconds: float, rounds: int
) -> list[str]:
    """The lines of the table."""
    lines = [
        "| | mlflow: CPU s a song | songs/s | p50, s | p99, s | answers "
        "| tagscale: CPU s a song | songs/s | p50, s | p99, s | answers | CPU, ratio | songs/s, ratio |",
        "|---|" + "---|" * 12,
    ]
    for server in servers:
        asyncio.run(closed(server, contents, 2, 1.0))  # warm
    slowest = float("inf")
    for clients in CLIENTS:
        stages = [Stage(), Stage()]
        for _ in range(rounds):
            for place, server in enumerate(servers):
                stages[place] += asyncio.run(closed(server, contents, clients, seconds))
        lines.append(row(f"closed, {clients} client{'s' * (clients > 1)}", *stages))
        slowest = min(slowest, *(stage.rate for stage in stages))
    rate = SHARE * slowest
    stages = [asyncio.run(opened(server, contents, rate, 2 * seconds)) for server in servers]
    lines.append(row(f"open, {rate:.2f} a second", *stages))
    alone = [asyncio.run(closed(server, contents, GOOD, seconds)) for server in servers]
    lines.append(row(f"closed, {GOOD} clients", *alone))
    for what, others in (("a hostile one", hostile), ("one with 19 minutes", [long_recording(contents)])):
        beside = [asyncio.run(closed(server, contents, GOOD, seconds, others)) for server in servers]
        lines.append(row(f"closed, {GOOD} clients, {what} beside", *beside))
    return lines


def long_recording(contents: Sequence[bytes]) -> bytes:
    """The files one after the other, again and again, in FLAC."""
    samples = np.concatenate([decode_audio(content).samples for content in contents])
    file = io.BytesIO()
    soundfile.write(file, np.resize(samples, LONG_SECONDS * SAMPLE_RATE), SAMPLE_RATE, format="FLAC")
    return file.getvalue()


def turns(name: str, recording: Decoded) -> str:
    """A line of the table of turns, in which a server hears a long recording with its course in time; on one thread."""
    torch.set_num_threads(1)
    threadpool_limits(1)
    work = tagscale.load(name).audio.listen(recording, False, True, BATCH_SECONDS)
    seconds, begin = list[float](), time.process_time()
    for _ in work:
        seconds.append(time.process_time() - begin)
        begin = time.process_time()
    return f"| {name} | {len(seconds)} | {max(seconds):.2f} | {sum(seconds):.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("audio", type=Path)
    parser.add_argument("--version", default="1")
    parser.add_argument("--also", nargs="*", default=["msd-musicnn"], help="whose turns are measured, too")
    parser.add_argument("--songs", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each stage")
    parser.add_argument("--rounds", type=int, default=2, help="of the closed loops, in turn")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.audio.rglob("*") if path.suffix in SUFFIXES)[: arguments.songs]
    contents = [path.read_bytes() for path in files]
    with tempfile.TemporaryDirectory() as folder:
        wholes = originals(Path(folder))
        hostile = [changed(wholes, number).content for number in range(HOSTILE)]
    name, programs = registered_model(arguments.project / "params.yaml"), Path(sys.executable).parent
    of_mlflow = [
        programs / "mlflow",
        "models",
        "serve",
        "-m",
        f"models:/{name}/{arguments.version}",
        "--env-manager",
        "local",
    ]
    of_tagscale = [programs / "tagscale", "serve", "--version", arguments.version, "--follow", "0"]
    servers = [
        Server("mlflow", [*map(str, of_mlflow), "--port", "5601"], 5601, "/ping", mlflow_body),
        Server("tagscale", [*map(str, of_tagscale), "--port", "5602"], 5602, "/readyz", tagscale_body),
    ]
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{(arguments.project / 'mlflow.db').resolve()}"
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    began = time.monotonic()
    try:
        starts = [server.start(arguments.project) for server in servers]
        idle = [server.memory for server in servers]
        lines = measure(servers, contents, hostile, arguments.seconds, arguments.rounds)
        busy = [server.memory for server in servers]
    finally:
        for server in servers:
            server.stop()
    lines += ["", "| | mlflow | tagscale |", "|---|---|---|"]
    for what, values in (("s until it is ready", starts), ("MB before a request", idle), ("MB at the end", busy)):
        lines.append(f"| {what} | {' | '.join(f'{value:.0f}' for value in values)} |")
    lines += ["", "| 19 minutes, with scores over time | turns | longest, CPU s | all, CPU s |", "|---|---|---|---|"]
    recording = decode_audio(long_recording(contents))
    lines += [turns(one, recording) for one in (f"{name}/{arguments.version}", *arguments.also)]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    head = f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores that others used as well (load {load})"
    head += f", {len(contents)} songs, {time.monotonic() - began:.0f} s. "
    head += f"`python benchmarks/http_server.py PROJECT AUDIO {' '.join(sys.argv[3:])}`"
    report = "\n".join([head, "", *lines, ""])
    print(report)
    if arguments.output:
        arguments.output.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
