"""Begin and end of a pipeline's run: checks before anything is computed, and the pipeline's own run in MLflow.

That run is RUNNING from the first task to the last, and shows how the pipeline ended, whatever happened to its tasks.
"""

import json
import os
from typing import Any

from tagscale import tracking
from tagscale.cluster import retries
from tagscale.cluster.volume import Volume
from tagscale.params.load import Params
from tagscale.runtime import lock
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.provenance import git_commit
from tagscale.stages.preflight import check_models
from tagscale.tracking.outbox import active_run

PIPELINE, RUN = "tagscale.pipeline", "tagscale.pipeline_run"  # tags: which pipeline, and which run of it
PLUGIN = "KFP_MLFLOW_CONFIG"  # Kubeflow Pipelines 2.17.0: backend/src/common/plugins/mlflow/config.go
STATUS = {  # Kubeflow's state -> MLflow's; servers differ in the words that they use
    "SUCCEEDED": "FINISHED",
    "COMPLETE": "FINISHED",
    "CACHED": "FINISHED",
    "FAILED": "FAILED",
    "CANCELLED": "KILLED",
    "CANCELED": "KILLED",
}


def begin(params: Params, *, pipeline: str, pipeline_run: str, title: str) -> str:
    """Check that later tasks will find what they need, and open the pipeline's own run in MLflow; returns its id there.

    Prints which locks the volume has, and after which failures the cluster retries a task.

    Args:
        pipeline: its name: data, training, study or retrain.
        pipeline_run: Kubeflow's identifier of this run of it.
        title: Kubeflow's name of this run, for people: several runs may have the same.
    Raises:
        TagscaleError: a model cannot take its patches or windows; the volume is missing or not writable; the dataset,
            its version or MLflow is missing.
    """
    check_models(params)
    volume = Volume.of(params)
    root = volume.root_of(params)
    if params.dataset.source != "synth" and not root.is_dir():
        raise TagscaleError(
            f"dataset.root: {root}: no such folder on the volume {params.kubernetes.volume}. Copy the dataset there "
            f"(a relative dataset.root lies in {volume.root}), or correct dataset.root."
        )
    volume.check_writable()
    print(f"Locks on {volume.root}: {lock.description(volume.folder)}", flush=True)
    volume.check_version(params)
    client = tracking.connect()
    with tracking.explained(client.tracking_uri):
        experiment = tracking.made_experiment(client, params.tracking.experiment)
        run_id = _opened(client, experiment, params, pipeline, pipeline_run, title)
    print(f"{pipeline} {title}: experiment {params.tracking.experiment}, dataset in {root}", flush=True)
    print(retries.describe(params.kubernetes.retries), flush=True)
    return run_id


def end(params: Params, *, pipeline: str, pipeline_run: str, title: str, state: str) -> None:
    """Record in MLflow how a pipeline's run ended, and end the trainings that were lost with their pods.

    Kubeflow Pipelines up to 2.16 reports RUNNING for a pipeline with loops even at its end (kubeflow/pipelines#13321).
    A lost training is then the only sign of a failure, and the recorded state is `unknown`.

    Args:
        state: of Kubeflow's final status. 2.17.0 says nothing else of the end: it leaves the status's error empty
            (backend/src/v2/driver/resolve.go).
    Raises:
        TagscaleError: MLflow does not answer.
    """
    state = state if state in STATUS else f"unknown ({state or 'nothing'})"
    client = tracking.connect()
    with tracking.explained(client.tracking_uri):
        experiment = tracking.made_experiment(client, params.tracking.experiment)
        run_id = _opened(client, experiment, params, pipeline, pipeline_run, title)
        client.set_tag(run_id, "tagscale.state", state)
        lost = [] if STATUS.get(state) == "FINISHED" else _lost(client, experiment, run_id)
        client.set_terminated(run_id, STATUS.get(state, "FAILED" if lost else "FINISHED"))
        for run in lost:
            client.set_tag(run.info.run_id, "tagscale.error", f"its pipeline {title} ended: {state}")
            client.set_terminated(run.info.run_id, "FAILED")
    print(f"{pipeline} {title}: {state}" + (f"; {len(lost)} trainings were lost with it" if lost else ""), flush=True)


def _opened(client: Any, experiment: str, params: Params, pipeline: str, pipeline_run: str, title: str) -> str:
    """Id of the pipeline's own run, opened where the first task did not; a retried task finds it."""
    runs = client.search_runs([experiment], filter_string=f"tags.`{RUN}` = '{pipeline_run}'", max_results=1)
    if runs:
        return str(runs[0].info.run_id)
    tags = {PIPELINE: pipeline, RUN: pipeline_run, "mlflow.source.git.commit": git_commit()}
    tags |= {tracking.DATA_VERSION: params.dataset.version or tracking.UNPUBLISHED}
    if (run_id := _of_plugin(client, experiment)) is None:
        return str(client.create_run(experiment, run_name=f"{pipeline} {title}", tags=tags).info.run_id)
    for name, value in tags.items():
        client.set_tag(run_id, name, value)
    return run_id


def _of_plugin(client: Any, experiment: str) -> str | None:
    """The run that Kubeflow's own plugin for MLflow has opened for this pipeline; None where there is none to take.

    The plugin names it in every task's environment. It is no use in another experiment, whose pages show none of the
    trainings, or in another MLflow.
    """
    config = os.environ.get(PLUGIN)
    if config is None:
        return None
    try:
        run_id = str(json.loads(config)["parentRunId"])
    except (ValueError, KeyError, TypeError):
        print(f"{PLUGIN} names no run of MLflow, so the pipeline has one of its own", flush=True)
        return None
    run = active_run(client, run_id)
    if run is None or run.info.experiment_id != experiment:
        where = "another experiment" if run else "another MLflow"
        print(f"Kubeflow's plugin has its run {run_id} in {where}, so the pipeline has one of its own here", flush=True)
        return None
    return run_id


def _lost(client: Any, experiment: str, run_id: str) -> list[Any]:
    """Runs within the pipeline's own that are still RUNNING, of processes that ended with their pods.

    Runs that no process of tagscale has claimed are those of Kubeflow's plugin for MLflow, which ends them itself.
    """
    within = f"attributes.status = 'RUNNING' and tags.`{tracking.PARENT}` = '{run_id}'"
    return [run for run in client.search_runs([experiment], within) if tracking.PROCESS in run.data.tags]
