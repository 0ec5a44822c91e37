"""The run that the runs of this process nest in: their tag `mlflow.parentRunId`, by which MLflow's pages fold them.

A stage knows nothing of the pipeline that runs it. What runs the stage says so in the environment, in the variable that
MLflow has for tags of every run, and the processes that the stage starts inherit it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.environment_variables import MLFLOW_RUN_CONTEXT
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from tagscale.runtime.errors import TagscaleError
from tagscale.tracking.server import connect, environment, explained

PARENT = MLFLOW_PARENT_RUN_ID
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
