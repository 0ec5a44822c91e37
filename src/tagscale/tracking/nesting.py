"""The run that the runs of this process nest in: their tag `mlflow.parentRunId`, by which MLflow's pages fold them.

A stage knows nothing of the pipeline that runs it. What runs the stage says so in the environment, in the variable that
MLflow has for tags of every run, and the processes that the stage starts inherit it. Where nothing says so, trainings
nest in the run of their study: all of an experiment with the same data and the same partition, whatever process made
them.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mlflow.environment_variables import MLFLOW_RUN_CONTEXT
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import hash_of
from tagscale.tracking.local import database_of, turn
from tagscale.tracking.server import connect, environment, explained

PARENT = MLFLOW_PARENT_RUN_ID
STUDY = "tagscale.study_key"  # tag of a study's run: hash of its data and its partition
_CANDIDATE = "tagscale.study_candidate"  # tag of a run that may become a study's
_LOOKS, _PAUSE_SECONDS = 10, 1.0  # at the candidates of a study
KEPT = "tagscale.kept"  # tags of a pipeline's run: KEPT.NAME = id of the run of that name, which it took as it was


@contextmanager
def nested_in(run_id: str) -> Iterator[None]:
    """Runs that are opened inside the block, by this process or by those that it starts, nest in this run."""
    with environment({MLFLOW_RUN_CONTEXT.name: json.dumps({PARENT: run_id})}):
        yield


def context() -> dict[str, str]:
    """The variable for processes on other machines; empty where there is none."""
    return {MLFLOW_RUN_CONTEXT.name: MLFLOW_RUN_CONTEXT.get()} if MLFLOW_RUN_CONTEXT.get() else {}


def context_tags() -> dict[str, str]:
    """The tags that every run of this process gets. Raises TagscaleError where the variable is not as MLflow reads it.

    >>> with nested_in("3f0c"):
    ...     context_tags()
    {'mlflow.parentRunId': '3f0c'}
    """
    text = MLFLOW_RUN_CONTEXT.get() or "{}"
    try:
        tags = json.loads(text)
    except ValueError:
        tags = None
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        raise TagscaleError(f'{MLFLOW_RUN_CONTEXT.name}: expected tags as JSON, as {{"team": "audio"}}; found {text}.')
    return tags


def study_key(dataset_hash: str, partition_hash: str) -> str:
    """The key by which the studies of an experiment differ."""
    return hash_of([dataset_hash, partition_hash])


def study_of(
    client: MlflowClient,
    experiment_id: str,
    dataset: str,
    dataset_hash: str,
    partition_hash: str,
    tags: Mapping[str, str],
) -> str:
    """Id of the study's run in an experiment, which is created with these tags where it is missing.

    Several processes may want it at once. A local store has a lock for them; on a server they elect one (`_elected`).
    """
    key = study_key(dataset_hash, partition_hash)
    own = {
        "tagscale.dataset": dataset,
        "tagscale.dataset_hash": dataset_hash,
        "tagscale.partition_hash": partition_hash,
    }
    own |= {"mlflow.runName": f"study of {dataset}", **tags}
    if oldest := _oldest(client, experiment_id, STUDY, key):
        return oldest
    if database := database_of(client.tracking_uri):
        with turn(database):
            oldest = _oldest(client, experiment_id, STUDY, key)
            return oldest or str(client.create_run(experiment_id, tags=own | {STUDY: key}).info.run_id)
    made = client.create_run(experiment_id, tags=own | {_CANDIDATE: key})
    return _elected(client, experiment_id, key, str(made.info.run_id))


def _elected(client: MlflowClient, experiment_id: str, key: str, own: str) -> str:
    """The run of a study, of the candidates that several processes have created at once; the others are deleted.

    Only the elected run has the tag by which others find it. The pause is longer than a request: whoever looked before
    that tag was set has created its candidate by then, or finds the tag after its own pause.
    """
    for look in range(_LOOKS):
        time.sleep(_PAUSE_SECONDS)
        if oldest := _oldest(client, experiment_id, STUDY, key):
            client.delete_run(own)
            return oldest
        if look + 1 == _LOOKS or _oldest(client, experiment_id, _CANDIDATE, key) == own:  # the others may have ended
            break
    client.set_tag(own, STUDY, key)
    return own


def _oldest(client: MlflowClient, experiment_id: str, tag: str, value: str) -> str | None:
    """Id of the oldest run with a tag."""
    runs = client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'")
    first = min(runs, key=lambda run: (run.info.start_time, run.info.run_id), default=None)
    return str(first.info.run_id) if first else None


def name_kept(name: str, run_id: str) -> None:
    """Name a finished run that is used again in the run that this process works for; nothing where there is none.

    The finished run stays in the run that it was trained in.
    """
    parent = context_tags().get(PARENT)
    if parent is None:
        return
    client = connect()
    with explained(client.tracking_uri):
        client.set_tag(parent, f"{KEPT}.{name}", run_id)
