"""What Argo Workflows 4.0.5 does with a pod that ends: the phase that it gets, and whether it is retried.

After workflow/controller/operator.go (inferFailedReason, mergedTemplateDefaultsInto, processNodeRetries) and
pkg/apis/workflow/v1alpha1/workflow_types.go (RetryPolicyActual). test_argo.py holds it to upstream's own expectations.
"""

import re
from typing import Any

FAILED, ERROR, SUCCEEDED = "Failed", "Error", "Succeeded"
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
KILLED = (137, 143)  # exit codes of other containers that count as no failure: Argo itself ends them so


def merged(defaults: Any, own: Any) -> Any:
    """A template over the defaults: field by field, and what the template says wins."""
    if not isinstance(defaults, dict) or not isinstance(own, dict):
        return own
    return defaults | {key: merged(defaults.get(key), value) for key, value in own.items()}


def phase_of(pod: dict[str, Any] | None) -> str:
    """The phase of the node whose pod failed. None: the pod is gone, and its end was not seen."""
    if pod is None:
        return ERROR
    status = pod["status"]
    if status.get("message"):  # evicted, preempted, over its deadline
        return FAILED
    order = {"main": 1, "wait": 2}
    containers = sorted(status.get("containerStatuses", []), key=lambda one: order.get(one["name"], 3))
    succeeded = set()
    for container in [*status.get("initContainerStatuses", []), *containers]:
        name, state = container["name"], container["state"]
        if "waiting" in state:
            return ERROR
        if "terminated" not in state:
            continue
        code = state["terminated"]["exitCode"]
        if code == 0:
            succeeded.add(name)
        elif name in ("init", "wait"):
            return ERROR
        elif name == "main" or code not in KILLED:
            return FAILED
    return SUCCEEDED if {"main", "wait"} <= succeeded else FAILED


def policy_of(strategy: dict[str, Any]) -> str:
    return str(strategy.get("retryPolicy") or ("Always" if strategy.get("expression") else "OnFailure"))


def seconds_of(duration: str) -> int:
    """A number without a unit is one of seconds."""
    number, unit = re.fullmatch(r"(\d+)([smh]?)", duration).groups()  # type: ignore[union-attr]
    return int(number) * SECONDS[unit]


def back_off(strategy: dict[str, Any], attempts: int) -> int:
    """Seconds between the end of an attempt and the next one."""
    backoff = strategy.get("backoff") or {}
    wait = seconds_of(str(backoff.get("duration", "0"))) * int(float(backoff.get("factor", 1))) ** (attempts - 1)
    return min(wait, seconds_of(str(backoff["cap"]))) if "cap" in backoff else wait


def retried(strategy: dict[str, Any] | None, phase: str, attempts: int = 1, since_first: float = 0) -> bool:
    """Whether a node in this phase is retried.

    Args:
        strategy: of the template, defaults merged; None: none
        attempts: how many there were
        since_first: seconds since the start of the first attempt
    """
    if strategy is None or phase == SUCCEEDED:
        return False
    most = (strategy.get("backoff") or {}).get("maxDuration")
    if most and since_first + back_off(strategy, attempts) > seconds_of(str(most)):
        return False
    phases = {"Always": (FAILED, ERROR), "OnFailure": (FAILED,), "OnError": (ERROR,)}
    if phase not in phases[policy_of(strategy)]:
        return False
    return "limit" not in strategy or attempts <= int(strategy["limit"])


def seconds_left(strategy: dict[str, Any], since_first: float) -> float:
    """After how many seconds a retried pod is killed, beside its own deadline."""
    most = (strategy.get("backoff") or {}).get("maxDuration")
    return seconds_of(str(most)) - since_first if most else float("inf")
