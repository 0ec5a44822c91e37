"""How many cores a process may use."""

import os
from pathlib import Path

import pytest

from tagscale.runtime import machine
from tagscale.runtime.machine import SLEEPING, THREADS, asleep, cores, respect_quota, sleep_while_waiting


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "9900000 100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({}, 64),
    ],
)
def test_a_containers_quota_counts(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores(tmp_path) == expected


def test_libraries_start_no_more_threads_than_the_quota_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)))
    monkeypatch.setenv(THREADS, "")  # so that it is as before afterwards
    monkeypatch.delenv(THREADS)
    for granted, expected in ((float("inf"), None), (2.0, "2"), (3.0, "2")):  # what is set stays
        monkeypatch.setattr(machine, "_quota", lambda control, granted=granted: granted)
        respect_quota()
        assert os.environ.get(THREADS) == expected


def test_waiting_threads_sleep_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SLEEPING:
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    sleep_while_waiting()
    assert {name: os.environ[name] for name in SLEEPING} == {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "4"}


def test_only_what_is_imported_meanwhile_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    before = dict(os.environ)
    with asleep(), asleep():
        assert dict(os.environ) == SLEEPING | before
    assert dict(os.environ) == before
