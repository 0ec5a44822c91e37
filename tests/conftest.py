"""One tiny study for all tests that need finished stages: real audio, real training, a real SQLite store."""

import gc
import inspect
import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import warm
from recorder import Recorder

ROOT = Path(__file__).parents[1]
LONGEST = "test_orchestrators.py"

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ["XDG_DATA_HOME"] = "/nonexistent"  # encoders of whoever runs the tests


@dataclass
class Study:
    folder: Path  # working directory with data/, runs/, results/, reports/, registration/ and mlflow.db
    keys_read: dict[str, set[str]]  # DVC stage -> settings that it read


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all worker processes of pytest share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def tiny_study(request: pytest.FixtureRequest, session_folder: Path) -> Study:
    """Every stage through the command line's own functions, on the settings of tests/tiny.yaml; nobody changes it.

    All worker processes of pytest share one: the first makes it, the others wait.
    """
    from registry.tiny import empty_store
    from tagscale.runtime.lock import in_turn

    folder = session_folder / "tiny-study"
    keys_read = folder / "keys_read.json"
    with in_turn(folder.with_suffix(".lock")):
        if not keys_read.exists():
            folder.mkdir()
            empty_store(request.config, folder)
            seen = run_every_stage(folder)
            keys_read.write_text(json.dumps({stage: sorted(keys) for stage, keys in seen.items()}))
    return Study(folder, {stage: set(keys) for stage, keys in json.loads(keys_read.read_text()).items()})


def run_every_stage(folder: Path) -> dict[str, set[str]]:
    """Run every stage in a folder. Returns the settings that each DVC stage read."""
    from encoders import write_encoder
    from tagscale.cli import stages
    from tagscale.params.load import load
    from tagscale.training.encoders import PLACE

    keys_read: dict[str, set[str]] = {}
    params = load(ROOT / "params.yaml", ROOT / "tests" / "tiny.yaml")
    params = params.model_copy(update={"train": params.train.model_copy(update={"probes": ["probe"]})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PLACE, str(write_encoder(folder / "pretrained", "msd_musicnn").parent))
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)

        for stage, command, options in stages.in_order(params):
            named = stage in ("encode", "train", "train_probe")  # dvc.yaml names the settings of their model
            seen = keys_read.setdefault(f"{stage}@{options['model']}" if named else stage, set())
            for reader in ("read", "read_for_training"):
                patch.setattr(stages, reader, lambda _, seen=seen: Recorder(params, "", seen))
            command(**options)
    return keys_read


@pytest.fixture(scope="session")
def programs() -> Iterator[Path]:
    """A folder for PATH with programs of tagscale, DVC and kfp that begin at once, see tests/warm."""
    with warm.serving() as programs:
        yield programs


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Workers are forked from a process that has everything imported, as those programs are."""
    stack = ExitStack()
    config.add_cleanup(stack.close)
    programs = stack.enter_context(warm.serving())
    for spec in specs:
        spec.python = str(programs / "python3")


@pytest.fixture(autouse=True, scope="session")
def stack_of_names() -> Iterator[None]:
    """kfp asks for the call stack at every setting of a task: without source lines, pytest's deep stack costs little.

    Of each frame the file is looked for, and for one without a file (runpy's, execnet's) in every module there is: a
    pipeline is compiled in 0.05 s instead of 0.5 s.
    """

    def stack(context: int = 1) -> list[inspect.FrameInfo]:
        frame, frames = sys._getframe(1), []
        while frame:
            code = frame.f_code
            frames.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
            frame = frame.f_back  # type: ignore[assignment]
        return frames

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", stack)
        yield


@pytest.fixture(autouse=True, scope="session")
def sqlite_without_waiting() -> Iterator[None]:
    """SQLite in the tests' own processes leaves it to the system when the disk has a commit, of which one takes 4 ms.

    A process that is killed loses nothing by that; only a machine that loses power would.
    """
    from sqlalchemy import Engine, event

    def leave_it(connection: Any, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF").close()

    event.listen(Engine, "connect", leave_it)
    yield
    event.remove(Engine, "connect", leave_it)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """No garbage is looked for while modules are imported, nor in them later: collection takes half the time.

    In tests it is looked for after 100,000 new objects, not 700 as by default: that takes a tenth of the time.
    """
    gc.disable()
    yield
    gc.freeze()
    gc.set_threshold(100_000, 10, 10)
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, then those with slow tests, so that no worker process is alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.name != LONGEST, item.path not in slow))
