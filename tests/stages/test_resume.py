"""A training that is killed at any moment and started again ends as one that was left alone, in one MLflow run."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from safetensors.torch import load_file

from killed import start, train_slowly
from tagscale.runtime.errors import TagscaleError
from tagscale.training import loop

SETTINGS = {"train": {"max_steps": "2 epochs", "patches_per_track": 1}}
ALIKE = ["step", "train_loss", "valid_loss", "learning_rate"]  # the rest are times


def wait_for(found: Callable[[], Any], process: Any, seconds: float = 180) -> None:
    begin = time.monotonic()
    while not found():
        assert time.monotonic() - begin < seconds, "nothing happens"
        assert process.is_alive(), f"ended by itself: {process.exitcode}"
        time.sleep(0.01)


def steps_in(folder: Path) -> list[int]:
    file = folder / "steps"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def finished(process: Any) -> int:
    process.join(240)
    return process.exitcode


@pytest.mark.slow
def test_killed_at_many_moments_it_ends_as_if_it_had_been_left_alone(study, tmp_path: Path) -> None:
    """Before the first state, within the first epoch, between two epochs, in the last."""
    params = study.params(**SETTINGS, tracking={"experiment": "killed"}).model_dump()
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    for folder in (alone, killed):
        folder.mkdir()
        for part in ("catalog", "partition", "store"):
            (folder / part).symlink_to(study.root / part)
        shutil.copy(study.root / "mlflow.db", folder)
    left_alone = start(train_slowly, alone, params, "run", 0.0)

    state = killed / "run.unfinished"
    resumed_from = []
    for moment in (1, 4, 8, 11):  # six steps an epoch
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
    assert json.loads((killed / "run" / "run.json").read_text())["seconds"] > 0.1 * 12, "that of all processes"

    client = MlflowClient(f"sqlite:///{killed / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("killed").experiment_id], "params.model != ''")
    assert run.info.status == "FINISHED"
    for name in ("train_loss", "valid_loss", "learning_rate", "system/data_wait", "kept_step"):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, name)]
        between = set(steps) - {6, 12} if name in ("train_loss", "learning_rate") else set()
        assert [step for step in steps if step not in between] == ([0] if name == "kept_step" else [6, 12])
        assert len(steps) == len(set(steps)), "a resumed training logs no step twice"


def run_of(study: Any, experiment: str) -> Any:
    client = MlflowClient(f"sqlite:///{study.root / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id], "params.model != ''")
    return run


def test_an_error_and_ctrl_c_are_told_to_mlflow_and_the_run_goes_on(study, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAILED, KILLED, FINISHED: one run."""
    params = study.params(**SETTINGS, tracking={"experiment": "ended"})
    step_loss = loop.step_loss
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)

    def train() -> None:
        study.train(params, "waveform", 16, 5, "runs/ended")

    for event, status in ((TagscaleError("enough"), "FAILED"), (KeyboardInterrupt(), "KILLED")):

        def struck(state: Any, *arguments: Any, event: BaseException = event) -> Any:
            if state.step == 3:
                raise event
            return step_loss(state, *arguments)

        monkeypatch.setattr(loop, "step_loss", struck)
        with pytest.raises(type(event)):
            train()
        assert run_of(study, "ended").info.status == status
        assert (study.root / "runs" / "ended.unfinished" / "model").is_dir()
    monkeypatch.setattr(loop, "step_loss", step_loss)
    train()
    assert run_of(study, "ended").info.status == "FINISHED"
    assert not (study.root / "runs" / "ended.unfinished").exists()


def test_a_full_disk_at_the_very_end_costs_nothing(study, monkeypatch: pytest.MonkeyPatch) -> None:
    from tagscale.training import checkpoint

    params = study.params(train={"max_steps": "1 epoch"}, tracking={"experiment": "full"})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def untouched(*_: object) -> None:
        raise AssertionError("it trains again")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write", full)
        with pytest.raises(TagscaleError, match=r"The disk is full: .*runs/full could not be written.* The state in"):
            study.train(params, "waveform", 16, 0, "runs/full")
    assert run_of(study, "full").info.status == "FAILED"
    monkeypatch.setattr(loop, "step_loss", untouched)
    assert (study.train(params, "waveform", 16, 0, "runs/full") / "weights.safetensors").is_file()


@pytest.mark.slow
def test_two_devices_are_two_processes_and_one_run(study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through torchrun's own engine, as on a machine with two GPUs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    same = {"backend": {"dropout": 0.0}}
    alike = {"max_steps": "2 epochs", "patches_per_track": 1, "optimizer": "sgd", "schedule": "cosine"}
    one = study.train(study.params(train=alike, model=same), "waveform", 16, 0, "runs/one")
    both = study.params(train=alike | {"devices": 2}, model=same, tracking={"experiment": "two"})
    two = study.train(both, "waveform", 16, 0, "runs/two")
    identities = [json.loads((run / "run.json").read_text())["identity"] for run in (one, two)]
    assert identities[0] == identities[1]
    expected, found = (load_file(run / "weights.safetensors") for run in (one, two))
    for name, tensor in expected.items():
        scale = max(float(tensor.abs().max()), 0.1)  # a bias before batch norm learns from rounding alone
        np.testing.assert_allclose(found[name], tensor, rtol=0, atol=1e-3 * scale, err_msg=name)
    run = run_of(study, "two")
    assert run.info.status == "FINISHED"
    client = MlflowClient(f"sqlite:///{study.root / 'mlflow.db'}")
    assert [point.step for point in client.get_metric_history(run.info.run_id, "valid_loss")] == [2, 4]
