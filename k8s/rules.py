"""Our own rules for manifests, each a function that yields the faults of a set of rendered resources.

They hold what no schema can: that a container is confined and has limits, that selectors select something, and what
Kubeflow's profiles ask for.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from k8s.render import Fault, Resource

UNSET = "unset"  # the tag in the overlays before `python -m k8s.image` has written one
OWN_PLACEHOLDER = "tagscale:latest"  # our image; overlays for a registry replace it
POD_PATHS: dict[str, tuple[str, ...]] = {  # kind -> path of its pods' specification
    "Pod": ("spec",),
    "Deployment": ("spec", "template", "spec"),
    "StatefulSet": ("spec", "template", "spec"),
    "DaemonSet": ("spec", "template", "spec"),
    "Job": ("spec", "template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}
SERVING = re.compile(r"((?:^|/)tagscale)-serve(?=:)")  # `make image-serve`
SERVERS = "tagscale-servers"  # namespace of MLflow, database and object storage
KUBEFLOW = "kubeflow"  # Kubeflow's own
TASKS_ACCOUNT = "tagscale-pipeline"  # its namespace is the one in which pipelines run
INJECT = "sidecar.istio.io/inject"
PART_OF = "app.kubernetes.io/part-of"


def templates(resource: Resource) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Path of every pod specification in a resource, the metadata of its pods, and the specification."""
    if resource.kind == "ClusterTrainingRuntime":
        jobs = resource.body["spec"]["template"]["spec"]["replicatedJobs"]
        for number, job in enumerate(jobs):
            template = job["template"]["spec"]["template"]
            path = f"spec.template.spec.replicatedJobs[{number}].template.spec.template.spec"
            yield path, template.get("metadata", {}), template["spec"]
    elif resource.kind == "InferenceService":  # labels and annotations of the predictor become those of its pods
        predictor = resource.body["spec"]["predictor"]
        yield "spec.predictor", predictor, predictor
    elif resource.kind in POD_PATHS:
        steps = POD_PATHS[resource.kind]
        template = resource.body
        for step in steps[:-1]:
            template = template[step]
        yield ".".join(steps), template.get("metadata", {}), template["spec"]


def pods(resource: Resource) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and content of every pod specification in a resource."""
    for path, _, pod in templates(resource):
        yield path, pod


def tasks_namespace(resources: list[Resource]) -> str | None:
    """The namespace in which an overlay runs pipelines: that of the tasks' account; None where there is no account."""
    accounts = [one for one in resources if (one.kind, one.name) == ("ServiceAccount", TASKS_ACCOUNT)]
    return accounts[0].namespace if accounts else None


def pods_namespace(resource: Resource, resources: list[Resource]) -> str | None:
    """The namespace of a resource's pods. A runtime belongs to the cluster, and a task starts its pods."""
    return tasks_namespace(resources) if resource.kind == "ClusterTrainingRuntime" else resource.namespace


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


def one_image(resources: list[Resource]) -> Iterator[Fault]:
    """Everything of ours runs in one image: pods of two would write and read each other's files in two ways.

    The champion, which shares no files, may run in the smaller one that is made for serving, of the same tag.
    """
    own = own_images(resources)
    first = next((image for _, _, image in own if not SERVING.search(image)), "")
    for resource, field, image in own:
        if SERVING.sub(r"\1", image) != first:
            what = f"found `{image}`, and `{first}` elsewhere in the overlay; `python -m k8s.image` sets one for all."
            yield Fault(resource, field, what)


def own_images(resources: list[Resource]) -> list[tuple[Resource, str, str]]:
    """Resource, field and name of every image of ours."""
    images = [(one, f"{path}.image", str(box.get("image"))) for one in resources for path, box, _ in containers(one)]
    return [entry for entry in images if re.search(r"(^|/)tagscale(-serve)?([:@]|$)", entry[2])]


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
    return next((dict(metadata.get("labels", {})) for _, metadata, _ in templates(resource)), {})


