"""The film of the README: its commands, one after another, print what it shows.

Numbers that a machine decides (times, sizes, hashes) are left out. The scores of the published tagger are compared; the
champion is another one here, so of its tables only the shape is.
"""

import errno
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tagscale.training.encoders import PLACE, pretrained_folder

ROOT = Path(__file__).parents[1]
ENCODER = pretrained_folder().absolute()
PORT = "8080"
SCORE = r"\b[01]\.\d+\b"
CLOSE = 0.02  # scores of another processor
CUT = "..."  # in place of lines that the film leaves out
PATIENCE = 120.0  # seconds for a server to start

Scene = tuple[str, list[str]]  # a command, and the lines that it prints


def scenes() -> list[list[Scene]]:
    """The film's blocks."""
    film = (ROOT / "README.md").read_text().partition("\n## A film\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```console\n(.*?)^```", film, re.MULTILINE | re.DOTALL)
    assert blocks
    parts = [re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE) for block in blocks]
    return [[(command, lines.splitlines()) for command, lines in part] for part in parts]


def shape(line: str) -> str:
    """A line without its numbers and bars; a row of a table, of which the numbers are the point, is but a row."""
    if re.match(r"  \S.*\d", line):
        return "row"
    return " ".join(re.sub(r"[\d.,]+|[━─●█▏▎▍▌▋▊▉]", "", line).split())


def check(shown: list[str], said: str, exact: bool) -> None:
    """Compare the lines of the film with what a command said."""
    lines = [line.rstrip() for line in said.splitlines() if line.strip()]
    for number, line in enumerate(line.rstrip() for line in shown if line.strip()):
        if line.strip() == CUT:
            return
        assert number < len(lines), f"not said: {line}"
        assert shape(lines[number]) == shape(line), f"{said}\nshown: {line}"
        if exact and shape(line) == "row":
            assert re.sub(r"[\d.]+|\W", "", lines[number]) == re.sub(r"[\d.]+|\W", "", line)
            pairs = zip(re.findall(SCORE, lines[number]), re.findall(SCORE, line), strict=True)
            assert all(abs(float(one) - float(other)) <= CLOSE for one, other in pairs), lines[number]
    assert len(lines) == len([line for line in shown if line.strip()]), said


@contextmanager
def in_background(command: str, shown: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """A server, until the film ends; the block begins when it has said what the film shows."""
    log = folder / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=folder, env=environment, stdout=out, stderr=out, text=True
        )
    try:
        end = time.monotonic() + PATIENCE
        while len(log.read_text().splitlines()) < len(shown):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        check(shown, log.read_text(), exact=True)
        address = re.search(r"http://[\w.:]+", log.read_text())
        while address and not _is_ready(f"{address[0]}/readyz"):
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(address: str) -> bool:
    try:
        return bool(urlopen(address, timeout=5).status == 200)
    except OSError:
        return False


def play(part: list[Scene], folder: Path, environment: dict[str, str], exact: bool) -> None:
    for number, (command, shown) in enumerate(part):
        if command.endswith("&"):
            with in_background(command.removesuffix("&"), shown, folder, environment):
                play(part[number + 1 :], folder, environment, exact)
            return
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode in (0, errno.EPIPE, 141), f"{command}\n{done.stdout}"  # `head` ends what prints more
        check(shown, done.stdout, exact)


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


@pytest.fixture
def environment(programs: Path, tmp_path: Path) -> dict[str, str]:
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "COLUMNS": "100", PLACE: str(ENCODER)}


@pytest.mark.slow
@pytest.mark.skipif(not (ENCODER / "msd_musicnn").is_dir(), reason="`tagscale fetch-encoders` has not run here")
def test_the_part_before_anything_is_trained(environment: dict[str, str], tmp_path: Path) -> None:
    write_songs(tmp_path / "songs")
    port = free_port()
    part = [
        (command.replace(f":{PORT}", f":{port}").replace("serve ", f"serve --port {port} "), shown)
        for command, shown in scenes()[0]
    ]
    environment.pop("MLFLOW_TRACKING_URI", None)
    play(part, tmp_path, environment, exact=True)


@pytest.mark.slow
def test_the_part_of_a_study(tiny_study: Any, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(tiny_study.folder / "data")
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{tiny_study.folder / 'mlflow.db'}"
    play(scenes()[1], tmp_path, environment, exact=False)


def write_songs(folder: Path) -> None:
    """The first three tracks of the default corpus."""
    import soundfile

    from tagscale import SAMPLE_RATE
    from tagscale.params.load import load
    from tagscale.synth.corpus import soundfont_of
    from tagscale.synth.track import make_track

    settings = load(ROOT / "params.yaml").synth
    folder.mkdir()
    for number in range(3):
        track = make_track(number, settings.seed, settings.artists, settings.seconds, soundfont_of(settings))
        soundfile.write(folder / f"track_{number + 1:05}.flac", track.samples, SAMPLE_RATE, subtype="PCM_16")
