"""Retries: what ends a task must not end the run, and what ends a loop must not repeat it."""

from collections.abc import Iterator
from typing import Any

import yaml

from conformance.argo import back_off, merged, phase_of, policy_of, retried, seconds_left
from conformance.kit import UPSTREAM, Elsewhere, Installation, Planted, Rule

ARGO = "Argo Workflows 4.0.5: workflow/controller/operator.go"
KFP = "Kubeflow Pipelines 2.17.0: manifests/kustomize/third-party/argo/base/workflow-controller-configmap-patch.yaml"
PATCH = "k8s/kubeflow/workflow-defaults.yaml"
WAITING = 7 * 86400  # seconds that an attempt may wait for a node


def _exited(code: int, **status: Any) -> dict[str, Any]:
    """A pod whose command has exited."""
    states = {"main": {"terminated": {"exitCode": code}}, "wait": {"terminated": {"exitCode": 0}}}
    containers = [{"name": name, "state": state} for name, state in states.items()]
    return {"status": {"phase": "Failed", "containerStatuses": containers} | status}


ENDS = {  # the rows of the table in docs/cluster.md
    "a command that fails": _exited(1),
    "out of memory": _exited(137),
    "an eviction": _exited(143, reason="Evicted", message="The node was low on resource: memory."),
    "a task longer than its hours": _exited(143, message="Pod was active on the node longer than the deadline"),
    "a pod deleted before its end was seen": None,
}


def defaults_in(text: str) -> dict[str, Any]:
    """`spec` of what the controller adds to every workflow, from the text of its ConfigMap."""
    spec: dict[str, Any] = yaml.safe_load(yaml.safe_load(text)["data"]["workflowDefaults"])["spec"]
    return spec


def template(retry: dict[str, Any]) -> dict[str, Any]:
    """A task's template as Kubeflow Pipelines 2.17.0 makes it (argocompiler/container.go)."""
    backoff = {name: retry[f"backoff{name[0].upper()}{name[1:]}"] for name in ("duration", "factor", "maxDuration")}
    backoff |= {name: str(backoff[name]).removesuffix("s") for name in ("duration", "maxDuration")}
    return {"retryStrategy": {"limit": str(retry["maxRetryCount"]), "backoff": backoff}}


