"""The profile: Kubeflow alone makes and labels its namespace."""

from collections.abc import Callable, Iterator

from k8s.render import Resource, read
from k8s.rules import KUBEFLOW, tasks_namespace

from conformance.kit import Installation, Planted, Rule
from conformance.profiles import PAGE, PROFILE_LABELS, installed

CONTROLLER = "kubeflow/dashboard d842464: components/profile-controller/controllers/profile_controller.go"
LABELS = "Kubeflow manifests v1.11.0: applications/profiles/pss/namespace-labels.yaml, common/networkpolicies/base"
WAY = "kubectl apply -f k8s/namespaces\n"
WAIT = "kubectl wait --for=create --timeout=2m namespace/tagscale\n"
NAMESPACE = "\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: tagscale\n"


def profiles(installation: Installation) -> list[Resource]:
    return [one for one in read(installation.folder / "k8s" / "namespaces") if one.kind == "Profile"]


def _made_by_kubeflow(installation: Installation) -> Iterator[str]:
    names = [one.name for one in profiles(installation)]
    for overlay in installation.overlays:
        place = tasks_namespace(installation.overlay(overlay))
        if place != KUBEFLOW and names != [str(place)]:
            yield f"{overlay}: pipelines run in {place}, and the profiles are {', '.join(names) or 'none'}"
    cluster = installed(installation)
    yield from cluster.complaints
    for name in names:
        labels = cluster.namespaces.get(name, {})
        for key, value in (PROFILE_LABELS | {"istio-injection": "enabled"}).items():
            if labels.get(key) != value:
                yield f"{PAGE}: namespace {name} ends with {key}={labels.get(key)}, expected {value}"


def _unlabelled(installation: Installation) -> Iterator[str]:
    rendered = [(name, one) for name in installation.overlays for one in installation.overlay(name)]
    rendered += [("namespaces", one) for one in read(installation.folder / "k8s" / "namespaces")]
    for place, resource in rendered:
        keys = PROFILE_LABELS.keys() & resource.body["metadata"].get("labels", {}).keys()
        if resource.kind == "Namespace" and place != "namespaces":
            yield f"{place}: Namespace {resource.name} is part of the overlay, whose labels it gets"
        elif resource.kind == "Namespace" and keys - {"pod-security.kubernetes.io/enforce"}:
            yield f"{place}: Namespace {resource.name} has {', '.join(sorted(keys))}, which Kubeflow sets"


def _stand_alone(installation: Installation) -> Iterator[str]:
    for overlay in installation.overlays:
        for resource in installation.overlay(overlay):
            if resource.kind == "Namespace" and resource.name == KUBEFLOW:
                yield f"{overlay}: relabels Namespace {KUBEFLOW}"
            in_kubeflow = resource.kind == "NetworkPolicy" and resource.namespace == KUBEFLOW
            if in_kubeflow and not resource.body["spec"].get("podSelector"):
                yield f"{overlay}: {resource.name} selects all of Kubeflow's own pods"


def _in_tasks(installation: Installation) -> None:
    installation.replace("k8s/tasks/config.yaml", "  AWS_DEFAULT_REGION: us-east-1\n", f"  A: b\n{NAMESPACE}")


def _in_docs(old: str, new: str) -> Callable[[Installation], None]:
    return lambda installation: installation.replace(PAGE, old, new)


MADE = Rule("Kubeflow makes the namespace of the profile", CONTROLLER, _made_by_kubeflow)
UNLABELLED = Rule("no namespace of Kubeflow's is labelled", LABELS, _unlabelled)
STAND_ALONE = Rule(
    "a stand-alone Kubeflow is neither labelled nor cut off",
    "Kustomize 5: the transformer of `namespace` renames a Namespace; Kubernetes 1.34: NetworkPolicy",
    _stand_alone,
)
RULES = [MADE, UNLABELLED, STAND_ALONE]
PLANTED = [
    Planted("a Namespace among the manifests", UNLABELLED, _in_tasks, "Namespace tagscale is part of the overlay"),
    Planted(
        "the overlay's labels reach the profile's namespace",
        MADE,
        _in_tasks,
        "namespace tagscale ends with app.kubernetes.io/part-of=tagscale, expected kubeflow-profile",
    ),
    Planted(
        "the namespace is made by hand",
        MADE,
        _in_docs(WAY, f"kubectl create namespace tagscale\n{WAY}"),
        "namespace already exist, but not owned by profile creator",
    ),
    Planted(
        "no Profile is applied",
        MADE,
        _in_docs(WAY, f"kubectl create namespace tagscale\n{WAY.strip()}/servers.yaml\n"),
        "configmap/kfp-launcher` waits for ever",
    ),
    Planted("nothing waits for the namespace", MADE, _in_docs(WAIT, ""), "nothing waited until Kubeflow had made"),
    Planted(
        "a stand-alone overlay with a Namespace",
        STAND_ALONE,
        _in_tasks,
        "standalone: relabels Namespace kubeflow",
    ),
    Planted(
        "a stand-alone overlay with the default deny",
        STAND_ALONE,
        lambda installation: installation.replace(
            "k8s/overlays/standalone/tasks/kustomization.yaml", "      $patch: delete\n", ""
        ),
        "tagscale-default-deny selects all of Kubeflow's own pods",
    ),
]
