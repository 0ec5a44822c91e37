"""What the account of pipeline tasks may do, read from k8s/tasks/pipeline-account.yaml, as the API would decide it."""

from pathlib import Path
from typing import Any, NamedTuple

import yaml

MANIFEST = Path(__file__).parents[2] / "k8s" / "tasks" / "pipeline-account.yaml"
ROLES = ("tagscale-pipeline", "tagscale-pipeline-runtime")  # the third is for what Kubeflow Pipelines does


class Right(NamedTuple):
    """One thing that may be done."""

    verb: str
    group: str
    resource: str
    name: str = ""  # the only resource that it is for; all where there is none


def granted() -> set[Right]:
    """Every right of the account's roles, and that these are bound to it."""
    documents = list(yaml.safe_load_all(MANIFEST.read_text()))
    bound = {one["roleRef"]["name"] for one in documents if one["kind"].endswith("RoleBinding")}
    assert bound >= set(ROLES)
    rights: set[Right] = set()
    for role in documents:
        if role["kind"] in ("Role", "ClusterRole") and role["metadata"]["name"] in ROLES:
            rights |= {right for rule in role["rules"] for right in _of_rule(rule)}
    return rights


def allowing(rights: set[Right], verb: str, group: str, resource: str, name: str) -> Right | None:
    """The right that allows a request; one to a name does not allow listing or creating."""
    for right in rights:
        if right[:3] == (verb, group, resource) and right.name in ("", name):
            return right
    return None


def _of_rule(rule: dict[str, Any]) -> list[Right]:
    return [
        Right(verb, group, resource, name)
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    ]
