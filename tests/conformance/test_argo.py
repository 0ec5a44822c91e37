"""The kit's Argo decides as upstream's tests expect of Argo itself."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from conformance import argo
from conformance.kit import UPSTREAM

EXPECTED = yaml.safe_load((UPSTREAM / "argo_retries.yaml").read_text())


def cases(kind: str) -> Iterator[Any]:
    for test, rows in EXPECTED[kind].items():
        for row in rows:
            yield pytest.param(*row, id=test)


@pytest.mark.parametrize(("phase", "status"), cases("phases"))
def test_phase(phase: str, status: dict[str, Any]) -> None:
    assert argo.phase_of({"status": status}) == phase


@pytest.mark.parametrize(("strategy", "phase", "attempts", "expected"), cases("decisions"))
def test_decision(strategy: dict[str, Any], phase: str, attempts: int, expected: bool) -> None:
    assert argo.retried(strategy, phase, attempts) is expected


@pytest.mark.parametrize(("strategy", "attempts", "seconds"), cases("back_offs"))
def test_back_off(strategy: dict[str, Any], attempts: int, seconds: int) -> None:
    assert argo.back_off(strategy, attempts) == seconds


@pytest.mark.parametrize(("defaults", "own", "expected"), cases("merges"))
def test_merge(defaults: dict[str, Any], own: dict[str, Any], expected: dict[str, Any]) -> None:
    assert argo.merged(defaults, own) == expected
