"""A training that is killed at any moment and started again ends as one that was left alone, in one MLflow run."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from training.killed import start, train_slowly

SETTINGS = {"train": {"max_epochs": 3, "patches_per_track": 1}}
ALIKE = ["epoch", "train_loss", "valid_loss", "learning_rate"]  # the rest are times


def wait_for(found: Callable[[], Any], process: Any, seconds: float = 60) -> None:
    begin = time.monotonic()
    while not found():
        assert time.monotonic() - begin < seconds, "nothing happens"
        assert process.is_alive(), f"ended by itself: {process.exitcode}"
        time.sleep(0.01)


def steps_in(folder: Path) -> list[int]:
    file = folder / "steps"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def finished(process: Any) -> int:
    process.join(90)
    return process.exitcode


@pytest.mark.slow
def test_killed_at_many_moments_it_ends_as_if_it_had_been_left_alone(study, tmp_path: Path) -> None:
    """Before the first state, within the first epoch, between two epochs, in the last."""
    params = study.params(**SETTINGS, tracking={"experiment": "killed"})
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    for folder in (alone, killed):
        folder.mkdir()
        for part in ("catalog", "partition", "store"):
            (folder / part).symlink_to(study.root / part)
        shutil.copy(study.root / "mlflow.db", folder)
    left_alone = start(train_slowly, alone, params, "run", 0.0)

    state = killed / "run.unfinished"
    resumed_from = []
    for moment in (1, 4, 8, 13):  # six steps an epoch
        process = start(train_slowly, killed, params, "run", 0.1)
        before = len(steps_in(killed))
        wait_for(lambda moment=moment: max(steps_in(killed), default=-1) >= moment, process)
        process.kill()
        process.join()
        assert process.exitcode == -9
        resumed_from.append(steps_in(killed)[before])
        assert not (killed / "run").exists()
        assert (state / "about.json").is_file()
    assert resumed_from[1] <= 2 < resumed_from[2] <= 5 <= resumed_from[3], "each goes on where the one before was"
    assert finished(start(train_slowly, killed, params, "run", 0.0)) == finished(left_alone) == 0

    assert not state.exists()
    for name in ("weights.safetensors", "model.json"):
        assert (killed / "run" / name).read_bytes() == (alone / "run" / name).read_bytes()
    histories = [pd.read_csv(folder / "run" / "history.csv") for folder in (alone, killed)]
    assert histories[0][ALIKE].equals(histories[1][ALIKE])
    assert json.loads((killed / "run" / "run.json").read_text())["seconds"] > 0.1 * 14, "that of all processes"

    client = MlflowClient(f"sqlite:///{killed / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("killed").experiment_id])
    assert run.info.status == "FINISHED"
    for name in ("train_loss", "valid_loss", "learning_rate", "data_wait", "peak_memory_mb", "best_epoch"):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
        assert steps == ([0] if name == "best_epoch" else [1, 2, 3])
