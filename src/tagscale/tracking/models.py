"""The model that a run has trained, as MLflow's page of models shows it: its files, its parameters and its metrics.

It holds the files of the run's folder alone, and is no package that other programs could load: packaging takes seconds
and space, and few models are registered. The stage register adds a package to it (`tagscale.registry.package`).
"""

from collections.abc import Iterable
from pathlib import Path

from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run
from mlflow.tracking import MlflowClient

CHECKPOINT = "checkpoint"  # folder of the run's files among those of the model
KIND = "tagscale.kind"  # tag of a model that a training logged; its value is CHECKPOINT
REGISTERED = "tagscale.registered"  # tag of a model: name of the registered model that it became a version of
AXES = ("model", "size", "seed", "train_tracks", "folds", "parameters")  # parameters of the run that the model has, too


def log_model(client: MlflowClient, run_id: str, name: str, files: Iterable[tuple[Path, str]]) -> None:
    """Store files as the run's model, unless it is there; one that a killed process left incomplete is completed.

    Args:
        files: each with its folder below CHECKPOINT
    """
    run = client.get_run(run_id)
    model = model_of(client, run)
    if model is None:
        params = {key: run.data.params[key] for key in AXES if key in run.data.params}
        tags = {KIND: CHECKPOINT}
        model = client.create_logged_model(run.info.experiment_id, name, run_id, tags, params, "music tagger")
    if model.status == LoggedModelStatus.READY:
        return
    if not run.outputs or all(output.model_id != model.model_id for output in run.outputs.model_outputs):
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    for file, folder in files:
        client.log_model_artifact(model.model_id, str(file), f"{CHECKPOINT}/{folder}".rstrip("/"))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def model_of(client: MlflowClient, run: Run) -> LoggedModel | None:
    """The model that a run's training logged; None where there is none."""
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    return next((model for model in models if model.tags.get(KIND) == CHECKPOINT), None)


def unregistered_model(client: MlflowClient, run_id: str) -> LoggedModel | None:
    """The model of a run that may become a version; None where there is none, or it is a version's already.

    A version's package stays as it is, whatever another one of the same run would hold.
    """
    model = model_of(client, client.get_run(run_id))
    return model if model and model.status == LoggedModelStatus.READY and REGISTERED not in model.tags else None


def subject_of(client: MlflowClient, run: Run) -> dict[str, str]:
    """What the run's scores are about, as arguments of MLflow's Metric: its model, and the dataset that it is of."""
    model = model_of(client, run)
    if model is None:
        return {}
    datasets = run.inputs.dataset_inputs if run.inputs else []
    about = {"dataset_name": datasets[0].dataset.name, "dataset_digest": datasets[0].dataset.digest} if datasets else {}
    return {"model_id": model.model_id} | about
