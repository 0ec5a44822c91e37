"""Our own rules for manifests, each a function that yields the faults of a set of rendered resources.

They hold what no schema can: that a container is confined and has limits, and that selectors select something.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from k8s.render import Fault, Resource

OWN_PLACEHOLDER = "tagscale:latest"  # our image; overlays for a registry replace it
POD_PATHS: dict[str, tuple[str, ...]] = {  # kind -> path of its pods' specification
    "Pod": ("spec",),
    "Deployment": ("spec", "template", "spec"),
    "StatefulSet": ("spec", "template", "spec"),
    "DaemonSet": ("spec", "template", "spec"),
    "Job": ("spec", "template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    "InferenceService": ("spec", "predictor"),
}


def pods(resource: Resource) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and content of every pod specification in a resource."""
    if resource.kind == "ClusterTrainingRuntime":
        jobs = resource.body["spec"]["template"]["spec"]["replicatedJobs"]
        for number, job in enumerate(jobs):
            path = f"spec.template.spec.replicatedJobs[{number}].template.spec.template.spec"
            yield path, job["template"]["spec"]["template"]["spec"]
    elif resource.kind in POD_PATHS:
        steps = POD_PATHS[resource.kind]
        spec = resource.body
        for step in steps:
            spec = spec[step]
        yield ".".join(steps), spec


def containers(resource: Resource) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Path and content of every container, and the specification of its pod."""
    for path, pod in pods(resource):
        for group in ("initContainers", "containers"):
            for number, container in enumerate(pod.get(group) or []):
                yield f"{path}.{group}[{number}]", container, pod


def limited(resources: list[Resource]) -> Iterator[Fault]:
    """Every container states its requests and its limits."""
    for resource in resources:
        for path, container, _ in containers(resource):
            for group in ("requests", "limits"):
                for quantity in ("cpu", "memory"):
                    if quantity not in container.get("resources", {}).get(group, {}):
                        field = f"{path}.resources.{group}.{quantity}"
                        yield Fault(resource, field, f"missing; container `{container.get('name')}` must state it.")


def confined(resources: list[Resource]) -> Iterator[Fault]:
    """Every container runs as a plain user, without privileges, on a read-only file system."""
    for resource in resources:
        for path, container, pod in containers(resource):
            of_pod, own = pod.get("securityContext", {}), container.get("securityContext", {})
            of_both = of_pod | own
            expected = {
                "runAsNonRoot": (of_both.get("runAsNonRoot"), True),
                "readOnlyRootFilesystem": (own.get("readOnlyRootFilesystem"), True),
                "allowPrivilegeEscalation": (own.get("allowPrivilegeEscalation"), False),
                "capabilities.drop": (own.get("capabilities", {}).get("drop"), ["ALL"]),
                "capabilities.add": (own.get("capabilities", {}).get("add"), None),
                "seccompProfile.type": (of_both.get("seccompProfile", {}).get("type"), "RuntimeDefault"),
                "privileged": (own.get("privileged", False), False),
            }
            for name, (found, wanted) in expected.items():
                if found != wanted:
                    yield Fault(resource, f"{path}.securityContext.{name}", f"found {found}, expected {wanted}.")
        for path, pod in pods(resource):
            for name in ("hostNetwork", "hostPID", "hostIPC"):
                if pod.get(name):
                    yield Fault(resource, f"{path}.{name}", "found true; no pod may use the node's.")
            for number, volume in enumerate(pod.get("volumes") or []):
                if "hostPath" in volume:
                    yield Fault(resource, f"{path}.volumes[{number}].hostPath", "no pod may use the node's files.")


def pinned(resources: list[Resource]) -> Iterator[Fault]:
    """Every image has a digest or a tag other than `latest`; our own placeholder may stay where nothing is pushed."""
    for resource in resources:
        for path, container, _ in containers(resource):
            image = str(container.get("image"))
            tag = re.search(r":([\w.-]+)$", image)
            if image != OWN_PLACEHOLDER and "@sha256:" not in image and (tag is None or tag[1] == "latest"):
                what = f"found `{image}`; expected a tag other than latest, or a digest."
                yield Fault(resource, f"{path}.image", what)


def without_secrets(resources: list[Resource]) -> Iterator[Fault]:
    """No secret is part of a manifest: manifests name them, and k8s/secrets/create.sh creates them."""
    for resource in resources:
        if resource.kind == "Secret":
            fields = [name for name in ("data", "stringData") if resource.body.get(name)]
            what = "a secret among the manifests gets into the repository; let k8s/secrets/create.sh create it."
            yield Fault(resource, ", ".join(fields) or "kind", what)


def selecting(resources: list[Resource]) -> Iterator[Fault]:
    """Services, disruption budgets and workloads select pods that exist."""
    labelled = [_labels(resource) for resource in resources]
    for resource in resources:
        spec = resource.body.get("spec", {})
        field = "spec.selector" if resource.kind == "Service" else "spec.selector.matchLabels"
        if resource.kind not in ("Service", "PodDisruptionBudget", "Deployment", "StatefulSet"):
            continue
        selector = spec.get("selector", {})
        wanted = selector if resource.kind == "Service" else selector.get("matchLabels", {})
        among = [_labels(resource)] if resource.kind in ("Deployment", "StatefulSet") else labelled
        if not wanted or not any(labels.items() >= wanted.items() for labels in among):
            yield Fault(resource, field, f"{wanted} selects no pod of this overlay.")


def _labels(resource: Resource) -> dict[str, str]:
    """The labels of a resource's pods."""
    if resource.kind == "InferenceService":
        return dict(resource.body["spec"]["predictor"].get("labels", {}))
    if resource.kind in POD_PATHS:
        template = resource.body
        for step in POD_PATHS[resource.kind][:-1]:
            template = template[step]
        return dict(template.get("metadata", {}).get("labels", {}))
    return {}


RULES: tuple[Callable[[list[Resource]], Iterator[Fault]], ...] = (limited, confined, pinned, without_secrets, selecting)