def tasks(installation: Installation) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Every task that runs a command: pipeline and name, the task, and the seconds that an attempt may run."""
    for name, (spec, platform) in installation.pipelines.items():
        kinds = {one: body.get("executorLabel") for one, body in spec["components"].items()}
        limits = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        parts = [spec["root"], *spec["components"].values()]
        for task_name, task in (
            (key, one) for part in parts for key, one in part.get("dag", {}).get("tasks", {}).items()
        ):
            if executor := kinds[task["componentRef"]["name"]]:
                yield f"{name}, {task_name}", task, int(limits[executor]["activeDeadlineSeconds"])


def _every_end(installation: Installation) -> Iterator[str]:
    defaults = defaults_in(installation.text(PATCH)).get("templateDefaults", {})
    for name, task, _ in tasks(installation):
        if "retryPolicy" not in task:
            yield f"{name}: the task asks for no retries"
            continue
        strategy = merged(defaults, template(task["retryPolicy"]))["retryStrategy"]
        for end, pod in ENDS.items():
            if not retried(strategy, phase_of(pod)):
                yield f"{name}: {end} is not retried (retryPolicy {policy_of(strategy)})"


def _long_attempts(installation: Installation) -> Iterator[str]:
    for name, task, deadline in tasks(installation):
        strategy = template(task.get("retryPolicy", {}))["retryStrategy"] | {"retryPolicy": "Always"}
        since = 0
        for attempt in range(1, int(strategy["limit"]) + 1):
            since += WAITING + deadline
            if not retried(strategy, "Failed", attempt, since):
                yield f"{name}: an attempt that fails {since / 3600:.0f} hours after the first began is not retried"
                break
            since += back_off(strategy, attempt)
            if seconds_left(strategy, since) < WAITING + deadline:
                yield f"{name}: attempt {attempt + 1} is killed before its hours are over"
                break


def _loops(installation: Installation) -> Iterator[str]:
    strategy = merged(defaults_in(installation.text(PATCH)).get("templateDefaults", {}), {}).get("retryStrategy")
    if retried(strategy, "Failed"):
        yield f"{PATCH}: loops, nested pipelines and drivers, which bring no retries, are run again as a whole"


def _rest(installation: Installation) -> Iterator[str]:
    """The patch replaces one text as a whole, so it must say the rest of that text, too."""
    ours, theirs = (
        defaults_in(installation.text(PATCH)),
        defaults_in((UPSTREAM / "kfp-workflow-defaults.yaml").read_text()),
    )
    for key in sorted(theirs.keys() - {"templateDefaults"}):
        if ours.get(key) != theirs[key]:
            yield f"{PATCH}: the patch would change {key}, which Kubeflow Pipelines sets"
    if f"--patch-file {PATCH}" not in installation.text("docs/cluster.md"):
        yield f"docs/cluster.md has no command that applies {PATCH}"


EVERY_END = Rule(
    "whatever ends a task, it is retried", f"{ARGO} (inferFailedReason, mergedTemplateDefaultsInto)", _every_end
)
LONG = Rule(
    "attempts as long as a task may run are retried", f"{ARGO} (processNodeRetries, maxDuration)", _long_attempts
)
LOOPS = Rule("what brings no retries is not repeated", f"{ARGO} (mergedTemplateDefaultsInto)", _loops)
REST = Rule("the patch of the controller changes retries alone", KFP, _rest)
RULES = [EVERY_END, LONG, LOOPS, REST]


def _retry_policies(installation: Installation) -> Iterator[dict[str, Any]]:
    for _, task, _ in tasks(installation):
        yield task["retryPolicy"]


def _an_hour(installation: Installation) -> None:
    for policy in _retry_policies(installation):
        policy["backoffMaxDuration"] = "3600s"  # what kfp 2.17.0 sets by itself


def _barely_a_deadline(installation: Installation) -> None:
    for policy in _retry_policies(installation):
        policy["backoffMaxDuration"] = f"{20 * 86400}s"


def _no_retries(installation: Installation) -> None:
    next(task for name, task, _ in tasks(installation) if name == "study, train").pop("retryPolicy")


def _in_patch(old: str, new: str) -> Any:
    return lambda installation: installation.replace(PATCH, old, new)


PLANTED = [
    Planted(
        "the controller's policy stays OnError",
        EVERY_END,
        _in_patch("Policy: Always", "Policy: OnError"),
        "a command that fails is not retried",
    ),
    Planted(
        "the controller has no policy",
        EVERY_END,
        _in_patch("          retryPolicy: Always\n", ""),
        "a pod deleted before its end was seen is not retried",
    ),
    Planted("a task asks for no retries", EVERY_END, _no_retries, "study, train: the task asks for no retries"),
    Planted(
        "retries end an hour after the first attempt began",
        LONG,
        _an_hour,
        "hours after the first began is not retried",
    ),
    Planted(
        "a retried pod is killed by the time of all attempts",
        LONG,
        _barely_a_deadline,
        "study, train: attempt 2 is killed before its hours are over",
    ),
    Planted(
        "the policy Always with a limit for everything",
        LOOPS,
        _in_patch('limit: "0"', 'limit: "2"'),
        "loops, nested pipelines and drivers",
    ),
    Planted(
        "the patch drops the time to live of workflows",
        REST,
        _in_patch("secondsAfterFailure: 3600", "secondsAfterFailure: 60"),
        "would change ttlStrategy",
    ),
]
ELSEWHERE = [
    Elsewhere(
        "nobody sees that the installation retries nothing",
        "Argo Workflows 4.0.5: workflow/controller/workflowpod.go (ARGO_TEMPLATE)",
        "tests/cluster/test_retries.py::test_the_policy_of_the_own_pod",
    ),
    Elsewhere(
        "a volume without locks ends a training with a traceback",
        "flock(2), nfs(5): ENOLCK, nolock, local_lock",
        "tests/runtime/test_lock.py::test_a_file_system_without_locks",
    ),
]
