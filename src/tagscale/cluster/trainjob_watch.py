"""What a cluster says of a TrainJob: the Kubeflow SDK's calls, with patience, and errors that say what to do.

A training takes days, and so does following it: the API may go away for minutes, streams of logs break, a job may be
deleted by somebody else. The SDK's own waiting gives up at the first of these.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tagscale.cluster.trainjob_api import is_away, keep_alive, message_of, status_of
from tagscale.cluster.trainjob_logs import Logs
from tagscale.runtime.errors import TagscaleError

if TYPE_CHECKING:
    from kubeflow.trainer.backends.base import RuntimeBackend
    from kubeflow.trainer.types.types import TrainJob

T = TypeVar("T")

POLL_SECONDS = 10.0  # between two looks at the job
AWAY_SECONDS = 900.0  # the API may be silent for so long
GONE_SECONDS = 120.0  # pods of a deleted job end within these
TAIL = 20  # lines of a failed pod's log that an error shows
COMPLETE, FAILED = "Complete", "Failed"
ACCOUNT = "k8s/base/pipeline-account.yaml"


class Jobs:
    """The TrainJobs of a namespace.

    Args:
        backend: of the Kubeflow SDK
        say: prints a line
    """

    def __init__(self, backend: "RuntimeBackend", say: Callable[[str], None]) -> None:
        self.backend, self.say = backend, say
        self.core: Any = getattr(backend, "core_api", None)  # of a cluster; other backends run containers
        self.custom: Any = getattr(backend, "custom_api", None)
        self.namespace = getattr(backend, "namespace", "")
        if self.core is not None:
            keep_alive(self.core.api_client)

    def find(self, name: str) -> "TrainJob | None":
        """The job of this name, or None."""
        try:
            return self._ask(lambda: self.backend.get_job(name))
        except Exception as error:
            lacking = "Failed to get TrainJob" in str(error) and status_of(error) == 404
            if lacking or "No TrainJob with name" in str(error):  # a cluster's words, and those of containers
                return None
            self._explain(error)
            raise

    def create(self, start: Callable[[], Any]) -> None:
        """Create a job by calling `start`; that it is there already is no fault (an answer may have been lost)."""
        try:
            self._ask(start)
        except Exception as error:
            if status_of(error) == 409:
                return
            self._explain(error)
            raise

    def delete(self, name: str, wait: bool = False) -> None:
        """Delete a job, which may not be there any more.

        Args:
            wait: until its pods are gone, too; they would hold what the next job's pods need
        """
        try:
            self._ask(lambda: self.backend.delete_job(name))
        except Exception as error:
            if status_of(error) != 404 and "No TrainJob with name" not in str(error):
                raise
        end = time.monotonic() + GONE_SECONDS
        while wait and (self.find(name) is not None or self._has_pods(name)):
            if time.monotonic() > end:
                look = self.kubectl(f"get pods -l jobset.sigs.k8s.io/jobset-name={name}")
                raise TagscaleError(
                    f"TrainJob {name} was deleted {GONE_SECONDS:.0f} s ago, and it or one of its pods is still there. "
                    f"Look at {look}, then start again."
                )
            time.sleep(min(2.0, POLL_SECONDS))

    def follow(self, name: str) -> None:
        """Wait until a job has ended, and print what its pods print.

        Raises:
            TagscaleError: it failed, or it was deleted by somebody else.
        """
        logs = Logs(self.backend, name, self.say)
        before = None
        while True:
            job = self.find(name)
            if job is None:
                raise TagscaleError(
                    f"TrainJob {name} is not there any more: somebody deleted it while it was training. Started again, "
                    "training continues where it was saved."
                )
            logs.attend(job)
            now = ", ".join(f"{step.name} {step.status}" for step in job.steps) or "no pods yet"
            if now != before:
                self.say(f"TrainJob {name}: {now}")
                before = now
            if job.status in (COMPLETE, FAILED):
                break
            time.sleep(POLL_SECONDS)
        logs.finish()
        if job.status == FAILED:
            raise TagscaleError(self._failure(job, logs))

    def kubectl(self, command: str) -> str:
        """How a person asks the cluster."""
        return f"kubectl -n {self.namespace} {command}"

    def _failure(self, job: "TrainJob", logs: Logs) -> str:
        failed = [step for step in job.steps if step.status == FAILED]
        lines = [f"TrainJob {job.name} failed{self._reason(job.name)}."]
        for step in failed[:3]:
            lines += [f"{step.name} (pod {step.pod_name}) failed; its last lines:"]
            lines += [f"    {line}" for line in logs.tail(step, TAIL)] or ["    (it printed nothing)"]
        if not failed:
            lines += ["No pod that failed is left."]
        look = f"{self.kubectl(f'describe trainjob {job.name}')}"
        look += "".join(f"; {self.kubectl(f'logs {step.pod_name}')}" for step in failed[:1])
        if self.core is None:
            look = "; ".join(f"docker logs {step.pod_name}" for step in failed)
        lines += [
            f"The job is kept; look further with: {look}",
            "Started again, training continues where it was saved.",
        ]
        return "\n".join(lines)

    def _reason(self, name: str) -> str:
        """What the cluster gives as the reason, which the SDK leaves out."""
        if self.custom is None:
            return ""
        job = self._ask(
            lambda: self.custom.get_namespaced_custom_object(
                "trainer.kubeflow.org", "v1alpha1", self.namespace, "trainjobs", name, _request_timeout=60
            )
        )
        told = [one for one in job.get("status", {}).get("conditions", []) if one["type"] == FAILED]
        return f" ({told[0].get('reason')}: {told[0].get('message')})" if told else ""

    def _has_pods(self, name: str) -> bool:
        if self.core is None:
            return False
        label = f"jobset.sigs.k8s.io/jobset-name={name}"
        listed = self._ask(
            lambda: self.core.list_namespaced_pod(self.namespace, label_selector=label, _request_timeout=60)
        )
        return bool(listed.items)

    def _ask(self, call: Callable[[], T]) -> T:
        """The answer to a call, however often it has to be asked for while the API is away."""
        since: float | None = None
        while True:
            try:
                return call()
            except Exception as error:
                if not is_away(error):
                    self._refused(error)
                    raise
                if since is None:
                    since = time.monotonic()
                    self.say(f"Kubernetes does not answer ({message_of(error)}); asking for {AWAY_SECONDS:.0f} s.")
                if time.monotonic() - since > AWAY_SECONDS:
                    raise TagscaleError(
                        f"Kubernetes has not answered for {AWAY_SECONDS:.0f} s ({message_of(error)}). The job goes on; "
                        "started again, this task goes on following it."
                    ) from error
                time.sleep(POLL_SECONDS)

    def _refused(self, error: Exception) -> None:
        """Say of a right that is missing what to do."""
        if status_of(error) == 403:
            raise TagscaleError(
                f"Kubernetes refuses: {message_of(error)}. The account that tasks run under lacks this right: apply "
                f"{ACCOUNT} as it is here, which has all that is needed, or give it the right."
            ) from None

    def _explain(self, error: Exception) -> None:
        """Say of what the cluster refuses for good what to do."""
        status, told = status_of(error), message_of(error)
        if status == 404 and "Runtime" in str(error):
            raise TagscaleError(
                "The cluster has no ClusterTrainingRuntime tagscale-torch, by which trainings on several nodes run. "
                f"Apply the manifests (kubectl apply -k k8s/overlays/...); Kubeflow Trainer must be installed. ({told})"
            ) from None
        if status == 404:
            raise TagscaleError(
                f"The cluster has no TrainJobs in namespace {self.namespace}: {told}. Is Kubeflow Trainer installed?"
            ) from None
        if status in (400, 422):
            raise TagscaleError(f"The cluster refuses the TrainJob: {told}.") from None
