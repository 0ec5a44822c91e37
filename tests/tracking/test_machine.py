"""The load of the machine, as MLflow's page of system metrics takes it."""

import math

import pytest

from tagscale.tracking import machine
from tagscale.tracking.machine import Machine


def test_a_sample_has_cpu_memory_disk_and_network_by_mlflows_names() -> None:
    numbers = Machine().sample()
    assert numbers.keys() >= {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_megabytes",
        "system/disk_usage_percentage",
        "system/network_receive_megabytes",
    }
    assert all(math.isfinite(number) and number >= 0 for number in numbers.values())


def test_samples_are_ten_seconds_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Machine()
    assert load.sample_if_due() == {}
    now = load.due
    monkeypatch.setattr(machine.time, "monotonic", lambda: now)
    assert load.sample_if_due()
    assert load.sample_if_due() == {}
