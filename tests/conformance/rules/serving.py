"""The served champion: which version its pods serve, how another one comes, how long requests take, whose account."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

from k8s.render import Resource
from k8s.rules import containers

from conformance.kit import Elsewhere, Installation, Planted, Rule
from conformance.kserve import deployment, reconciled
from tagscale.cluster.rollout import VERSION

LITSERVE = "LitServe 0.2.19: litserve/server.py"
KSERVE = "KServe 0.15.2 to 0.20.0: reconcilers/deployment/deployment_reconciler.go"
MANIFESTS = ("k8s/components/champion-kserve/champion.yaml", "k8s/components/champion-deployment/champion.yaml")
OF_THE_POD = f"metadata.annotations['{VERSION}']"
ENDING_SECONDS = 10  # of tagscale.serving.server.app, whose import takes seconds
RESTARTED = "kubectl.kubernetes.io/restartedAt"


def servers(installation: Installation) -> Iterator[tuple[str, Resource, dict[str, Any], dict[str, Any]]]:
    """Overlay, resource, container and pod of everything that serves a model."""
    for overlay in installation.overlays:
        for resource in installation.overlay(overlay):
            for _, container, pod in containers(resource):
                if "serve" in container.get("command", []):
                    yield overlay, resource, container, pod


def option(container: dict[str, Any], name: str) -> str | None:
    """The value of an argument --name=value."""
    words = [word.partition("=") for word in container.get("args", [])]
    return next((value for key, _, value in words if key == f"--{name}"), None)


def _versions(installation: Installation) -> Iterator[str]:
    for overlay, resource, container, _ in servers(installation):
        version = option(container, "version") or str(option(container, "model-uri")).rpartition("/")[2]
        sources = {f"$({one['name']})": one.get("valueFrom", {}) for one in container.get("env", [])}
        field = sources.get(version, {}).get("fieldRef", {}).get("fieldPath")
        if not (version.isdigit() or field == OF_THE_POD):
            what = f"{version} is looked up when a pod starts, so pods serve several versions"
            yield f"{overlay}: {resource.kind} {resource.name}: {what}"


def _apply(installation: Installation) -> Iterator[str]:
    """kubectl writes what a manifest states over what is there, and leaves alone what it does not state."""
    for overlay, resource, _, _ in servers(installation):
        if f'"{VERSION}"' in json.dumps(resource.body).replace(OF_THE_POD, ""):
            yield f"{overlay}: {resource.kind} {resource.name}: kubectl apply puts the version back to the manifest's"


def _restarts(installation: Installation) -> Iterator[str]:
    services = {
        made["metadata"]["name"]: resource.body
        for _, resource, _, _ in servers(installation)
        if resource.kind == "InferenceService" and (made := deployment(resource.body))
    }
    for path in ("docs/cluster.md", "k8s/secrets/README.md", *MANIFESTS):
        for name in re.findall(r"rollout restart deployment/([\w-]+)", installation.text(path)):
            if name not in services:
                continue
            current = deployment(services[name])
            current["spec"]["template"]["metadata"]["annotations"][RESTARTED] = "now"
            after = reconciled(copy.deepcopy(current), services[name])
            if RESTARTED not in after["spec"]["template"]["metadata"]["annotations"]:
                yield f"{path}: `rollout restart deployment/{name}`: KServe takes the annotation away"
        if re.search(r"delete pod\S* .*tagscale-champion", installation.text(path)):
            yield f"{path}: deletes the champion's pods, so nobody answers until others have started"


def _reaches(installation: Installation) -> Iterator[str]:
    """What `tagscale deploy` sets reaches the pods, and stays."""
    for overlay, resource, _, _ in servers(installation):
        if resource.kind == "InferenceService":
            service = copy.deepcopy(resource.body)
            before = deployment(service)
            service["spec"]["predictor"].setdefault("annotations", {})[VERSION] = "4"
            after = reconciled(reconciled(before, service), service)
            if after["spec"]["template"]["metadata"]["annotations"].get(VERSION) != "4" or after == before:
                yield f"{overlay}: the version does not reach the pods of the InferenceService"
            rolling = after["spec"]["strategy"].get("rollingUpdate", {})
        else:
            rolling = resource.body["spec"]["strategy"].get("rollingUpdate", {})
        if rolling.get("maxUnavailable") != 0:
            yield f"{overlay}: {resource.kind} {resource.name}: pods end before those of the new version are ready"


def _times(installation: Installation) -> Iterator[str]:
    for overlay, resource, container, pod in servers(installation):
        place, limit = f"{overlay}: {resource.kind} {resource.name}", option(container, "timeout")
        if limit is None:
            yield f"{place}: no --timeout, so those in front cannot be held against it"
            continue
        (*_, waits) = container["lifecycle"]["preStop"]["exec"]["command"]
        if pod.get("terminationGracePeriodSeconds", 30) < int(waits) + int(limit) + ENDING_SECONDS:
            yield f"{place}: a pod that ends is killed before a request of {limit} s is answered"
        if resource.kind == "InferenceService" and resource.body["spec"]["predictor"].get("timeout", 0) <= int(limit):
            yield f"{place}: the route gives up before the server, which answers after {limit} s at the latest"


def _probes(installation: Installation) -> Iterator[str]:
    for overlay, resource, container, _ in servers(installation):
        paths = {
            name: container.get(f"{name}Probe", {}).get("httpGet", {}).get("path")
            for name in ("readiness", "liveness", "startup")
        }
        place = f"{overlay}: {resource.kind} {resource.name}"
        if paths["readiness"] != "/readyz":
            yield f"{place}: requests are sent to a full pod, since {paths['readiness']} is green while it is full"
        if paths["liveness"] != "/healthz":
            yield f"{place}: a full pod is killed, since {paths['liveness']} says whether there is room"
        if paths["startup"] != "/readyz":
            yield f"{place}: a pod gets requests before its model is loaded, since {paths['startup']} is green at once"


def _accounts(installation: Installation) -> Iterator[str]:
    tasks = {name for _, platform in installation.pipelines.values() for name in _secrets(platform)}
    for overlay, resource, container, _ in servers(installation):
        others = [
            one for one in installation.overlay(overlay) if one.namespace == resource.namespace and one is not resource
        ]
        others += [one for one in installation.overlay(overlay) if one.kind == "ClusterTrainingRuntime"]
        taken = tasks | {name for one in others for _, box, _ in containers(one) for name in _secrets(box)}
        for name in sorted(_secrets(container) & taken):
            what = f"{name} is the account of other pods, too, and of what they own"
            yield f"{overlay}: {resource.kind} {resource.name}: {what}"


def _secrets(part: Any) -> set[str]:
    """Names of the secrets that a container, or the platform's part of a pipeline, takes variables from."""
    if isinstance(part, list):
        return {name for one in part for name in _secrets(one)}
    if not isinstance(part, dict):
        return set()
    named = {part[key]["name"] for key in ("secretRef", "secretKeyRef") if key in part}
    own = {part["secretName"]} if isinstance(part.get("secretName"), str) else set()
    return named | own | {name for one in part.values() for name in _secrets(one)}


