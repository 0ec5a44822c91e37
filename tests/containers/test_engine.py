"""An engine of one's own leaves nothing behind, and says what it lacks."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from containers import engine
from tagscale.runtime.errors import TagscaleError

ROOT = Path(__file__).parents[2]
ENGINE = """
import io, sys, tarfile, time
from containers.engine import running
with running(free_gb=1) as engine:
    assert engine.own
    tarfile.open(fileobj=(empty := io.BytesIO()), mode="w").close()
    engine.client.api.import_image_from_data(empty.getvalue(), "nothing", "v1")
    engine.client.containers.create("nothing:v1", ["true"])
    network = engine.client.networks.create("between").id[:12] if "with-network" in sys.argv else "none"
    print(engine.address.removeprefix("unix://"), network, flush=True)
    time.sleep(100)
"""


can_start = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("dockerd"), reason="cannot start an engine here")


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")


@contextmanager
def another(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Path, Path, Path]]:
    """A process that runs an engine; the process, the engine's folder, its process and its bridge."""
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests")))},
        # A process that is started in the background ignores Ctrl-C; this one is to hear it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout
        socket, network = process.stdout.readline().split()
        folder = Path(socket).parent
        yield process, folder, Path("/proc") / (folder / "pid").read_text(), Path(f"/sys/class/net/br-{network}")


@can_start
def test_interrupted_it_is_gone(nowhere: None) -> None:
    with another("with-network") as (process, folder, daemon, bridge):
        assert bridge.exists()
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert not daemon.exists()
    assert not folder.exists()
    assert not bridge.exists()


@can_start
def test_killed_its_engine_ends_too(nowhere: None) -> None:
    with another() as (process, folder, daemon, _):
        process.kill()
    ends = time.monotonic() + 30
    while daemon.exists() and time.monotonic() < ends:
        time.sleep(0.1)
    assert not daemon.exists()
    engine.remove_folder(folder)


def test_what_is_missing_is_said(nowhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(about: str, free_gb: float = engine.FREE_GB) -> None:
        with pytest.raises(TagscaleError, match=about), engine.running(free_gb):
            pass

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    told("needs root. Start docker, or set DOCKER_HOST")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    told(r"no program dockerd\. .*install\.sh")
    monkeypatch.setattr(shutil, "which", lambda name: name)
    told(r"GB free, 1000000000 are needed\. Free some or set TMPDIR", free_gb=10**9)
