"""Labels by which our network policies know pods that others make."""

from collections.abc import Iterator
from typing import Any

from conformance.kit import Installation, Planted, Rule

# The keys of labels of other makers' pods, each with the source that sets it.
GIVEN = {"pipeline/runid", "kubernetes.io/metadata.name"}
OWN = "app.kubernetes.io/"


def selectors(value: Any) -> Iterator[dict[str, Any]]:
    """All selectors within a policy."""
    if isinstance(value, dict):
        if "matchLabels" in value or "matchExpressions" in value:
            yield value
        for inner in value.values():
            yield from selectors(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from selectors(inner)


def _tasks(installation: Installation) -> Iterator[str]:
    for overlay in installation.overlays:
        policies = [one for one in installation.overlay(overlay) if one.kind == "NetworkPolicy"]
        keys = {
            expression["key"]
            for policy in policies
            for selector in selectors(policy.body["spec"])
            for expression in selector.get("matchExpressions", [])
        }
        if policies and "pipeline/runid" not in keys:
            yield f"{overlay}: no policy selects the pods of tasks, which have the label pipeline/runid alone"
        for key in sorted(keys - GIVEN):
            if not key.startswith(OWN):
                yield f"{overlay}: a policy selects by {key}, which nothing upstream sets"


TASKS = Rule(
    "policies select tasks by the label that they have",
    "Kubeflow Pipelines 2.17.0: backend/src/apiserver/template/v2_template.go, backend/src/common/util/consts.go",
    _tasks,
)
RULES = [TASKS]
PLANTED = [
    Planted(
        "tasks are selected by a label of Kubeflow Pipelines 1",
        TASKS,
        lambda installation: installation.replace(
            "k8s/tasks/network.yaml", "key: pipeline/runid", "key: pipelines.kubeflow.org/v2_component"
        ),
        "selects by pipelines.kubeflow.org/v2_component",
    )
]
