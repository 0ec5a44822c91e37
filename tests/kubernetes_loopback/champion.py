"""A Kubernetes API on this machine with the champion's workload, and what the controllers make of it.

The workload is that of k8s/components/champion-*. For an InferenceService, KServe's reconciler makes the Deployment:
its pods have the annotations of the InferenceService and of its predictor (0.15 to 0.20, components/predictor.go), and
all else in their template is put back to that (reconcilers/deployment/deployment_reconciler.go). Each question about
the Deployment then finds the rollout one step further. In the mode Knative, each change of the predictor but for
canaryTrafficPercent makes a revision, and the requests are split as reconcilers/knative/ksvc_reconciler.go and
inference_service_status.go (PropagateStatus) do it. A Deployment may have another one beside it, for a canary.
"""

import copy
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml

from kubernetes_loopback.http import Fault, Server, answering

COMPONENTS = Path(__file__).parents[2] / "k8s" / "components"
NAME, NAMESPACE, LABEL = "tagscale-champion", "tagscale", "app.kubernetes.io/name"
CANARY, OF_CANARY = f"{NAME}-canary", f"{LABEL}={NAME},tagscale.track=canary"
PLURALS = {"deployments": "apps/v1", "inferenceservices": "serving.kserve.io/v1beta1"}
VERSION, MODE = "tagscale.version", "serving.kserve.io/deploymentMode"


