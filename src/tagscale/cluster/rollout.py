"""Which version of the registry a cluster serves: one is rolled out, and waited for until it alone answers.

The version is the annotation `tagscale.version` of the pods of k8s/components/champion-*, which start `tagscale serve`
with it. So every pod of a rollout serves the same version, whenever it starts. The annotation is set here and is not in
the manifests, so `kubectl apply` leaves it as it is.

KServe makes its Deployment anew from the InferenceService and takes away what else it finds in there (0.15 to 0.20,
reconcilers/deployment/deployment_reconciler.go), a `kubectl rollout restart` as well. Annotations of the predictor
reach the pods (components/predictor.go), so the InferenceService is what is changed. In the mode Knative it makes a
revision of Knative in place of a Deployment (reconcilers/knative/ksvc_reconciler.go).
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tagscale.cluster.api import is_away, message_of, status_of
from tagscale.runtime.errors import TagscaleError

CHAMPION = "tagscale-champion"  # of k8s/components/champion-*
VERSION = "tagscale.version"
BEFORE = "tagscale.version-before"  # what the present version replaced; of the workload itself
BESIDE = "tagscale.version-beside"  # of an InferenceService with a canary: the version that gets the other requests
MODE = "serving.kserve.io/deploymentMode"
ON_KNATIVE = ("Serverless", "Knative")  # the second name since 0.16 (pkg/constants/constants.go)
LABEL = "app.kubernetes.io/name"
POLL_SECONDS = 2.0
LOG_LINES = 5  # of a pod that does not start, in an error
STUCK = ("CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError")


class Away(TagscaleError):
    """The API does not answer at the moment."""


@dataclass(frozen=True)
class Kind:
    """A kind of workload that can serve the champion.

    pods: path of the part that describes its pods; annotations: path of their annotations from there.
    deployment: name of the Deployment with the pods.
    """

    group: str
    version: str
    plural: str
    pods: tuple[str, ...]
    annotations: tuple[str, ...]
    deployment: str


DEPLOYMENT = Kind("apps", "v1", "deployments", ("spec", "template"), ("metadata", "annotations"), CHAMPION)
INFERENCE_SERVICE = Kind(
    "serving.kserve.io",
    "v1beta1",
    "inferenceservices",
    ("spec", "predictor"),
    ("annotations",),
    f"{CHAMPION}-predictor",
)


@dataclass(frozen=True)
class Served:
    """The workload as it is.

    version, before: numbers; None where none was rolled out.
    model: the registered model that its pods serve.
    knative: whether revisions of Knative serve it.
    """

    kind: Kind
    version: str | None
    before: str | None
    model: str | None
    knative: bool = False


class Rollouts:
    """The champion's workload in a namespace.

    Args:
        client: ApiClient of the kubernetes package
        say: prints a line
    Raises (every method):
        TagscaleError: no such workload, or the API refuses.
    """

    def __init__(self, client: Any, namespace: str, say: Callable[[str], None]) -> None:
        from kubernetes.client import CoreV1Api, CustomObjectsApi  # type: ignore[import-untyped]

        self.objects, self.core = CustomObjectsApi(client), CoreV1Api(client)  # the first takes objects of any group
        self.namespace, self.say = namespace, say

    def served(self) -> Served:
        """What the cluster serves, or is about to."""
        for kind in (INFERENCE_SERVICE, DEPLOYMENT):
            body = self.get(kind, CHAMPION)
            if body is not None:
                own = at(body, "metadata", "annotations")
                version = own.get(BESIDE) or at(body, *kind.pods, *kind.annotations).get(VERSION)
                mode = at(body, "status").get("deploymentMode") or own.get(MODE)
                knative = kind is INFERENCE_SERVICE and mode in ON_KNATIVE
                return Served(kind, version, own.get(BEFORE), _model(body, kind), knative)
        raise TagscaleError(
            f"Namespace {self.namespace}: neither an InferenceService nor a Deployment {CHAMPION}. Apply an overlay "
            "that has a component champion-* first (kubectl apply -k k8s/overlays/...), or name another --namespace."
        )

    def roll_out(self, version: str, seconds: float) -> Served:
        """Make the version the one that is served, and wait until no pod serves another; returns what was served.

        Args:
            version: its number
            seconds: how long to wait
        Raises:
            TagscaleError: its pods do not start. The rollout is left as it is, and the pods before it go on.
        """
        present = self.served()
        revision = self.revision() if present.knative and present.version != version else None
        if present.version != version:
            self.patch(present.kind, CHAMPION, of_pods(present.kind, {VERSION: version}), {BEFORE: present.version})
        self.wait(present, version, lambda: self.state(present, version, revision), seconds)
        return present

    def state(self, present: Served, version: str, revision: str | None, percent: int = 100) -> str:
        """What the rollout of a version waits for; "" when it is done.

        Args:
            revision: of Knative, before the rollout; None: the version has one.
            percent: of the requests, which the version is to get.
        """
        if present.knative:
            return _revision_state(self.get(present.kind, CHAMPION) or {}, revision, percent)
        return deployment_state(self.get(DEPLOYMENT, present.kind.deployment), version)

    def revision(self) -> str:
        """The newest revision that Knative has made; "" before the first."""
        return str(_predictor(self.get(INFERENCE_SERVICE, CHAMPION) or {}).get("latestCreatedRevision", ""))

    def wait(
        self, present: Served, version: str, state: Callable[[], str], seconds: float, starting: bool = True
    ) -> None:
        """Ask for the state until it is "".

        Args:
            starting: pods of the version are to start, so that one that does not is an error.
        Raises:
            TagscaleError: as `roll_out`.
        """
        end, before = time.monotonic() + seconds, ""
        while True:
            try:
                reason = state()
                stuck = self._stuck(version) if reason and starting else ""
            except Away as error:
                reason, stuck = str(error), ""
            if not reason:
                return
            if reason != before:
                self.say(f"version {version}: {reason}")
                before = reason
            if stuck or time.monotonic() > end:
                raise TagscaleError(self._failure(present, version, stuck or f"not done in {seconds:.0f} s: {reason}"))
            time.sleep(POLL_SECONDS)

    def _failure(self, present: Served, version: str, reason: str) -> str:
        back = ""
        if present.version not in (None, version):
            back = f" Version {present.version} goes on answering; `tagscale deploy --back` returns to it."
        command = f"kubectl -n {self.namespace} describe pod --selector {LABEL}={CHAMPION}"
        return f"Version {version} is not served: {reason}\nThe rollout is left as it is.{back} For more: {command}"

    def _stuck(self, version: str) -> str:
        """Why a pod of the version does not start, with the last lines that it printed; "" where all may yet start."""
        for pod in self.pods(f"{LABEL}={CHAMPION}"):
            if (pod.metadata.annotations or {}).get(VERSION) != version:
                continue
            for container in pod.status.container_statuses or []:
                waiting = container.state.waiting
                if waiting and waiting.reason in STUCK:
                    lines = [
                        f"pod {pod.metadata.name}: {waiting.reason}: {waiting.message}",
                        *self._log(pod, container),
                    ]
                    return "\n    ".join(lines)
        return ""

    def _log(self, pod: Any, container: Any) -> list[str]:
        """The last lines of a container that ended, where the API gives them."""
        from kubernetes.client import ApiException

        with suppress(ApiException):
            text = self.core.read_namespaced_pod_log(
                pod.metadata.name, self.namespace, container=container.name, previous=True, tail_lines=LOG_LINES,
                _request_timeout=30,
            )  # fmt: skip
            return str(text).splitlines()
        return []

    def pods(self, selector: str) -> list[Any]:
        """The pods that a selector of labels selects."""
        return list(self._ask(self.core.list_namespaced_pod, self.namespace, label_selector=selector).items)

    def patch(self, kind: Kind, name: str, body: dict[str, Any], annotations: dict[str, Any]) -> None:
        """Lay a body, and annotations of its own, over an object; None takes a field away."""
        patch = body | {"metadata": {"annotations": annotations}}
        self._ask(self.objects.patch_namespaced_custom_object, *self._place(kind), name, patch)

    def create(self, kind: Kind, body: dict[str, Any]) -> None:
        """Make an object."""
        self._ask(self.objects.create_namespaced_custom_object, *self._place(kind), body)

    def delete(self, kind: Kind, name: str) -> None:
        """Take an object away, with what it has made."""
        self._ask(self.objects.delete_namespaced_custom_object, *self._place(kind), name)

    def get(self, kind: Kind, name: str) -> dict[str, Any] | None:
        """An object; None where there is none, or no such kind."""
        try:
            state: dict[str, Any] = self._ask(self.objects.get_namespaced_custom_object, *self._place(kind), name)
        except Exception as error:
            if status_of(error) == 404:
                return None
            raise
        return state

    def _place(self, kind: Kind) -> tuple[str, str, str, str]:
        return kind.group, kind.version, self.namespace, kind.plural

    def _ask(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """The answer to a call. Raises `kubernetes.client.ApiException` for 404, TagscaleError for all else."""
        try:
            return call(*arguments, **named, _request_timeout=30)
        except Exception as error:
            status, message = status_of(error), message_of(error)
            if status == 404:
                raise
            if status in (401, 403):
                advice = "Take the context (kubectl config use-context) of a user who may change workloads there."
                raise TagscaleError(f"Kubernetes refuses: {message}. {advice}") from None
            if is_away(error):
                raise Away(f"Kubernetes does not answer ({message})") from None
            raise TagscaleError(f"Kubernetes: {message}") from None


def rollouts(namespace: str, say: Callable[[str], None]) -> Rollouts:
    """Those of the cluster that kubectl talks to. Raises TagscaleError without one."""
    try:
        from kubernetes import client, config  # type: ignore[import-untyped]
    except ImportError:
        raise TagscaleError(
            "The Python package kubernetes is missing; the extra `pipelines` brings it: pip install tagscale[pipelines]"
        ) from None
    try:
        config.load_config()
    except config.ConfigException as error:
        raise TagscaleError(
            f"No Kubernetes cluster is configured ({error}). `kubectl config view` shows yours."
        ) from None
    return Rollouts(client.ApiClient(), namespace, say)


def of_pods(kind: Kind, annotations: dict[str, Any]) -> dict[str, Any]:
    """A body with these annotations of the pods of a workload."""
    body = annotations
    for step in reversed((*kind.pods, *kind.annotations)):
        body = {step: body}
    return body


def deployment_state(deployment: dict[str, Any] | None, version: str) -> str:
    """What a rollout waits for, as `kubectl rollout status` decides it; "" when it is done."""
    if deployment is None:
        return "the Deployment is not made yet"
    spec, status = deployment["spec"], deployment.get("status", {})
    annotations = at(deployment, *DEPLOYMENT.pods, *DEPLOYMENT.annotations)
    if (
        annotations.get(VERSION) != version
        or status.get("observedGeneration", 0) < deployment["metadata"]["generation"]
    ):
        return "the Deployment does not have it yet"
    wanted = spec.get("replicas", 1)
    all_, new, available = (status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas"))
    if new < wanted or available < new:
        return f"{min(available, new)} of {wanted} pods are ready"
    if all_ > new:
        return f"{all_ - new} pods of the version before are ending"
    return ""


def _predictor(service: dict[str, Any]) -> dict[str, Any]:
    return at(service, "status", "components", "predictor")


def _revision_state(service: dict[str, Any], before: str | None, percent: int) -> str:
    """What a rollout on Knative waits for: a revision that is not the one before, its pods, and its requests."""
    status = _predictor(service)
    newest, ready = status.get("latestCreatedRevision"), status.get("latestReadyRevision")
    if newest in (None, before):
        return "Knative does not have it yet"
    if ready != newest:
        return f"revision {newest} is not ready"
    shares = [one.get("percent") or 0 for one in status.get("traffic") or [] if one.get("revisionName") == ready]
    return "" if sum(shares) == percent else f"revision {newest} gets {sum(shares)} % of the requests"


def _model(body: dict[str, Any], kind: Kind) -> str | None:
    """The argument --model of the server's container."""
    pods = at(body, *kind.pods)
    containers = pods.get("containers") or at(pods, "spec").get("containers") or []
    words = [word for one in containers for word in one.get("args") or []]
    return next((word.partition("=")[2] for word in words if word.startswith("--model=")), None)


def at(body: dict[str, Any], *steps: str) -> dict[str, Any]:
    """The part of an object at a path; empty where there is none."""
    for step in steps:
        body = body.get(step) or {}
    return body