def _in_both(old: str, new: str) -> Any:
    def plant(installation: Installation) -> None:
        for path in MANIFESTS:
            installation.replace(path, old, new)

    return plant


def _in_kserve(old: str, new: str) -> Any:
    return lambda installation: installation.replace(MANIFESTS[0], old, new)


def _ready_while_full(installation: Installation) -> None:
    for path in MANIFESTS:
        (probe,) = re.findall(r"readinessProbe:.*\n.*\n", installation.text(path))
        installation.replace(path, probe, probe.replace("/readyz", "/healthz"))


VERSIONS = Rule(
    "all pods of a rollout serve one version",
    "MLflow 3.17.2: mlflow/pyfunc/backend.py (an alias is resolved once, at the start)",
    _versions,
)
APPLY = Rule("kubectl apply leaves the version alone", "kubectl: three-way merge of annotations", _apply)
RESTARTS = Rule("no command that KServe undoes", KSERVE, _restarts)
REACHES = Rule(
    "a version that is rolled out reaches the pods", "KServe 0.15.2 to 0.20.0: components/predictor.go", _reaches
)
TIMES = Rule(
    "the server answers before those who wait give up",
    f"{LITSERVE} (timeout); KServe: ingress/httproute_reconciler.go",
    _times,
)
PROBES = Rule("a full pod gets no requests, and lives", LITSERVE, _probes)
ACCOUNTS = Rule("the champion's account is its own", "MLflow 3.17.2: mlflow/server/auth/__init__.py", _accounts)
RULES = [VERSIONS, APPLY, RESTARTS, REACHES, TIMES, PROBES, ACCOUNTS]
PLANTED = [
    Planted(
        "pods serve whoever is champion when they start",
        VERSIONS,
        _in_both("--version=$(CHAMPION_VERSION)", "--version=champion"),
        "champion is looked up when a pod starts",
    ),
    Planted(
        "MLflow's own server, of an alias",
        VERSIONS,
        _in_kserve("--version=$(CHAMPION_VERSION)", "--model-uri=models:/tagscale-tagger@champion"),
        "tagscale-tagger@champion is looked up",
    ),
    Planted(
        "the version comes from a ConfigMap, which older pods read, too",
        VERSIONS,
        _in_both(
            f'fieldRef: {{fieldPath: "{OF_THE_POD}"}}',
            "configMapKeyRef: {name: tagscale-config, key: MLFLOW_TRACKING_URI}",
        ),
        "$(CHAMPION_VERSION) is looked up",
    ),
    Planted(
        "a version in the manifest",
        APPLY,
        _in_kserve("    annotations:\n      sidecar", f'    annotations:\n      {VERSION}: "1"\n      sidecar'),
        "kubectl apply puts the version back",
    ),
    Planted(
        "docs restart the Deployment that KServe makes",
        RESTARTS,
        lambda installation: installation.replace(
            "docs/cluster.md",
            "\ntagscale deploy\n",
            "\nkubectl -n tagscale rollout restart deployment/tagscale-champion-predictor\n",
        ),
        "KServe takes the annotation away",
    ),
    Planted(
        "docs delete the champion's pods",
        RESTARTS,
        lambda installation: installation.replace(
            "docs/cluster.md",
            "\ntagscale deploy\n",
            "\nkubectl -n tagscale delete pod --selector app.kubernetes.io/name=tagscale-champion\n",
        ),
        "deletes the champion's pods",
    ),
    Planted(
        "the only pod ends before the next is ready",
        REACHES,
        _in_both("maxUnavailable: 0", "maxUnavailable: 1"),
        "pods end before those of the new version are ready",
    ),
    Planted(
        "no timeout is set",
        TIMES,
        _in_both("- --timeout=300", "- --recordings=8"),
        "those in front cannot be held against it",
    ),
    Planted(
        "the route waits for 120 s",
        TIMES,
        _in_kserve("timeout: 330", "timeout: 120"),
        "the route gives up before the server",
    ),
    Planted(
        "a pod that ends has the time of a request alone",
        TIMES,
        _in_both("terminationGracePeriodSeconds: 330", "terminationGracePeriodSeconds: 300"),
        "is killed before a request of 300 s is answered",
    ),
    Planted(
        "readiness asks whether the server lives",
        PROBES,
        _ready_while_full,
        "to a full pod",
    ),
    Planted(
        "the start asks whether the server lives",
        PROBES,
        _in_both("path: /readyz", "path: /healthz"),
        "before its model is loaded",
    ),
    Planted(
        "the champion logs in as the tasks do",
        ACCOUNTS,
        _in_both("name: tagscale-mlflow-reader", "name: tagscale-mlflow-client"),
        "tagscale-mlflow-client is the account of other pods",
    ),
]
ELSEWHERE = [
    Elsewhere(
        "SIGTERM ends the process that started the others, and theirs answer nobody",
        f"{LITSERVE} (run, _perform_graceful_shutdown)",
        "tests/serving/test_server.py::test_sigterm_lets_requests_end_and_refuses_new_ones",
    ),
    Elsewhere(
        "every request is admitted",
        f"{LITSERVE} (RegularRequestHandler)",
        "tests/serving/test_server.py::test_a_full_server_refuses_at_once_and_says_that_it_is_not_ready",
    ),
    Elsewhere(
        "a request in a process that died is answered never",
        f"{LITSERVE} (_start_worker_monitoring)",
        "tests/serving/test_server.py::test_requests_outlive_the_process_of_the_models",
    ),
    Elsewhere(
        "routes of its own, which take what a process of models is asked from anybody",
        f"{LITSERVE} (_register_api_endpoints)",
        "tests/serving/test_server.py::test_other_protocols_refuse_in_the_same_form",
    ),
    Elsewhere(
        "an idle server looks at its queue a thousand times a second, or without a pause",
        "LitServe 0.2.19: litserve/loops/base.py (collate_requests)",
        "tests/serving/test_server_loop.py::test_an_idle_loop_sleeps_and_a_batch_is_what_waits",
    ),
    Elsewhere(
        "the champion's user changes the registry",
        "MLflow 3.17.2: mlflow/server/auth/__init__.py",
        "tests/servers/test_servers.py::test_the_champion_is_served_by_a_user_who_changes_nothing",
    ),
]
