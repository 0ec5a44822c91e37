"""A Kubernetes API server on this machine with Kubeflow Trainer's kinds: the calls that tagscale makes, and strict.

It keeps TrainJobs and their pods, decides by the roles of k8s/tasks/pipeline-account.yaml who may do what, and refuses
TrainJobs with anything that the kind's schema does not have. What becomes of a job, tests say.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml
from k8s.render import Resource
from k8s.strict import schema_faults

from kubernetes_loopback.http import Dropped, Fault, Log, Server, answering
from kubernetes_loopback.pruning import pruned, trainjob_schema
from kubernetes_loopback.rights import Right, allowing, granted

NOW = "2026-01-02T03:04:05Z"
NAMESPACE = "tagscale"
RUNTIME = Path(__file__).parents[2] / "k8s" / "components" / "training-runtime" / "training-runtime.yaml"
TRAINER = "trainer.kubeflow.org"
ACCOUNT = "system:serviceaccount:tagscale:tagscale-pipeline"
PATHS = (
    re.compile(rf"/apis/(?P<group>{TRAINER})/v1alpha1/namespaces/{NAMESPACE}/(?P<kind>\w+)(?:/(?P<name>[\w.-]+))?"),
    re.compile(rf"/apis/(?P<group>{TRAINER})/v1alpha1/(?P<kind>clustertrainingruntimes)/(?P<name>[\w.-]+)"),
    re.compile(rf"/api/v1/(?P<group>)namespaces/{NAMESPACE}/(?P<kind>pods)(?:/(?P<name>[\w.-]+)/(?P<sub>log))?"),
)
PUBLIC = "/api/v1/namespaces/kubeflow-system/configmaps/kubeflow-trainer-public"  # anybody's: Trainer says its version
VERBS = {"POST": "create", "DELETE": "delete"}
DISRUPTED = {"Evicted": "TerminationByKubelet", "Drained": "EvictionByEvictionAPI"}  # phases of lost pods, for a Step
Step = tuple[str, ...] | str  # phases of the pods, or the end: "Complete", "Failed: why"


class Cluster(Server):
    """State and behaviour of the server.

    Attributes:
        course: what one question after another about a job finds.
        prints: what the pods print, a list of lines for each.
        at_end: called with a job when it ends well; does what its pods should have done.
        away_for: how many of the next requests get no answer.
        away_after_create: the same, from when a job was created on, which gets no answer either.
        rights: what the account may do.
        used: the rights that requests needed.
        created, deleted: names of jobs.
        lingers: how often pods of a deleted job are still seen.
        trainer: the version of Kubeflow Trainer, where it is an older one; it drops what it does not know.
    """

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.pods: dict[str, list[dict[str, Any]]] = {}
        self.steps: dict[str, Iterator[Step]] = {}
        self.course: list[Step] = [("Pending", "Pending"), ("Running", "Running"), "Complete"]
        self.prints: list[list[str]] = [["hello from the first"], ["hello from the second"]]
        self.at_end: Callable[[dict[str, Any]], None] = lambda job: None
        self.runtime: dict[str, Any] | None = yaml.safe_load(RUNTIME.read_text())
        self.rights, self.used = granted(), set[Right]()
        self.created: list[str] = []
        self.deleted: list[str] = []
        self.away_for = 0
        self.away_after_create = 0
        self.lingers = 0
        self.trainer: str | None = None
        self.lock = threading.RLock()

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        if path == PUBLIC:
            return {"apiVersion": "v1", "kind": "ConfigMap", "data": {"kubeflow_trainer_version": "v2.2.0"}}
        found = next((match for pattern in PATHS if (match := pattern.fullmatch(path))), None)
        if found is None:
            self.faults.append(f"{method} {path}: no such call")
            raise Fault(404, "NotFound", "the server could not find the requested resource")
        asked = {"sub": "", **found.groupdict(default="")}
        group, kind, name = asked["group"], asked["kind"], asked["name"]
        resource = f"{kind}/{asked['sub']}" if asked["sub"] else kind
        self._check_rights(VERBS.get(method, "get" if name else "list"), group, resource, name)
        function = getattr(self, f"{method.lower()}_{resource.replace('/', '_')}", None)
        if function is None:
            self.faults.append(f"{method} {path}: not known to this server")
            raise Fault(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        with self.lock:
            return function(name=name, query=query, body=body)

    def _check_rights(self, verb: str, group: str, resource: str, name: str) -> None:
        right = allowing(self.rights, verb, group, resource, name)
        if right is None:
            what = f"{resource}.{group}" if group else resource
            named = f' "{name}"' if name else ""
            raise Fault(
                403,
                "Forbidden",
                f'{what}{named} is forbidden: User "{ACCOUNT}" cannot {verb} resource "{resource}" in API group '
                f'"{group}" in the namespace "{NAMESPACE}"',
            )
        self.used.add(right)

    # The calls.

    def get_trainingruntimes(self, name: str, **_: Any) -> Any:
        raise Fault(404, "NotFound", f'trainingruntimes.{TRAINER} "{name}" not found')

    def get_clustertrainingruntimes(self, name: str, **_: Any) -> Any:
        if self.runtime is None or name != self.runtime["metadata"]["name"]:
            raise Fault(404, "NotFound", f'clustertrainingruntimes.{TRAINER} "{name}" not found')
        return self.runtime

    def post_trainjobs(self, body: dict[str, Any], **_: Any) -> Any:
        name = body["metadata"]["name"]
        if self.trainer is not None:
            body = pruned(body, trainjob_schema(self.trainer))
        elif faults := [f"{one.field}: {one.what}" for one in schema_faults(Resource("posted", body))]:
            self.faults += faults
            raise Fault(400, "BadRequest", "; ".join(faults))
        self._check_admission(name, body)
        if name in self.jobs:
            raise Fault(409, "AlreadyExists", f'trainjobs.{TRAINER} "{name}" already exists')
        self.add(body)
        self.created.append(name)
        if self.away_after_create:
            self.away_for = self.away_after_create
            raise Dropped
        return self.jobs[name]

    def get_trainjobs(self, name: str, **_: Any) -> Any:
        job = self._job(name)
        self._advance(job)
        return job

    def delete_trainjobs(self, name: str, **_: Any) -> Any:
        self._job(name)
        del self.jobs[name]
        self.deleted.append(name)
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def get_pods(self, query: dict[str, str], **_: Any) -> Any:
        if named := re.fullmatch(r"metadata\.name=([\w.-]+)", query.get("fieldSelector", "")):
            pods = [pod for pods in self.pods.values() for pod in pods if pod["metadata"]["name"] == named[1]]
            return {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods}
        selector = query.get("labelSelector", "")
        wanted = re.search(r"jobset\.sigs\.k8s\.io/jobset-name=([\w.-]+)", selector)
        if wanted is None or not re.fullmatch(r"[^,]+(,jobset\.sigs\.k8s\.io/replicatedjob-name in \(.*\))?", selector):
            self.faults.append(f"pods are asked for by {selector!r}, not by their job")
            raise Fault(400, "BadRequest", "unable to parse the selector")
        job = wanted[1]
        if job not in self.jobs:
            self.lingers -= 1
            if self.lingers < 0:
                self.pods.pop(job, None)
        return {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": self.pods.get(job, [])}

    def get_pods_log(self, name: str, query: dict[str, str], **_: Any) -> Any:
        if unknown := set(query) - {"container", "follow"}:
            self.faults.append(f"log of {name}: unknown query parameters {sorted(unknown)}")
        pod = next((pod for pods in self.pods.values() for pod in pods if pod["metadata"]["name"] == name), None)
        if pod is None:
            raise Fault(404, "NotFound", f'pods "{name}" not found')
        number = int(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"])
        if pod["status"]["phase"] == "Pending":
            raise Fault(400, "BadRequest", f'container "node" in pod "{name}" is waiting to start: ContainerCreating')
        return Log(pod, self.prints[number], follow=query.get("follow") == "true")

    # What becomes of jobs.

    def add(self, body: dict[str, Any], course: list[Step] | None = None) -> None:
        """A job as it is after it was created."""
        name = body["metadata"]["name"]
        body["metadata"] |= {"namespace": NAMESPACE, "creationTimestamp": NOW, "uid": f"uid-{len(self.created)}"}
        self.jobs[name] = body | {"status": {}}
        self.steps[name] = iter(course or self.course)

    def add_task(self, name: str, template: dict[str, Any]) -> None:
        """The pod of a pipeline's task, as Argo 4.0.5 makes it from a template (workflow/controller/workflowpod.go)."""
        variables = [{"name": "ARGO_CONTAINER_NAME", "value": "init"}]
        variables += [{"name": "ARGO_TEMPLATE", "value": json.dumps(template)}]
        image = "quay.io/argoproj/argoexec:v4.0.5"
        spec = {
            "initContainers": [{"name": "init", "image": image, "env": variables}, {"name": "kfp-launcher"}],
            "containers": [{"name": "wait", "image": image}, {"name": "main"}],
        }
        meta = {"name": name, "namespace": NAMESPACE, "labels": {"pipeline/runid": "0f5c"}, "creationTimestamp": NOW}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": {"phase": "Running"}}
        self.pods[name] = [pod]

    def _job(self, name: str) -> dict[str, Any]:
        if name not in self.jobs:
            raise Fault(404, "NotFound", f'trainjobs.{TRAINER} "{name}" not found')
        return self.jobs[name]

    def _advance(self, job: dict[str, Any]) -> None:
        name = job["metadata"]["name"]
        step = next(self.steps[name], None)
        if step is None:
            return  # as it was
        if isinstance(step, tuple):
            pods = self.pods.setdefault(name, [])
            while len(pods) < len(step):
                pods.append(self._pod(job, len(pods)))
            for pod, phase in zip(pods, step, strict=True):
                pod["status"]["phase"] = "Failed" if phase in DISRUPTED else phase
                if phase in DISRUPTED:
                    mark = {"type": "DisruptionTarget", "status": "True", "reason": DISRUPTED[phase], "message": phase}
                    pod["status"]["conditions"] = [mark | {"lastTransitionTime": NOW}]
            return
        end, _, why = step.partition(": ")
        if end == "Complete":
            for pod in self.pods.get(name, []):
                pod["status"]["phase"] = "Succeeded"
            self.at_end(job)
        condition = {"type": end, "status": "True", "lastTransitionTime": NOW}
        job["status"]["conditions"] = [condition | {"reason": "JobsFailed" if why else "JobsCompleted", "message": why}]

    def _pod(self, job: dict[str, Any], number: int) -> dict[str, Any]:
        """A pod as Trainer, JobSet and Job make it from the runtime."""
        assert self.runtime is not None
        replicated = self.runtime["spec"]["template"]["spec"]["replicatedJobs"][0]
        spec = json.loads(json.dumps(replicated["template"]["spec"]["template"]["spec"]))
        trainer, job_name = job["spec"]["trainer"], job["metadata"]["name"]
        spec["containers"][0] |= {"command": trainer["command"], "resources": trainer["resourcesPerNode"]}
        labels = {
            "jobset.sigs.k8s.io/jobset-name": job_name,
            "jobset.sigs.k8s.io/replicatedjob-name": replicated["name"],
            "batch.kubernetes.io/job-completion-index": str(number),
        }
        name = f"{job_name}-node-0-{number}-x7k2p"
        if len(name) > 63:
            self.faults.append(f"{name}: longer than names of pods may be")
        meta = {"name": name, "namespace": NAMESPACE, "labels": labels, "creationTimestamp": NOW}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": {"phase": "Pending"}}

    def _check_admission(self, name: str, body: dict[str, Any]) -> None:
        """What Trainer's webhook refuses."""
        if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
            raise Fault(422, "Invalid", f"metadata.name: {name!r} is no RFC 1035 label")
        names = [one["name"] for one in body["spec"]["trainer"].get("env", [])]
        if reserved := [one for one in names if one.startswith("PET_")]:
            raise Fault(422, "Invalid", f"spec.trainer.env: {reserved} are reserved for the torch runtime")


def serving() -> AbstractContextManager[Cluster]:
    """A server in a thread, until the block ends, see `answering`."""
    return answering(Cluster())
