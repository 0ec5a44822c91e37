"""What is on a Kubeflow Pipelines server: pipelines, experiments and runs, found by name or made."""

import difflib
import json
from dataclasses import dataclass
from typing import Any

import kfp
from kfp_server_api import V2beta1Experiment, V2beta1Pipeline

from pipelines.server import Refused
from tagscale.runtime.errors import TagscaleError

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")  # states of a run that no other follows
PAGE = 100  # answers of one list request; with a filter by name there are few


@dataclass(frozen=True)
class Placed:
    """Where on the server something is, and whether it was made now."""

    id: str
    name: str
    new: bool


def find_experiment(client: kfp.Client, name: str, make: bool) -> Placed:
    """The experiment of this name.

    Raises:
        TagscaleError: not there and not to be made (names the nearest), or archived.
    """
    namespace = client.get_user_namespace() or None
    listed = client.list_experiments(page_size=PAGE, namespace=namespace, filter=named(name)).experiments or []
    found = [experiment for experiment in listed if experiment.display_name == name]
    if found and found[0].storage_state == "ARCHIVED":
        raise TagscaleError(f"experiment {name!r} is archived: restore it on its page, or name another.")
    if found:
        return Placed(found[0].experiment_id, name, new=False)
    if not make:
        there = client.list_experiments(page_size=PAGE, namespace=namespace).experiments or []
        raise TagscaleError(f"no experiment {name!r}{nearest(name, [one.display_name for one in there])}")
    # Not client.create_experiment, which takes one whose name differs in case
    made = client.experiments.experiment_service_create_experiment(
        experiment=V2beta1Experiment(display_name=name, namespace=namespace)
    )
    return Placed(made.experiment_id, name, new=True)


def find_pipeline(client: kfp.Client, name: str) -> Placed:
    """The pipeline of this name, made where it is not there."""
    namespace = client.get_user_namespace() or None

    def found() -> list[Placed]:
        listed = client.list_pipelines(page_size=PAGE, namespace=namespace, filter=named(name)).pipelines or []
        return [Placed(one.pipeline_id, name, new=False) for one in listed if one.display_name == name]

    if there := found():
        return there[0]
    try:
        # Not client.upload_pipeline, which makes a first version that is named after the pipeline
        made = client.pipelines.pipeline_service_create_pipeline(
            pipeline=V2beta1Pipeline(display_name=name, namespace=namespace)
        )
    except Refused as error:
        if error.status != 409 or not (there := found()):
            raise
        return there[0]  # somebody else submitted at the same time
    return Placed(made.pipeline_id, name, new=True)


def get_run(client: kfp.Client, run_id: str) -> Any:
    """The run. Raises TagscaleError for an identifier that the server does not know."""
    try:
        return client.get_run(run_id)
    except Refused as error:
        if error.status != 404:
            raise
        raise TagscaleError(f"no run {run_id}; expected the identifier at the end of the run's address.") from None


def named(name: str) -> str:
    """A filter for the API. Servers compare without case, so what comes back is compared again.

    Servers decode it once more than they should, and others will not: signs that this would change are written so that
    they survive both.

    >>> named("jazz+rock")
    '{"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": "jazz\\\\u002brock"}]}'
    """
    wanted = {"operation": "EQUALS", "key": "display_name", "string_value": name}
    return json.dumps({"predicates": [wanted]}).replace("+", "\\u002b").replace("%", "\\u0025")


def nearest(name: str, there: list[str]) -> str:
    near = difflib.get_close_matches(name, there, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are: {', '.join(there[:20])}." if there else "; there are none."
