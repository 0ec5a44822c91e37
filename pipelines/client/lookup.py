"""Pipelines, experiments and runs on the server, looked up by name or created."""

import difflib
import json
from dataclasses import dataclass
from typing import Any

from kfp_server_api import V2beta1Experiment, V2beta1Pipeline

from pipelines.client.api import Client
from pipelines.client.transport import Refused
from tagscale.runtime.errors import TagscaleError

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")  # states of a run that no other state follows
PAGE = 100  # entries of one list request; a filter by name leaves few


@dataclass(frozen=True)
class Entry:
    """Something on the server; `new` where this process created it."""

    id: str
    name: str
    new: bool


def find_experiment(client: Client, name: str, create: bool) -> Entry:
    """The experiment of this name.

    Raises:
        TagscaleError: it is missing and not to be created (names the nearest), or it is archived.
    """
    service, namespace = client.experiments, client.namespace
    filtered = service.experiment_service_list_experiments(page_size=PAGE, namespace=namespace, filter=named(name))
    same = [one for one in filtered.experiments or [] if one.display_name == name]
    if same and same[0].storage_state == "ARCHIVED":
        raise TagscaleError(f"experiment {name!r} is archived: restore it on its page, or name another.")
    if same:
        return Entry(same[0].experiment_id, name, new=False)
    if not create:
        listed = service.experiment_service_list_experiments(page_size=PAGE, namespace=namespace).experiments or []
        raise TagscaleError(f"no experiment {name!r}{nearest(name, [one.display_name for one in listed])}")
    created = service.experiment_service_create_experiment(V2beta1Experiment(display_name=name, namespace=namespace))
    return Entry(created.experiment_id, name, new=True)


def find_pipeline(client: Client, name: str) -> Entry:
    """The pipeline of this name, created where it is missing."""
    service, namespace = client.pipelines, client.namespace

    def existing() -> list[Entry]:
        listed = service.pipeline_service_list_pipelines(page_size=PAGE, namespace=namespace, filter=named(name))
        return [Entry(one.pipeline_id, name, new=False) for one in listed.pipelines or [] if one.display_name == name]

    if same := existing():
        return same[0]
    try:
        created = service.pipeline_service_create_pipeline(V2beta1Pipeline(display_name=name, namespace=namespace))
    except Refused as error:
        if error.status != 409 or not (same := existing()):
            raise
        return same[0]  # somebody else created it at the same time
    return Entry(created.pipeline_id, name, new=True)


def get_run(client: Client, run_id: str) -> Any:
    """The run. Raises TagscaleError for an identifier that the server does not know."""
    try:
        return client.runs.run_service_get_run(run_id)
    except Refused as error:
        if error.status != 404:
            raise
        raise TagscaleError(f"no run {run_id}; expected the identifier at the end of the run's address.") from None


def named(name: str) -> str:
    """A filter of list requests. Servers ignore case, so the caller compares the names of the answer again.

    Some servers decode the filter once more than they should. Characters that this would change are escaped so that
    they survive both.

    >>> named("jazz+rock")
    '{"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": "jazz\\\\u002brock"}]}'
    """
    predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
    return json.dumps({"predicates": [predicate]}).replace("+", "\\u002b").replace("%", "\\u0025")


def nearest(name: str, existing: list[str]) -> str:
    """The end of a message about a missing name: the most similar one, or all."""
    near = difflib.get_close_matches(name, existing, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are: {', '.join(existing[:20])}." if existing else "; there are none."
