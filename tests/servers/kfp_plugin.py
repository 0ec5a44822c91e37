"""What Kubeflow's plugin for MLflow asks MLflow, in the order of a run.

After Kubeflow Pipelines 2.17.0: backend/src/apiserver/plugins/mlflow (handler.go, run_start.go) and
backend/src/v2/common/plugins/mlflow/handler.go.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import requests

ENDED = ("FINISHED", "FAILED", "KILLED")
DEPTH = 4  # of nested runs that the end of a run reaches


@dataclass
class Plugin:
    """The plugin, logged in as a user of MLflow.

    Attributes:
        config: what it puts into the environment of every task, as KFP_MLFLOW_CONFIG
    """

    address: str
    user: str
    password: str
    config: dict[str, Any] = field(default_factory=dict)

    def _ask(self, call: str, **content: Any) -> dict[str, Any]:
        method = "GET" if call.rpartition("/")[2].startswith("get") else "POST"
        sent = {"params": content} if method == "GET" else {"json": content}
        answer = requests.request(
            method, f"{self.address}/api/2.0/mlflow/{call}", auth=(self.user, self.password), timeout=30, **sent
        )
        if answer.status_code == 404:
            return {}
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def open_run(self, experiment: str, run_id: str, title: str) -> None:
        """Before the workflow is created: the experiment of this name, made where it is missing, and a run in it."""
        there = self._ask("experiments/get-by-name", experiment_name=experiment).get("experiment")
        place = there or self._ask("experiments/create", name=experiment)
        tags = [{"key": "kfp.pipeline_run_id", "value": run_id}, {"key": "kfp.pipeline_run_url", "value": ""}]
        made = self._ask("runs/create", experiment_id=place["experiment_id"], run_name=title, tags=tags)
        self.config = {
            "endpoint": self.address, "parentRunId": made["run"]["info"]["run_id"],
            "experimentId": place["experiment_id"], "authType": "basic-auth", "timeout": "30s",
        }  # fmt: skip

    def open_task(self, name: str) -> str:
        """In a task's driver: a run within that of the pipeline."""
        tags = [{"key": "mlflow.parentRunId", "value": self.config["parentRunId"]}]
        made = self._ask("runs/create", experiment_id=self.config["experimentId"], run_name=name, tags=tags)
        return str(made["run"]["info"]["run_id"])

    def end_run(self, status: str) -> None:
        """After the workflow: the run of the pipeline, and all within it that are still open, get this status."""
        self._ask("runs/update", run_id=self.config["parentRunId"], status=status)
        self._end_within(self.config["parentRunId"], status, 0)

    def _end_within(self, parent: str, status: str, depth: int) -> None:
        within = f"tags.\"mlflow.parentRunId\" = '{parent}'"
        found = self._ask("runs/search", experiment_ids=[self.config["experimentId"]], filter=within, max_results=1000)
        for run in found.get("runs", []) if depth < DEPTH else []:
            if run["info"]["status"] not in ENDED:
                self._end_within(run["info"]["run_id"], status, depth + 1)
                self._ask("runs/update", run_id=run["info"]["run_id"], status=status)

    @property
    def environment(self) -> dict[str, str]:
        return {"KFP_MLFLOW_CONFIG": json.dumps(self.config)}
