"""What MLflow costs: of a training, and of thirty runs that are logged one after another.

    python benchmarks/tracking.py PROJECT --output benchmarks/results/tracking.md

PROJECT is a folder with params.yaml and data, as `dvc repro` leaves it. A training of its smallest size is done for
real, and the time inside each call of `tagscale.tracking` is added up. Thirty runs are then logged as trainings and
evaluations log them, with made-up numbers, into a new SQLite store. What to look for: the share of the training.
"""

import argparse
import datetime
import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from machine import processor

from tagscale import tracking
from tagscale.params.load import load
from tagscale.runtime.identity import RunIdentity
from tagscale.stages import train
from tagscale.stages.results import metrics_in
from tagscale.tracking.machine import Machine
from tagscale.tracking.runs import TrackedRun

RUNS, ROWS, POINTS, SAMPLES = 30, 20, 40, 6  # of each run: validations, points between them, samples of the load
METHODS = ("log_params", "log_metrics", "log_model", "log_data", "set_tags", "end", "steps_of")
NUMBERS = {part: dict.fromkeys(("roc_auc", "pr_auc", "rmse", "frequent_pr_auc"), 0.5) for part in ("valid", "test")}


class Clock:
    """The seconds inside some calls, by the clock; calls within calls count once."""

    def __init__(self) -> None:
        self.seconds, self.calls, self.depth = 0.0, 0, 0

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            begin, self.depth = time.perf_counter(), self.depth + 1
            try:
                return call(*arguments, **keywords)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds, self.calls = self.seconds + time.perf_counter() - begin, self.calls + 1

        return wrapper

    @contextmanager
    def watching(self) -> Iterator[None]:
        kept = {name: getattr(TrackedRun, name) for name in METHODS} | {"sample_if_due": Machine.sample_if_due}
        owners = {name: Machine if name == "sample_if_due" else TrackedRun for name in kept}
        for name, call in kept.items():
            setattr(owners[name], name, self.timed(call))
        try:
            yield
        finally:
            for name, call in kept.items():
                setattr(owners[name], name, call)


def training(project: Path, folder: Path) -> str:
    """A line about a training of the project's smallest size, into another folder and another store."""
    params, data, clock = load(project / "params.yaml"), project / "data", Clock()
    cell = {"model": params.train.models[-1], "size": params.train.sizes[0], "seed": params.train.seeds[0]}
    inputs = {"catalog": data / "catalog", "partition": data / "partition", "inputs": data / "store"}
    tracking.connect()  # makes the store
    begin = time.perf_counter()
    with clock.watching():
        train.run(params, **cell, **inputs, run=folder / "run")
    seconds = time.perf_counter() - begin
    return (
        f"{cell['model']} on {cell['size']} tracks, {params.train.max_steps} steps: {seconds:.0f} s, of which MLflow "
        f"{clock.seconds:.2f} s in {clock.calls} calls, opening the run apart: **{clock.seconds / seconds:.2%}**"
    )


def log_run(number: int, folder: Path) -> None:
    """Log one run as the stages train and evaluate do."""
    identity = RunIdentity("waveform", "all", number, "corpus", "d" * 12, "p" * 12, "s" * 12)
    data = tracking.DataFacts("/music", [f"tag {tag}" for tag in range(50)], 1000, 200)
    run, load_of_machine = folder / f"run-{number}", tracking.Machine()
    settings = {"train": {f"setting_{place}": place for place in range(30)}, "train_tracks": 799}
    with tracking.start_run("study", identity, settings, run, folder / f"unfinished-{number}", data) as tracked:
        for step in range(1, POINTS + 1):
            tracked.log_metrics({"train_loss": 1 / step, "learning_rate": 0.1}, step)
        for step in range(POINTS + 1, POINTS + 1 + ROWS):
            row = {"train_loss": 0.1, "valid_loss": 0.1, "learning_rate": 0.1, "patches_per_second": 99.0}
            tracked.log_metrics(row | {f"system/{name}": 1.0 for name in ("seconds", "data_wait")}, step)
        for step in range(SAMPLES):
            tracked.log_metrics(load_of_machine.sample(), step)
        run.mkdir()
        (run / "weights.safetensors").write_bytes(bytes(700_000))
        tracked.log_params({"parameters": 176_086})
        tracked.log_model(identity.name)
    with tracking.find_run("study", identity, run) as tracked:
        tracked.log_metrics(metrics_in(NUMBERS))


def thirty(folder: Path) -> str:
    begin, used = time.perf_counter(), time.process_time()
    for number in range(RUNS):
        log_run(number, folder)
    used, seconds = (time.process_time() - used) / RUNS, (time.perf_counter() - begin) / RUNS
    return f"{RUNS} runs: {used:.2f} s of processor time a run, {seconds:.2f} s by the clock"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    project, output = arguments.project.absolute(), arguments.output.absolute()
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as temporary, chdir(temporary):
        lines = [training(project, Path(temporary)), thirty(Path(temporary))]
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    when = f"{datetime.date.today()}, {processor()}, `python benchmarks/tracking.py PROJECT`"
    head = f"{when}; processes that wanted a core: {loads}. An SQLite store in the project's folder."
    text = "\n".join(f"- {line}" for line in lines)
    output.write_text(f"# What MLflow costs\n\n{head}\n\n{text}\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
