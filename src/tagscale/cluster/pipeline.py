"""Begin and end of a pipeline's run: checks before anything is computed, and the pipeline's own run in MLflow.

That run is RUNNING from the first task to the last, and shows how the pipeline ended, whatever happened to its tasks.
"""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from tagscale import tracking
from tagscale.cluster.volume import Volume
from tagscale.params.load import Params
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import run_name
from tagscale.runtime.provenance import git_commit
from tagscale.stages.preflight import check_models

PIPELINE, RUN = "tagscale.pipeline", "tagscale.pipeline_run"  # tags: which pipeline, and which run of it
STATUS = {  # Kubeflow's state -> MLflow's; servers differ in the words that they use
    "SUCCEEDED": "FINISHED",
    "COMPLETE": "FINISHED",
    "CACHED": "FINISHED",
    "FAILED": "FAILED",
    "CANCELLED": "KILLED",
    "CANCELED": "KILLED",
}
_LONGEST_TAG = 2000  # characters of an error; MLflow takes 8,000


def begin(params: Params, *, pipeline: str, pipeline_run: str) -> None:
    """Check that later tasks will find what they need, and open the pipeline's own run in MLflow.

    Args:
        pipeline: its name: data, training, study or retrain.
        pipeline_run: name of this run of it, unique on the server.
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
    volume.check_version(params)
    client = tracking.connect()
    with tracking.explained(client.tracking_uri):
        experiment = tracking.made_experiment(client, params.tracking.experiment)
        _opened(client, experiment, params, pipeline, pipeline_run)
    _print(f"{pipeline} {pipeline_run}: experiment {params.tracking.experiment}, dataset in {root}")


def end(params: Params, *, pipeline: str, pipeline_run: str, status: Mapping[str, Any]) -> None:
    """Record in MLflow how a pipeline's run ended, and end the trainings that were lost with their pods.

    Kubeflow Pipelines up to 2.16 reports RUNNING for a pipeline with loops even at its end (kubeflow/pipelines#13321).
    A lost training is then the only sign of a failure, and the recorded state is `unknown`.

    Args:
        status: Kubeflow's final status: state, and error with code and message where there is one.
    Raises:
        TagscaleError: MLflow does not answer.
    """
    state = str(status.get("state") or "nothing")
    state = state if state in STATUS else f"unknown ({state})"
    message = str((status.get("error") or {}).get("message") or "")[:_LONGEST_TAG]
    client = tracking.connect()
    with tracking.explained(client.tracking_uri):
        experiment = tracking.made_experiment(client, params.tracking.experiment)
        run_id = _opened(client, experiment, params, pipeline, pipeline_run)
        client.set_tag(run_id, "tagscale.state", state)
        if message:
            client.set_tag(run_id, "tagscale.error", message)
        lost = [] if STATUS.get(state) == "FINISHED" else _lost(client, experiment, params)
        client.set_terminated(run_id, STATUS.get(state, "FAILED" if lost else "FINISHED"))
        for training in lost:
            client.set_tag(training.info.run_id, "tagscale.error", f"its pipeline {pipeline_run} ended: {state}")
            client.set_terminated(training.info.run_id, "FAILED")
    _print(
        f"{pipeline} {pipeline_run}: {state}"
        + (f": {message}" if message else "")
        + (f"; {len(lost)} trainings were lost with it" if lost else "")
    )


def _print(line: str) -> None:
    Console().print(line, markup=False, soft_wrap=True)


def _opened(client: Any, experiment: str, params: Params, pipeline: str, pipeline_run: str) -> str:
    """Id of the pipeline's own run, opened where the first task did not; a retried task finds it."""
    runs = client.search_runs([experiment], filter_string=f"tags.`{RUN}` = '{pipeline_run}'", max_results=1)
    if runs:
        return str(runs[0].info.run_id)
    tags = {PIPELINE: pipeline, RUN: pipeline_run, "mlflow.source.git.commit": git_commit()}
    tags |= {tracking.DATA_VERSION: params.dataset.version or tracking.UNPUBLISHED}
    return str(client.create_run(experiment, run_name=f"{pipeline} {pipeline_run}", tags=tags).info.run_id)


def _lost(client: Any, experiment: str, params: Params) -> list[Any]:
    """Runs of the grid that are still RUNNING in MLflow."""
    names = {run_name(*cell) for cell in params.train.cells}
    running = client.search_runs([experiment], filter_string="attributes.status = 'RUNNING'")
    return [run for run in running if run.info.run_name in names]
