"""A finished project, small enough to be copied for every case, and the commands that run in it."""

import contextlib
import gc
import hashlib
import io
import json
import multiprocessing
import os
import pkgutil
import re
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

import tagscale
from tagscale import cli
from tagscale.params.load import laid_over, read_yaml
from tagscale.runtime import processes
from user_folder import write_audio, write_table

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {
    "dataset": {"name": "fuzz", "source": "folder", "root": "music"},
    "preprocess": {"shard_megabytes": 1},
    "validation": {"min_seconds": 0.5, "min_positives": 2},
    "model": {"spectrogram": {"width": 0.0625}, "backend": {"filters": 8, "units": 8}},
    "train": {
        "models": ["spectrogram"], "sizes": ["all"], "seeds": [0], "patch_seconds": 1.0, "patches_per_track": 1,
        "batch": 8, "max_steps": "2 epochs",
    },
    "baseline": {"trees": 3, "leaves": 4},
    "evaluate": {"hop_seconds": 1.0, "resamples": 20},
    "tracking": {"experiment": "fuzz"},
}  # fmt: skip
NETWORK, TREES = "spectrogram-all-0", "descriptors-all-0"
IMPORTED_LATE = (
    "great_expectations", "matplotlib.pyplot", "mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store", "safetensors",
    "mlflow.store.model_registry.sqlalchemy_store", "xgboost", "pyarrow.parquet", "soundfile", "soxr", "av",
)  # fmt: skip
CELL = ("--size", "all", "--model")


@dataclass(frozen=True)
class Stage:
    """A stage as dvc.yaml has it: its command, what it writes, and whether DVC keeps that before the stage runs."""

    arguments: tuple[str, ...]
    outputs: tuple[str, ...]
    kept: bool = False


STAGES = {
    "catalog": Stage(("catalog",), ("data/catalog",)),
    "preprocess": Stage(("preprocess", "--workers", "1"), ("data/store",), kept=True),
    "validate": Stage(("validate",), ("data/validation",)),
    "partition": Stage(("partition",), ("data/partition",), kept=True),
    "describe": Stage(("describe", "--workers", "1"), ("data/descriptors",), kept=True),
    f"train@{NETWORK}": Stage(("train", *CELL, "spectrogram"), (f"runs/{NETWORK}",)),
    f"train_baseline@{TREES}": Stage(("train", *CELL, "descriptors"), (f"runs/{TREES}",)),
    f"evaluate@{NETWORK}": Stage(("evaluate", *CELL, "spectrogram"), (f"results/{NETWORK}",)),
    f"evaluate_baseline@{TREES}": Stage(("evaluate", *CELL, "descriptors"), (f"results/{TREES}",)),
    "ensemble": Stage(("ensemble",), ("ensembles",)),
    "compare": Stage(("compare",), ("reports",)),
    "register": Stage(("register",), ("registration",)),
}
VOLATILE = {"seconds", "finished", "run_id", "version", "when", "time", "epoch_seconds", "data_seconds", "commit"}
SEALS = {"sha256", "files"}  # digests of files that are compared themselves, times left out
TIMES = re.compile(
    r"[\d.]+ (s|min|h)\b +\d*"
)  # a training's duration and its patches a second, as `results` prints them
UNLIKE = (".png", ".svg", ".html", ".db", ".lock", ".jsonl")  # not compared: times and pictures
READ_ONLY = ("music", "mlartifacts")  # no stage changes a file there, so copies share them
APART = ("timings", "mlartifacts", "mlruns", "mlflow.db", "music")  # what no stage's result is


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit status, what it printed, and its message where it is an error."""

    code: int
    output: str
    message: str


def make(folder: Path) -> None:
    """Run every stage in a new folder, from audio files of one's own to a registered version."""
    rows = [
        {
            "track_id": f"song{i:02}",
            "path": f"audio/song{i:02}.wav",
            "artist": f"artist {i // 2}",
            "seconds": "1.0",
            "rock": str(i % 2),
            "energy": f"{i / 24:.3f}",
        }
        for i in range(24)
    ]
    write_table(folder / "music", rows)
    write_audio(folder / "music", rows)
    settings = laid_over(read_yaml(ROOT / "params.yaml"), SETTINGS)
    (folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    with working_in(folder):
        for name, stage in STAGES.items():
            ended = command(*stage.arguments)
            assert ended.code == 0, f"{name}: {ended.message or ended.output}"


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """The folder as the current one, in which worker processes are forked: a fresh interpreter takes a second."""
    before, spawn = Path.cwd(), processes.get_context
    os.chdir(folder)
    processes.get_context = lambda _: multiprocessing.get_context("fork")
    try:
        yield
    finally:
        processes.get_context = spawn
        os.chdir(before)


def command(*arguments: str) -> Ended:
    """`tagscale ARGUMENTS` in this process and folder. Raises what would be a traceback for the user."""
    output, errors = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            cli.main(list(arguments))
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return Ended(code, TIMES.sub("", output.getvalue()), errors.getvalue().strip())


def copied(project: Path, folder: Path) -> None:
    """Copy a project; MLflow's artifacts are then those of the copy."""
    for path in project.rglob("*"):
        target = folder / path.relative_to(project)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif target.relative_to(folder).parts[0] in READ_ONLY:
            os.link(path, target)
        else:
            shutil.copyfile(path, target)
    database = folder / "mlflow.db"
    if database.is_file():
        with contextlib.closing(sqlite3.connect(database)) as store, store:
            for table, column in _addresses(store):
                change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
                store.execute(change, (str(project), str(folder)))


def _addresses(store: sqlite3.Connection) -> list[tuple[str, str]]:
    """Tables and columns of MLflow's store that hold a place on disk."""
    tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    names = ("artifact_location", "artifact_uri", "source", "storage_location")
    return [
        (table, row[1]) for table in tables for row in store.execute(f"PRAGMA table_info({table})") if row[1] in names
    ]


def result(folder: Path, outputs: tuple[str, ...]) -> dict[str, str]:
    """Digest of every file of a stage's outputs, without times; a missing output has none."""
    digests = {}
    for output in outputs:
        for path in sorted((folder / output).rglob("*")):
            if path.is_file() and path.suffix not in UNLIKE:
                digests[path.relative_to(folder).as_posix()] = _digest(path)
    return digests


def _digest(path: Path) -> str:
    content = path.read_bytes()
    with contextlib.suppress(ValueError, RecursionError):
        if path.suffix == ".json":
            content = json.dumps(_lasting(json.loads(content)), sort_keys=True).encode()
        elif path.name.startswith("history") and path.suffix == ".csv":
            content = b"\n".join(b",".join(line.split(b",")[:3]) for line in content.splitlines())  # the rest are times
    return hashlib.sha256(content).hexdigest()[:16]


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lasting(item) for key, item in value.items() if key not in VOLATILE | SEALS}
    return [_lasting(item) for item in value] if isinstance(value, list) else value


