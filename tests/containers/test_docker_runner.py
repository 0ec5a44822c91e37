"""pipelines/docker_runner.py on a real engine: every failure is reported, and no container is left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl, local
from pipelines.docker_runner import LABEL, docker_runner

from containers.engine import Engine
from tagscale.runtime.errors import TagscaleError

ROOT = Path(__file__).parents[2]
REPETITIONS = 20


def shell(image: str, script: str) -> Callable[..., Any]:
    """A component that runs a script, without Python."""

    @dsl.container_component
    def task() -> dsl.ContainerSpec:
        return dsl.ContainerSpec(image=image, command=["sh", "-c", script])

    return task


def ours(engine: Engine) -> list[Any]:
    return engine.client.containers.list(all=True, filters={"label": LABEL})


def test_every_failure_is_seen(engine: Engine, image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails = shell(image, "exit 3")
    seen = 0
    with docker_runner() as runner:
        for _ in range(REPETITIONS):
            local.init(runner, str(tmp_path))
            with pytest.raises(RuntimeError, match="FAILURE"):
                fails()
            seen += 1
    assert seen == REPETITIONS
    assert capsys.readouterr().out.count("exit code 3") == REPETITIONS
    assert ours(engine) == []


def test_a_task_reads_and_writes_as_the_user(
    engine: Engine, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @dsl.component(base_image=image, install_kfp_package=False)
    def task(made: dsl.Output[dsl.Dataset]) -> str:
        import os
        from pathlib import Path

        print("süß", end="")
        Path(made.path).write_text(Path("/given/song").read_text() + os.environ["TOLD"])
        for forbidden in ("/given/song", "/app/song"):
            try:
                Path(forbidden).write_text("")
            except OSError:
                continue
            raise RuntimeError(f"{forbidden} was written")
        return f"{os.getuid()}:{os.getgid()}"

    (given := tmp_path / "given").mkdir()
    (given / "song").write_text("la ")
    with docker_runner({given: "/given:ro"}, {"TOLD": "la"}) as runner:
        local.init(runner, str(tmp_path / "artifacts"))
        done = task()
    assert done.outputs["Output"] == f"{os.getuid()}:{os.getgid()}"
    made = Path(done.outputs["made"].path)
    assert made.read_text() == "la la"
    assert (made.stat().st_uid, made.parent.stat().st_uid) == (os.getuid(), os.getuid())
    assert "süß" in capsys.readouterr().out


def test_the_error_names_a_missing_image(engine: Engine, tmp_path: Path) -> None:
    with docker_runner() as runner:
        local.init(runner, str(tmp_path))
        with pytest.raises(TagscaleError, match=r"nowhere/tagscale:v1: .* no such image\. `make image` builds"):
            shell("nowhere/tagscale:v1", "true")()


def test_a_task_may_be_silent_for_longer_than_the_clients_timeout(
    engine: Engine, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docker.client.DEFAULT_TIMEOUT_SECONDS", 1)
    with docker_runner() as runner:
        local.init(runner, str(tmp_path))
        shell(image, "sleep 4")()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_container(
    engine: Engine, image: str, tmp_path: Path, number: signal.Signals
) -> None:
    """In a loop, where kfp waits for a thread of each task, and more items follow."""
    (tmp_path / "interrupted.py").write_text(LOOP)
    process = subprocess.Popen(
        [sys.executable, "-u", "interrupted.py", image],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        stdout=(said := tmp_path / "said").open("w"),
        stderr=subprocess.STDOUT,
        # A background process ignores Ctrl-C by default; this one must not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        for _ in range(300):
            if "begun" in said.read_text():
                break
            time.sleep(0.1)
        assert len(ours(engine)) >= 1
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    finally:
        process.kill()
    assert ours(engine) == []
    assert "Traceback" not in said.read_text()


LOOP = """
import sys
from kfp import dsl, local
from pipelines.docker_runner import docker_runner

@dsl.container_component
def sleeps(item: str):
    return dsl.ContainerSpec(image=sys.argv[1], command=["sh", "-c", "echo begun; sleep 60", item])

@dsl.pipeline
def loop():
    with dsl.ParallelFor(["a", "b", "c"], parallelism=1) as item:
        sleeps(item=item)

with docker_runner() as runner:
    local.init(runner, "artifacts", workspace_root="artifacts")
    loop()
"""
