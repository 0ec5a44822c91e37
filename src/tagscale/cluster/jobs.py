"""TrainJobs through the Kubeflow SDK, with retries, and errors that say what to do.

A training takes days, and so does following it: the API goes away for minutes, streams of logs break, somebody deletes
the job. The SDK's own way to wait gives up at the first of these.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tagscale.cluster.api import is_away, keep_alive, message_of, status_of
from tagscale.cluster.logs import Logs
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.signals import Interrupted

if TYPE_CHECKING:
    from kubeflow.trainer.backends.base import RuntimeBackend
    from kubeflow.trainer.types.types import TrainJob

T = TypeVar("T")

POLL_SECONDS = 10.0  # between two requests for the job's state
AWAY_SECONDS = 900.0  # how long the API may be away
GONE_SECONDS = 600.0  # how long the pods of a deleted job may take to end; on a lost node, until that is given up
TAIL = 20  # lines of a failed pod's log in an error message
COMPLETE, FAILED = "Complete", "Failed"
KEPT = ("runtimePatches", "activeDeadlineSeconds")  # fields of a job that Kubeflow Trainer has from 2.2 on
ACCOUNT = "k8s/tasks/pipeline-account.yaml"


class PodsLost(TagscaleError):
    """The job failed, and the cluster had taken one of its pods away."""


class Jobs:
    """The TrainJobs of a namespace.

    Args:
        backend: of the Kubeflow SDK.
        say: prints a line.
    """

    def __init__(self, backend: "RuntimeBackend", say: Callable[[str], None]) -> None:
        self.backend, self.say = backend, say
        self.core: Any = getattr(backend, "core_api", None)  # clusters have one; other backends run containers
        self.custom: Any = getattr(backend, "custom_api", None)
        self.namespace = getattr(backend, "namespace", "")
        self._stopped = 0  # number of the signal by which this process is to stop
        if self.core is not None:
            keep_alive(self.core.api_client)

    def stop(self, number: int) -> None:
        """Let what waits for a job end with Interrupted, at its next look.

        A signal's handler must not raise by itself: it interrupts any line, within the SDK, too, and a lock that is
        taken there (of `logging`) would stay taken, so that the request that deletes the job would wait for ever.
        """
        self._stopped = number

    def _pause(self, seconds: float) -> None:
        """Wait for the next look. Raises Interrupted where this process is to stop."""
        end = time.monotonic() + seconds
        while not self._stopped and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 1.0))
        if number := self._stopped:
            self._stopped = 0
            raise Interrupted(number)

    def find(self, name: str) -> "TrainJob | None":
        """The job of this name, or None."""
        try:
            return self._ask(lambda: self.backend.get_job(name))
        except Exception as error:
            missing = "Failed to get TrainJob" in str(error) and status_of(error) == 404
            if missing or "No TrainJob with name" in str(error):  # a cluster's words, and those of containers
                return None
            self._explain(error)
            raise

    def create(self, start: Callable[[], Any]) -> None:
        """Create a job by calling `start`. That it exists already is no error: an earlier answer may have been lost."""
        try:
            self._ask(start)
        except Exception as error:
            if status_of(error) == 409:
                return
            self._explain(error)
            raise

    def check_kept(self, name: str) -> None:
        """Refuse a cluster that dropped a part of a new job, and delete the job there.

        An API server drops what a kind's definition does not have, and says nothing. Kubeflow Trainer 2.0 and 2.1 do
        not have what KEPT names, so pods would run without the volume (v2.1.0 and v2.2.0,
        manifests/base/crds/trainer.kubeflow.org_trainjobs.yaml).

        Raises:
            TagscaleError: Kubeflow Trainer is too old.
        """
        if self.custom is None:
            return
        spec = self._body(name)["spec"]
        if dropped := [field for field in KEPT if field not in spec]:
            self.delete(name)
            version = "get configmap -n kubeflow-system kubeflow-trainer-public -o jsonpath={.data}"
            raise TagscaleError(
                f"The cluster keeps TrainJobs without {' and '.join(dropped)}: its Kubeflow Trainer is older than 2.2. "
                "Without these the pods have neither volume nor place, so the job was deleted. Install Kubeflow "
                f"Trainer 2.2 or newer (`kubectl {version}` shows the version, and nothing before 2.2), or set "
                "train.nodes: 1."
            )

    def delete(self, name: str, wait: bool = False) -> None:
        """Delete a job, where it still exists.

        Args:
            wait: wait until its pods are gone, too: they hold what the pods of the next job need.
        """
        try:
            self._ask(lambda: self.backend.delete_job(name))
        except Exception as error:
            if status_of(error) != 404 and "No TrainJob with name" not in str(error):
                raise
        end = time.monotonic() + GONE_SECONDS
        while wait and (self.find(name) is not None or self._pods(name)):
            if time.monotonic() > end:
                command = self.kubectl(f"get pods -l jobset.sigs.k8s.io/jobset-name={name}")
                raise TagscaleError(
                    f"TrainJob {name} was deleted {GONE_SECONDS:.0f} s ago, but it or one of its pods still exists. "
                    f"`{command}` shows them; start again when they are gone."
                )
            self._pause(min(2.0, POLL_SECONDS))

    def follow(self, name: str) -> None:
        """Wait for the end of a job, and print what its pods print.

        Raises:
            PodsLost: the job failed, and the cluster had taken one of its pods away.
            TagscaleError: the job failed of itself, or somebody deleted it.
        """
        logs = Logs(self.backend, name, self.say)
        before = loss = None
        while True:
            job = self.find(name)
            if job is None:
                raise TagscaleError(
                    f"TrainJob {name} is gone: somebody deleted it while it was training. Start again: training "
                    "resumes from its saved state."
                )
            logs.attend(job)
            states = ", ".join(f"{step.name} {step.status}" for step in job.steps) or "no pods yet"
            if states != before:
                self.say(f"TrainJob {name}: {states}")
                before = states
            loss = loss or self._loss(name)  # a lost pod may be gone when the others have failed for lack of it
            if job.status in (COMPLETE, FAILED):
                break
            self._pause(POLL_SECONDS)
        logs.finish()
        if job.status == FAILED and loss:
            raise PodsLost(f"TrainJob {name} failed{self._reason(name)}, after the cluster took {loss} away.")
        if job.status == FAILED:  # the look that saw it may have read its pods a moment before they failed
            raise TagscaleError(self._failure(self.find(name) or job, logs))

    def kubectl(self, command: str) -> str:
        """A command by which a person asks the cluster."""
        return f"kubectl -n {self.namespace} {command}"

    def _failure(self, job: "TrainJob", logs: Logs) -> str:
        failed = [step for step in job.steps if step.status == FAILED]
        lines = [f"TrainJob {job.name} failed{self._reason(job.name)}."]
        for step in failed[:3]:
            lines += [f"{step.name} (pod {step.pod_name}) failed; its last lines:"]
            lines += [f"    {line}" for line in logs.tail(step, TAIL)] or ["    (it printed nothing)"]
        if not failed:
            lines += ["No failed pod is left."]
        commands = [self.kubectl(f"describe trainjob {job.name}")]
        commands += [self.kubectl(f"logs {step.pod_name}") for step in failed[:1]]
        if self.core is None:
            commands = [f"docker logs {step.pod_name}" for step in failed]
        lines += [
            f"The job is kept; for more: {'; '.join(commands)}",
            "Start again: training resumes from its saved state.",
        ]
        return "\n".join(lines)

    def _reason(self, name: str) -> str:
        """The cluster's reason for a failure, which the SDK leaves out."""
        if self.custom is None:
            return ""
        failures = [one for one in self._body(name).get("status", {}).get("conditions", []) if one["type"] == FAILED]
        return f" ({failures[0].get('reason')}: {failures[0].get('message')})" if failures else ""

    def _body(self, name: str) -> dict[str, Any]:
        """A job as the cluster keeps it."""
        body: dict[str, Any] = self._ask(
            lambda: self.custom.get_namespaced_custom_object(
                "trainer.kubeflow.org", "v1alpha1", self.namespace, "trainjobs", name, _request_timeout=60
            )
        )
        return body

    def _loss(self, name: str) -> str | None:
        """A pod that the cluster takes away, with its reason: drained, evicted, preempted, or its node is lost.

        Kubernetes marks such a pod before it ends, since 1.26 ("Pod disruption conditions" in its documentation).
        """
        for pod in self._pods(name):
            for condition in pod.status.conditions or []:
                if condition.type == "DisruptionTarget" and condition.status == "True":
                    return f"pod {pod.metadata.name} ({condition.reason}: {condition.message})"
        return None

    def _pods(self, name: str) -> list[Any]:
        if self.core is None:
            return []
        label = f"jobset.sigs.k8s.io/jobset-name={name}"
        listed = self._ask(
            lambda: self.core.list_namespaced_pod(self.namespace, label_selector=label, _request_timeout=60)
        )
        return list(listed.items)

    def _ask(self, call: Callable[[], T]) -> T:
        """The answer to a call, retried while the API is away.

        Raises:
            TagscaleError: the API is away for longer than AWAY_SECONDS, or refuses for lack of a right.
        """
        away_since: float | None = None
        while True:
            try:
                return call()
            except Exception as error:
                if status_of(error) == 403:
                    raise TagscaleError(
                        f"Kubernetes refuses: {message_of(error)}. The account of the tasks lacks this right: apply "
                        f"{ACCOUNT}, which has every right that they need, or add this one."
                    ) from None
                if not is_away(error):
                    raise
                if away_since is None:
                    away_since = time.monotonic()
                    self.say(f"Kubernetes does not answer ({message_of(error)}); retrying for {AWAY_SECONDS:.0f} s.")
                if time.monotonic() - away_since > AWAY_SECONDS:
                    raise TagscaleError(
                        f"Kubernetes has not answered for {AWAY_SECONDS:.0f} s ({message_of(error)}). The job goes on; "
                        "start this task again to follow it."
                    ) from error
                self._pause(POLL_SECONDS)

    def _explain(self, error: Exception) -> None:
        """Turn a refusal for good into an error that says what to do."""
        status, message = status_of(error), message_of(error)
        if status == 404 and "Runtime" in str(error):
            raise TagscaleError(
                "The cluster has no ClusterTrainingRuntime tagscale-torch, which trainings on several nodes need. "
                f"Install Kubeflow Trainer and apply the manifests (kubectl apply -k k8s/overlays/...). ({message})"
            ) from None
        if status == 404:
            raise TagscaleError(
                f"The cluster has no TrainJobs in namespace {self.namespace}: {message}. Is Kubeflow Trainer installed?"
            ) from None
        if status in (400, 422):
            raise TagscaleError(f"The cluster refuses the TrainJob: {message}.") from None