def bytes_of(folder: Path, outputs: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of every file of a stage's outputs, as DVC compares them."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for output in outputs
        for path in sorted((folder / output).rglob("*"))
        if path.is_file()
    }


def names_in(folder: Path) -> set[str]:
    """Every file and folder of a project, without MLflow's."""
    paths = (path.relative_to(folder) for path in folder.rglob("*"))
    return {path.as_posix() for path in paths if path.parts[0] not in APART and "__pycache__" not in path.parts}


def commands_in(message: str) -> list[str]:
    """The commands in backticks of a message: of tagscale, dvc or make."""
    return [text for text in re.findall(r"`([^`]+)`", message) if text.split()[0] in ("tagscale", "dvc", "make")]


def obey(text: str, project: Path, folder: Path) -> Ended:
    """Run a command that a message names, as far as it makes the project's files again.

    `dvc repro` runs the stages, up to the named one, whose outputs differ from those of the finished project, and
    removes an output first, unless it persists.
    """
    words = text.split()
    if words[:2] == ["dvc", "checkout"]:
        for output in (output for stage in STAGES.values() for output in stage.outputs):
            shutil.rmtree(folder / output, ignore_errors=True)
            shutil.copytree(project / output, folder / output)
        return Ended(0, "", "")
    if words[0] == "make" or words[:2] == ["dvc", "repro"]:
        target = next((word for word in words[2:] if not word.startswith("-")), None)
        ended = Ended(0, "", "")
        for name, stage in STAGES.items():
            damaged = bytes_of(folder, stage.outputs) != bytes_of(project, stage.outputs)
            if damaged or name == target:
                for output in stage.outputs if not stage.kept else ():
                    shutil.rmtree(folder / output, ignore_errors=True)
                ended = command(*stage.arguments)
            if ended.code or name == target:
                return ended
        return ended
    if words[0] == "tagscale" and len(words) > 1:
        for stage in STAGES.values():
            if words[1] == stage.arguments[0] and words[1] not in ("train", "evaluate"):
                return command(*stage.arguments)
        if words[1] in ("train", "evaluate"):
            return _both(words[1], words[2:])
        return command(*words[1:])
    return Ended(1, "", f"the harness does not know `{text}`")


def _both(name: str, rest: list[str]) -> Ended:
    """`tagscale train` or `evaluate`, of the model that the message names, or of both."""
    if "--model" in rest:
        return command(name, *rest)
    ended = command(name, *CELL, "spectrogram")
    return ended if ended.code else command(name, *CELL, "descriptors")


def unfinished_runs(folder: Path) -> list[str]:
    """What MLflow's store holds that has not ended: runs RUNNING, models PENDING."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as store:
        runs = store.execute("SELECT 'run ' || run_uuid FROM runs WHERE status = 'RUNNING'").fetchall()
        models = store.execute("SELECT 'model ' || model_id FROM logged_models WHERE status = 1").fetchall()
    return [name for (name,) in runs + models]


def preload() -> None:
    """Import what the stages import, so that every forked process has it. None of it may start a thread."""
    for package in ("stages", "models", "training", "report", "registry"):
        for module in pkgutil.iter_modules([str(Path(tagscale.__file__).parent / package)]):
            import_module(f"tagscale.{package}.{module.name}")
    for name in IMPORTED_LATE:
        import_module(name)
    gc.freeze()  # a collection in a forked process would copy every page
    tasks = [path.name for path in Path("/proc/self/task").iterdir()]
    threads = {Path(f"/proc/self/task/{thread}/comm").read_text().strip() for thread in tasks}
    others = threads - {"jemalloc_bg_thd", Path("/proc/self/comm").read_text().strip()}  # jemalloc's minds forks
    assert not others, f"threads run, so no process can be forked: {others}"


def made(folder: Path) -> Path:
    """The project in a folder; made, by a process of its own, where it is not there yet."""
    preload()
    if not (folder / "registration").is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        child = os.fork()
        if child == 0:
            try:
                make(folder)
            except BaseException as error:
                print(f"no project: {error}", flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0, "the project could not be made"
    return folder
