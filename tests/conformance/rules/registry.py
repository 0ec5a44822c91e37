"""Pull secrets: a pod has those of its account, and of no other."""

from collections.abc import Iterator

from k8s.rules import TASKS_ACCOUNT, pods, pods_namespace

from conformance.kit import Installation, Planted, Rule

SECRET = "tagscale-registry"


def _pulled(installation: Installation) -> Iterator[str]:
    for overlay in installation.overlays:
        resources = installation.overlay(overlay)
        accounts = {
            (one.namespace, one.name): [secret["name"] for secret in one.body.get("imagePullSecrets", [])]
            for one in resources
            if one.kind == "ServiceAccount"
        }
        if not any(SECRET in secrets for secrets in accounts.values()):
            continue  # the nodes have rights of their own
        users = [
            (resource.name, (pods_namespace(resource, resources), pod.get("serviceAccountName", "default")))
            for resource in resources
            for _, pod in pods(resource)
        ]
        users += [("a task", key) for key in accounts if key[1] == TASKS_ACCOUNT]
        for name, account in users:
            if SECRET not in accounts.get(account, []):
                yield f"{overlay}: {name} runs under the account {account[1]}, which has no pull secret"


PULLED = Rule(
    "every pod's account has the pull secret",
    "Kubernetes 1.34: plugin/pkg/admission/serviceaccount",
    _pulled,
)
RULES = [PULLED]
LAST = "  - ../../components/registry\n"


def _too_early(installation: Installation) -> None:
    file = "k8s/overlays/gpu/kustomization.yaml"
    installation.replace(file, LAST, "")
    installation.replace(file, "components:\n", f"components:\n{LAST}")


PLANTED = [
    Planted(
        "a pod without an account of ours",
        PULLED,
        lambda installation: installation.replace(
            "k8s/tasks/volume-shell.yaml", "          serviceAccountName: tagscale-volume-shell\n", ""
        ),
        "tagscale-volume-shell runs under the account default, which has no pull secret",
    ),
    Planted(
        "the component registry before others",
        PULLED,
        _too_early,
        "gpu: tagscale-postgres runs under the account tagscale-postgres, which has no pull secret",
    ),
]