def with_accounts(resources: list[Resource]) -> Iterator[Fault]:
    """Every pod has an account of ours, which has the pull secrets that an overlay gives."""
    for resource in resources:
        for path, pod in pods(resource):
            if pod.get("serviceAccountName", "default") == "default":
                what = "missing; name an account of these manifests: `default` has no pull secrets."
                yield Fault(resource, f"{path}.serviceAccountName", what)


def without_sidecars(resources: list[Resource]) -> Iterator[Fault]:
    """No pod of the pipelines' namespace gets Istio's sidecar.

    A profile injects it, and our policies have no way to Istio: such a pod would not start. Kubeflow's tasks have none
    either, so that a server with a sidecar would refuse them.
    """
    for resource in resources:
        if pods_namespace(resource, resources) == SERVERS:
            continue
        for path, metadata, _ in templates(resource):
            if "false" not in {metadata.get(group, {}).get(INJECT) for group in ("labels", "annotations")}:
                place = path if resource.kind == "InferenceService" else f"{path.removesuffix('spec')}metadata"
                yield Fault(
                    resource, f"{place}.annotations", f'expected {INJECT}: "false"; a profile injects sidecars.'
                )


def outside_of_profiles(resources: list[Resource]) -> Iterator[Fault]:
    """The only namespace that we make is the servers', and nothing of Kubeflow's own namespace is cut off."""
    for resource in resources:
        if resource.kind == "Namespace":
            labels = resource.body["metadata"].get("labels", {})
            if resource.name != SERVERS:
                what = f"found {resource.name}, expected {SERVERS} alone: Kubeflow makes and labels the others."
                yield Fault(resource, "metadata.name", what)
            elif labels.get("istio-injection") != "disabled" or PART_OF in labels:
                what = f"expected `istio-injection: disabled`, and no {PART_OF}, by which Kubeflow knows its profiles."
                yield Fault(resource, "metadata.labels", what)
        if resource.kind == "NetworkPolicy" and resource.namespace == KUBEFLOW:
            what = "a policy in Kubeflow's own namespace may cut off Kubeflow; delete it in this overlay."
            yield Fault(resource, "metadata.namespace", what)


BROWSERS = ("_ORIGINS", "_UI_ENDPOINT")  # ends of keys of addresses that browsers ask, from outside the cluster


def addressed(resources: list[Resource]) -> Iterator[Fault]:
    """Addresses within the cluster lead to a service, and MLflow answers to the names that its clients use."""
    services = {
        (one.namespace, one.name): {port["port"] for port in one.body["spec"]["ports"]}
        for one in resources
        if one.kind == "Service"
    }
    hosts = {host for one in resources for host in config_of(one).get("MLFLOW_SERVER_ALLOWED_HOSTS", "").split(",")}
    for resource in resources:
        for key, value in config_of(resource).items():
            matched = re.fullmatch(r"http://([\w-]+)(?:\.([\w-]+))?:(\d+)", value)
            if matched is None or key.endswith(BROWSERS):
                continue
            name, namespace, port = matched.groups()
            if int(port) not in services.get((namespace or resource.namespace, name), set()):
                there = ", ".join(f"{name}.{namespace}" for namespace, name in services)
                yield Fault(
                    resource, f"data.{key}", f"found {value}, which is no service; there are {there or 'none'}."
                )
            elif key == "MLFLOW_TRACKING_URI" and value.removeprefix("http://") not in hosts:
                what = f"found {value}; MLflow answers to MLFLOW_SERVER_ALLOWED_HOSTS alone, which lacks it."
                yield Fault(resource, f"data.{key}", what)


def config_of(resource: Resource) -> dict[str, str]:
    return resource.body.get("data", {}) if resource.kind == "ConfigMap" else {}


RULES: tuple[Callable[[list[Resource]], Iterator[Fault]], ...] = (
    limited,
    confined,
    pinned,
    one_image,
    without_secrets,
    selecting,
    with_accounts,
    without_sidecars,
    outside_of_profiles,
    addressed,
)
