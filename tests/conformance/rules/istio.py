"""Istio's sidecars, which a profile injects: who has one cannot start here, and refuses who has none."""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import yaml
from k8s.policies import Client, Pod, calls, clients_of
from k8s.rules import INJECT, templates

from conformance.kit import UPSTREAM, Installation, Planted, Rule
from conformance.profiles import installed
from conformance.rules.policies import ANYBODY, ISTIOD, network_of

POLICY: dict[str, Any] = yaml.safe_load((UPSTREAM / "profile-authorization.yaml").read_text())["spec"]
PATH = "/api/2.0/mlflow/runs/create"


def has_sidecar(client: Client, namespaces: dict[str, dict[str, str]]) -> bool:
    """Whether Istio gives a pod its sidecar: the namespace asks for it, and the pod does not refuse."""
    if namespaces.get(client.pod.namespace, {}).get("istio-injection") != "enabled":
        return False
    if client.resource.kind == "ServiceAccount":
        return False  # a task: Kubeflow Pipelines 2.17.0 refuses for it, backend/src/apiserver/template/v2_template.go
    for _, metadata, _ in templates(client.resource):
        said = {**metadata.get("annotations", {}), **metadata.get("labels", {})}
        if said.get(INJECT) == "false":
            return False
    return True


def authorizes(server: Pod, caller: str | None, path: str) -> bool:
    """Whether the policy of the server's profile lets a request pass.

    Args:
        caller: namespace of the caller's identity, which only a sidecar has.
    """

    def holds(rule: dict[str, Any]) -> bool:
        known = {"source.namespace": caller}  # a pod of the cluster sends no kubeflow-userid
        for condition in rule.get("when", []):
            values = [server.namespace if value == "PROFILE" else value for value in condition["values"]]
            if known.get(condition["key"]) not in values:
                return False
        principals = [one["source"]["principals"] for one in rule.get("from", [])]  # of Kubeflow's own pods
        paths = [path for one in rule.get("to", []) for path in one["operation"]["paths"]]
        return not principals and (not paths or any(fnmatchcase(path, pattern) for pattern in paths))

    return any(holds(rule) for rule in POLICY["rules"])


def _start(installation: Installation) -> Iterator[str]:
    namespaces = installed(installation).namespaces
    for overlay in installation.overlays:
        network = network_of(installation.overlay(overlay), namespaces)
        for client in clients_of(installation.overlay(overlay)):
            if has_sidecar(client, namespaces):
                for refusal in network.refusals(client.pod, ISTIOD, 15012):
                    yield f"{overlay}: {client.pod.name} gets a sidecar that never starts: {refusal}"


def _answer(installation: Installation) -> Iterator[str]:
    namespaces = installed(installation).namespaces
    for overlay in installation.overlays:
        resources = installation.overlay(overlay)
        clients = clients_of(resources)
        sidecars = {client.pod.name for client in clients if has_sidecar(client, namespaces)}
        flows = [(client.pod, end) for client in clients for end, _ in calls(client, resources)]
        flows += [(ANYBODY, client.pod) for client in clients if client.pod.name == "tagscale-champion"]
        for source, target in flows:
            caller = source.namespace if source.name in sidecars else None
            if isinstance(target, Pod) and target.name in sidecars and not authorizes(target, caller, PATH):
                yield f"{overlay}: {target.name} has a sidecar and answers {source.name} with 403"


def _in(file: str, old: str, new: str) -> Callable[[Installation], None]:
    return lambda installation: installation.replace(f"k8s/{file}", old, new)


def _servers_in_a_profile(installation: Installation) -> None:
    file = installation.folder / "k8s" / "namespaces" / "servers.yaml"
    profile = installation.text("k8s/namespaces/profile.yaml").replace("name: tagscale", "name: tagscale-servers")
    file.write_text(profile)


START = Rule(
    "a pod with a sidecar reaches istiod",
    "Kubeflow manifests v1.11.0: common/istio/istio-install/base/install.yaml, common/networkpolicies/base",
    _start,
)
ANSWER = Rule(
    "no server with a sidecar is asked by pods without one",
    "kubeflow/dashboard d842464: profile_controller.go, getAuthorizationPolicy; "
    "Kubeflow Pipelines 2.17.0: backend/src/apiserver/template/v2_template.go",
    _answer,
)
RULES = [START, ANSWER]
PLANTED = [
    Planted(
        "a pod template that does not refuse the sidecar",
        START,
        _in("tasks/volume-shell.yaml", 'inject: "false"', 'inject: "true"'),
        "tagscale-volume-shell gets a sidecar that never starts",
    ),
    Planted(
        "pods of a TrainJob with sidecars",
        START,
        _in("components/training-runtime/training-runtime.yaml", 'inject: "false"', 'inject: "true"'),
        "tagscale-torch gets a sidecar that never starts",
    ),
    Planted(
        "MLflow in a profile",
        ANSWER,
        _servers_in_a_profile,
        "tagscale-mlflow has a sidecar and answers a task with 403",
    ),
    Planted(
        "a champion with a sidecar",
        ANSWER,
        _in("components/champion-kserve/champion.yaml", 'inject: "false"', 'inject: "true"'),
        "tagscale-champion has a sidecar and answers a pod of another namespace with 403",
    ),
]
