"""The champion as revisions of Knative: what Knative and KServe take of it, and who reaches it."""

import copy
from collections.abc import Iterator
from typing import Any

import yaml
from k8s.policies import Network, Pod, clients_of, policies_of
from k8s.render import Resource, render

from conformance.kit import Installation, Planted, Rule

PATCH = "k8s/components/champion-knative/kustomization.yaml"
POLICY = "k8s/components/champion-knative/network.yaml"
PAGE = "docs/cluster.md"
# PodSpecMask and ContainerMask of pkg/apis/serving/fieldmask.go: every other field is refused. `securityContext` of the
# pod and `fieldRef` need a feature of pkg/apis/config/features.go, which is off at first.
OF_POD = {"serviceAccountName", "containers", "volumes", "imagePullSecrets", "enableServiceLinks"}
OF_POD |= {"automountServiceAccountToken", "securityContext"}
OF_CONTAINER = {"name", "args", "command", "env", "workingDir", "envFrom", "image", "imagePullPolicy", "livenessProbe"}
OF_CONTAINER |= {"ports", "readinessProbe", "resources", "securityContext", "startupProbe", "volumeMounts"}
OF_KSERVE = {"minReplicas", "maxReplicas", "timeout", "labels", "annotations"}  # of the predictor, not of its pods
FEATURES = ("kubernetes.podspec-fieldref", "kubernetes.podspec-securitycontext")
ACTIVATOR = Pod("Knative's activator", "knative-serving", {"app": "activator"})
AUTOSCALER = Pod("Knative's autoscaler", "knative-serving", {"app": "autoscaler"})
PORTS = ((ACTIVATOR, 8012), (ACTIVATOR, 8013), (ACTIVATOR, 8112), (AUTOSCALER, 9090))


def on_knative(installation: Installation) -> list[Resource]:
    """The overlay gpu with the component."""
    folder = installation.folder / "k8s" / "on-knative"
    folder.mkdir(exist_ok=True)
    overlay = {"resources": ["../overlays/gpu"], "components": ["../components/champion-knative"]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return render(folder)


def _taken(installation: Installation) -> Iterator[str]:
    (service,) = [one for one in on_knative(installation) if one.kind == "InferenceService"]
    predictor: dict[str, Any] = copy.deepcopy(service.body["spec"]["predictor"])
    if service.body["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] != "Serverless":
        yield f"{PATCH}: KServe makes a Deployment, which has no canary"
    if "deploymentStrategy" in predictor:
        yield f"{PATCH}: KServe refuses deploymentStrategy in this mode"
    for field in sorted(predictor.keys() - OF_POD - OF_KSERVE - {"deploymentStrategy"}):
        yield f"{PATCH}: Knative refuses {field} of a pod"
    for field in sorted({name for one in predictor["containers"] for name in one} - OF_CONTAINER):
        yield f"{PATCH}: Knative refuses {field} of a container"
    for feature in FEATURES:
        if f'"{feature}":"enabled"' not in installation.text(PAGE):
            yield f"{PAGE}: Knative's feature {feature} is off at first, and nothing switches it on"


def _reached(installation: Installation) -> Iterator[str]:
    resources = on_knative(installation)
    network = Network(policies_of(resources), {})
    (champion,) = [client.pod for client in clients_of(resources) if client.pod.name == "tagscale-champion"]
    for source, port in PORTS:
        yield from network.refusals(source, champion, port)


TAKEN = Rule(
    "Knative takes the champion's pods",
    "Knative Serving 1.23: pkg/apis/serving/fieldmask.go, config/core/configmaps/features.yaml; "
    "KServe 0.20.0: inference_service_validation.go",
    _taken,
)
REACHED = Rule("Knative reaches the champion", "Knative Serving 1.23: pkg/networking/constants.go", _reached)
RULES = [TAKEN, REACHED]


def _planted(fault: str, rule: Rule, file: str, old: str, new: str, message: str) -> Planted:
    return Planted(fault, rule, lambda installation: installation.replace(file, old, new), message)


PLANTED = [
    _planted(
        "a pod that waits before it ends",
        TAKEN,
        PATCH,
        "path: /spec/predictor/containers/0/lifecycle",
        "path: /spec/predictor/maxReplicas",
        "Knative refuses lifecycle of a container",
    ),
    _planted(
        "a mode in which KServe ignores the canary",
        TAKEN,
        PATCH,
        "value: Serverless",
        "value: RawDeployment",
        "KServe makes a Deployment, which has no canary",
    ),
    _planted(
        "a variable from an annotation of the pod, which Knative refuses at first",
        TAKEN,
        PAGE,
        '"kubernetes.podspec-fieldref":"enabled"',
        "",
        "feature kubernetes.podspec-fieldref is off at first",
    ),
    _planted(
        "the champion's own port alone",
        REACHED,
        POLICY,
        "        - {protocol: TCP, port: 8012}\n",
        "",
        "Knative's activator to tagscale-champion, port 8012/TCP: refused at the Ingress",
    ),
]
