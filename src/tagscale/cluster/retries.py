"""Whether the cluster retries tasks that fail: what Argo made of a pipeline's retries, read from the task's own pod.

A compiled pipeline says how often a task is retried, not after what; kfp has no word for it. Argo takes
that from defaults of the installation, which Kubeflow Pipelines 2.17 sets to OnError
(manifests/kustomize/third-party/argo/base/workflow-controller-configmap-patch.yaml). The result is in every pod that
Argo starts: its container `init` gets the whole template, defaults included (Argo 3.7.3 and 4.0.5,
workflow/controller/workflowpod.go). The account of the tasks may list pods, so no further right is needed.
"""

import json
import os
from pathlib import Path
from typing import Any

from tagscale.cluster.api import message_of

POD = "KFP_POD_NAME"  # set by Kubeflow Pipelines in every task
NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
SECONDS = 20  # for an answer; the line is for information
ADVICE = "docs/cluster.md, 'Preemption and lost nodes', says what to set in Argo's controller"
RETRIED = {  # policy -> after which ends
    "Always": "retries tasks {times} whatever ended them",
    "OnFailure": f"retries tasks {{times}}, but not one whose pod was deleted; {ADVICE}",
    "OnError": "does NOT retry tasks that exit with an error, run out of memory or are evicted, only some whose pod "
    f"was deleted; {ADVICE}",
    "OnTransientError": f"does NOT retry most tasks that fail; {ADVICE}",
}


def describe(retries: int) -> str:
    """A line on what is retried here, for people.

    Args:
        retries: of every task, as the pipeline asks for
    """
    if not retries:
        return "Retries: none, kubernetes.retries is 0"
    pod = os.environ.get(POD)
    if not pod:
        return "Retries: none, since no cluster runs this task"
    times = "once" if retries == 1 else f"{retries} times"
    try:
        policy = policy_of(strategy_in(own_pod(pod)))
    except Exception as error:  # whatever it is: the pipeline runs without the line, too
        return f"Retries: {times}, but after which failures cannot be read ({message_of(error)}); {ADVICE}"
    practice = RETRIED.get(policy, f"has a policy that tagscale does not know; {ADVICE}").format(times=times)
    return f"Retries (retryPolicy {policy}): this installation {practice}"


def own_pod(name: str) -> dict[str, Any]:
    """This task's pod, as the Kubernetes API gives it."""
    core = connect()
    pods = core.list_namespaced_pod(
        NAMESPACE.read_text().strip(), field_selector=f"metadata.name={name}", _request_timeout=SECONDS
    )
    pod: dict[str, Any] = core.api_client.sanitize_for_serialization(pods.items[0])
    return pod


def strategy_in(pod: dict[str, Any]) -> dict[str, Any]:
    """The retry strategy of the template from which Argo made a pod."""
    containers = {container["name"]: container for container in pod["spec"]["initContainers"]}
    variables = {variable["name"]: variable.get("value") for variable in containers["init"]["env"]}
    template = variables["ARGO_TEMPLATE"] or ""
    if not template.startswith("{"):
        raise LookupError(f"Argo keeps the template elsewhere, and says {template!r}")
    strategy: dict[str, Any] = json.loads(template).get("retryStrategy") or {}
    return strategy


def policy_of(strategy: dict[str, Any]) -> str:
    """The policy by which Argo decides, its own default filled in (4.0.5, workflow_types.go, RetryPolicyActual)."""
    return str(strategy.get("retryPolicy") or ("Always" if strategy.get("expression") else "OnFailure"))


def connect() -> Any:
    """The API of the cluster in which this process runs."""
    from kubernetes import client, config  # type: ignore[import-untyped]

    config.load_incluster_config()
    return client.CoreV1Api()