def manifest(component: str, kind: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((COMPONENTS / component / "champion.yaml").read_text())
    found: dict[str, Any] = next(one for one in documents if one["kind"] == kind)
    found["metadata"] |= {"namespace": NAMESPACE, "generation": 1}
    return found


def merged(body: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(body) if isinstance(body, dict) else {}
    for key, value in patch.items():
        result[key] = merged(result.get(key), value)
    return {key: value for key, value in result.items() if value is not None}


class ChampionCluster(Server):
    """State and behaviour of the server.

    Attributes:
        objects: by plural and name.
        stuck: version -> reason and message for which its pods do not start.
        log: what such a pod printed.
        steps: how many questions find the rollout under way.
        away_for: how many of the next requests get no answer.
        forbidden: whether the user may change nothing.
        patches: the patches that were taken.
        pods: version -> how many pods of the workload serve it.
        canary_pods: how many of the Deployment beside it are there.
        traffic: of Knative, version -> percent of the requests.
        worst: of Knative, the most that a version got of the requests at any time.
    """

    def __init__(self, kserve: bool, replicas: int = 1, knative: bool = False) -> None:
        super().__init__()
        kind, component = ("InferenceService", "champion-kserve") if kserve else ("Deployment", "champion-deployment")
        self.kserve = kserve
        self.plural = "inferenceservices" if kserve else "deployments"
        self.objects = {(self.plural, NAME): manifest(component, kind)}
        self.deployment = f"{NAME}-predictor" if kserve else NAME
        self.replicas = replicas
        self.stuck: dict[str, tuple[str, str]] = {}
        self.log = ["error: something is wrong with it"]
        self.pods: dict[str, int] = {}
        self.canary_pods = 0
        self.steps, self.step, self.canary_step, self.away_for, self.forbidden = 2, 0, 0, 0, False
        self.knative = knative
        self.revisions: list[str] = []  # the version of each
        self.rolled_out = 0  # number of the last revision that got all requests
        self.traffic: dict[str, int] = {}
        self.worst: dict[str, int] = {}
        if knative:
            self.objects[self.plural, NAME]["metadata"]["annotations"][MODE] = "Serverless"
        self.patches: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self._reconcile()

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        parts = path.strip("/").split("/")
        with self.lock:
            if parts[:2] == ["api", "v1"] and parts[2:5] == ["namespaces", NAMESPACE, "pods"]:
                return self._log(parts, query) if len(parts) > 5 else self._listed(query)
            if method == "POST" and path == f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments" and not self.kserve:
                return self._created(body)
            if parts[:1] != ["apis"] or len(parts) != 7 or PLURALS.get(parts[5]) != "/".join(parts[1:3]):
                self.faults.append(f"{method} {path}: no such call")
                raise Fault(404, "NotFound", "the server could not find the requested resource")
            place = parts[5], parts[6]
            if parts[4] != NAMESPACE or place not in self.objects:
                raise Fault(404, "NotFound", f'{parts[5]} "{parts[6]}" not found')
            if method == "PATCH":
                return self._patch(place, body)
            if method == "DELETE":
                return self.objects.pop(place)
            if place == ("deployments", CANARY):
                self._advance_canary()
            elif place == ("deployments", self.deployment):
                self._advance()
            elif self.knative:
                self._advance_revision()
            return self.objects[place]

    def _patch(self, place: tuple[str, str], body: dict[str, Any]) -> dict[str, Any]:
        if self.forbidden:
            raise Fault(403, "Forbidden", f'{place[0]} "{NAME}" is forbidden: User "mallory" cannot patch it')
        before = self.objects[place]
        after = merged(before, body)
        if after["spec"] != before["spec"]:
            after["metadata"]["generation"] += 1
            self.step, self.canary_step = (self.step, 0) if place[1] == CANARY else (0, self.canary_step)
        self.objects[place] = after
        self.patches.append(body)
        self._reconcile()
        return after

    def _reconcile(self) -> None:
        """KServe: the Deployment as the InferenceService has it, whatever somebody wrote into it."""
        if self.knative:
            predictor = self.objects["inferenceservices", NAME]["spec"]["predictor"]
            if (version := predictor.get("annotations", {}).get(VERSION, "")) != ["", *self.revisions][-1]:
                self.revisions.append(version)
        elif self.kserve:
            service = self.objects["inferenceservices", NAME]
            predictor = copy.deepcopy(service["spec"]["predictor"])
            annotations = service["metadata"].get("annotations", {}) | predictor.pop("annotations", {})
            metadata = {"labels": predictor.pop("labels"), "annotations": annotations}
            spec = {"replicas": self.replicas, "template": {"metadata": metadata, "spec": predictor}}
            present = self.objects.get(("deployments", self.deployment), {"metadata": {"generation": 0}})
            if present.get("spec") != spec:
                present = present | {"spec": spec, "metadata": {"generation": present["metadata"]["generation"] + 1}}
            self.objects["deployments", self.deployment] = present
        else:
            self.objects["deployments", NAME]["spec"]["replicas"] = self.replicas

    def version(self) -> str:
        """What the pods' template says."""
        template = self.objects["deployments", self.deployment]["spec"]["template"]
        return str(template["metadata"].get("annotations", {}).get(VERSION, ""))

    def _starting(self) -> str:
        """The version whose pods are there by now, or would be."""
        if canary := self.objects.get(("deployments", CANARY)):
            return str(canary["spec"]["template"]["metadata"]["annotations"][VERSION])
        version = self.revisions[-1] if self.knative and self.revisions else "" if self.knative else self.version()
        return version if self.step > self.steps else ""

    def _advance(self) -> None:
        """The Deployment's controller: new pods beside the old ones, then instead of them."""
        deployment, version = self.objects["deployments", self.deployment], self.version()
        self.step += 1
        if not version or self.step == 1:
            return  # the controller has not seen it
        starts, is_done = version not in self.stuck, self.step > self.steps + 1
        if is_done and starts:
            self.pods = {version: self.replicas}
        old = sum(count for one, count in self.pods.items() if one != version)
        status = {
            "updatedReplicas": self.replicas if is_done else 1,
            "replicas": old + (self.replicas if is_done else 1),
        }
        status["availableReplicas"] = old + (self.replicas if is_done and starts else 0)
        deployment["status"] = status | {"observedGeneration": deployment["metadata"]["generation"]}

    def _created(self, body: dict[str, Any]) -> dict[str, Any]:
        """Another Deployment, whose pods the Service of the first must select, and whose selector them alone."""
        labels, selector = body["spec"]["template"]["metadata"]["labels"], body["spec"]["selector"]["matchLabels"]
        of_first = self.objects["deployments", NAME]["spec"]["template"]["metadata"]["labels"]
        if not (labels.items() >= of_first.items() and labels.items() >= selector.items() and selector != of_first):
            self.faults.append(f"a Deployment beside the first with labels {labels} and selector {selector}")
        body["metadata"] |= {"generation": 1, "namespace": NAMESPACE}
        self.objects["deployments", body["metadata"]["name"]] = body
        self.canary_step = 0
        return body

    def _advance_canary(self) -> None:
        body = self.objects["deployments", CANARY]
        self.canary_step += 1
        version = body["spec"]["template"]["metadata"]["annotations"][VERSION]
        if self.canary_step > self.steps:
            self.canary_pods = body["spec"]["replicas"]
            counts = {"replicas": self.canary_pods, "updatedReplicas": self.canary_pods}
            counts["availableReplicas"] = 0 if version in self.stuck else self.canary_pods
            body["status"] = counts | {"observedGeneration": body["metadata"]["generation"]}

    def _advance_revision(self) -> None:
        """Knative and KServe: the newest revision gets ready, and the requests are split."""
        service = self.objects["inferenceservices", NAME]
        self.step += 1
        if not self.revisions or self.step == 1:
            return
        newest = len(self.revisions)
        starts = self.step > self.steps and self.revisions[-1] not in self.stuck
        status = service.setdefault("status", {"deploymentMode": "Serverless"}).setdefault("components", {})
        predictor = status.setdefault("predictor", {})
        ready = newest if starts else int(predictor.get("latestReadyRevision", "0"))
        predictor |= {"latestCreatedRevision": str(newest), "latestReadyRevision": str(ready)}
        percent = service["spec"]["predictor"].get("canaryTrafficPercent")
        shares = {ready: 100}
        if percent is not None and self.rolled_out:
            shares = {ready: percent}
            shares[self.rolled_out] = shares.get(self.rolled_out, 0) + 100 - percent
        if shares.get(ready) == 100:
            self.rolled_out = ready
        predictor["traffic"] = [{"revisionName": str(name), "percent": share} for name, share in shares.items()]
        self.traffic = {}
        for name, share in shares.items():
            version = self.revisions[name - 1] if name else ""
            self.traffic[version] = self.traffic.get(version, 0) + share
        self.worst |= {name: max(share, self.worst.get(name, 0)) for name, share in self.traffic.items()}

    def _listed(self, query: dict[str, str]) -> dict[str, Any]:
        if query.get("labelSelector") == OF_CANARY:
            self.canary_pods = max(0, self.canary_pods - (("deployments", CANARY) not in self.objects))
            items = [{"metadata": {"name": f"{CANARY}-{number}"}} for number in range(self.canary_pods)]
            return {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}
        if query.get("labelSelector") != f"{LABEL}={NAME}":
            self.faults.append(f"pods are asked for by {query}")
        items = []
        if (version := self._starting()) in self.stuck:
            reason, message = self.stuck[version]
            state = {"waiting": {"reason": reason, "message": message}}
            container = {
                "name": "champion",
                "ready": False,
                "restartCount": 3,
                "image": "",
                "imageID": "",
                "state": state,
            }
            metadata = {"name": f"{NAME}-7d9f-x2k4p", "annotations": {VERSION: version}}
            items.append({"metadata": metadata, "status": {"containerStatuses": [container]}})
        return {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}

    def _log(self, parts: list[str], query: dict[str, str]) -> str:
        if parts[6:] != ["log"] or query.get("previous") != "True":
            self.faults.append(f"log is asked for by {parts}, {query}")
        return "\n".join(self.log)


def champion_cluster(kserve: bool, replicas: int = 1, knative: bool = False) -> AbstractContextManager[ChampionCluster]:
    """A server in a thread, until the block ends, see `answering`."""
    return answering(ChampionCluster(kserve, replicas, knative))
