"""Points of the loss curve between two validations."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tagscale.training import running_loss
from tagscale.training.running_loss import RunningLoss


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(running_loss, "SECONDS", 2.0)
    monkeypatch.setattr(running_loss.time, "perf_counter", lambda: clock.now)
    return clock


def steps(losses: list[float], clock: SimpleNamespace, seconds: float, processes: int = 1) -> list[dict[str, float]]:
    """The points of a training that was validated before its first step, with a step every so many seconds."""
    points: list[dict[str, float]] = []
    state: Any = SimpleNamespace(step=0, validated=0, loss_sum=torch.zeros(()))
    reporter = RunningLoss(points.append, processes)
    reporter.restart(state)
    for loss in losses:
        clock.now += seconds
        state.step += 1
        state.loss_sum += loss / processes
        reporter.after_step(state, 0.1 * state.step)
    return points


def test_a_point_is_the_mean_loss_since_the_one_before(clock: SimpleNamespace) -> None:
    points = steps([4.0, 2.0, 1.0, 3.0, 5.0], clock, seconds=1.0)
    assert points == [
        {"step": 2, "train_loss": 3.0, "learning_rate": pytest.approx(0.2)},
        {"step": 4, "train_loss": 2.0, "learning_rate": pytest.approx(0.4)},
    ]


def test_of_several_processes_the_first_one_speaks_for_all(clock: SimpleNamespace) -> None:
    assert [point["train_loss"] for point in steps([4.0, 2.0], clock, seconds=1.0, processes=2)] == [3.0]


def test_a_long_training_has_few_points(clock: SimpleNamespace) -> None:
    assert 300 < len(steps([1.0] * 3600, clock, seconds=1.0)) < 500


def test_a_loss_that_is_not_a_number_is_no_point(clock: SimpleNamespace) -> None:
    assert steps([float("nan")] * 4, clock, seconds=1.0) == []


def test_without_a_reporter_the_sum_is_not_read(clock: SimpleNamespace) -> None:
    reporter = RunningLoss(None)
    clock.now = 1e9
    reporter.after_step(None, 0.1)  # type: ignore[arg-type]
