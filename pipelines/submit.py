"""Submitting: a pipeline, its version, an experiment, a run or a recurring run. Whatever is there already is used."""

import contextlib
import difflib
import io
import json
import os
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import kfp
from google.protobuf import json_format
from kfp_server_api import V2beta1Experiment, V2beta1Pipeline

from pipelines.package import Package, specs_of
from pipelines.server import Refused
from tagscale.errors import TagscaleError

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_PAGE = 100


@dataclass(frozen=True)
class Placed:
    """Where on the server something is, and whether it was made now."""

    id: str
    name: str
    new: bool


@dataclass(frozen=True)
class Prepared:
    """What a run is made of."""

    pipeline: Placed
    version: Placed
    experiment: Placed


def prepare(client: kfp.Client, package: Package, experiment: str, existing_experiment: bool = False) -> Prepared:
    """Find or make the pipeline, this version of it and the experiment.

    Args:
        experiment: its name.
        existing_experiment: an experiment that is not there is an error, not a new experiment.

    Raises:
        TagscaleError: unknown experiment (names the nearest), or an archived one.
    """
    placed = find_experiment(client, experiment, make=not existing_experiment)
    pipeline = _pipeline(client, package.name)
    return Prepared(pipeline, _version(client, pipeline.id, package), placed)


def start(client: kfp.Client, package: Package, prepared: Prepared, account: str) -> tuple[str, str]:
    """Start a run; its identifier and its name. The name says study, code, grid and time.

    Args:
        account: the Kubernetes service account of its tasks.
    """
    name = (
        f"{package.settings.tracking.experiment} {prepared.version.name} {package.grid} {datetime.now():%Y-%m-%d %H:%M}"
    )
    with _quiet():
        run = client.run_pipeline(
            prepared.experiment.id,
            name,
            params=package.arguments,
            pipeline_id=prepared.pipeline.id,
            version_id=prepared.version.id,
            service_account=account,
        )
    return run.run_id, name


def schedule(
    client: kfp.Client,
    package: Package,
    prepared: Prepared,
    name: str,
    cron: str,
    max_concurrency: int,
    catch_up: bool,
    account: str,
) -> tuple[Placed, int]:
    """Make a recurring run, then delete those of the same name in the experiment.

    In this order an error leaves the old ones at work: better a training twice than none without anybody knowing.

    Args:
        cron: with seconds, as `pipelines.cron.with_seconds` gives it.

    Returns:
        The new recurring run, and how many it replaces.
    """
    before = recurring_runs(client, prepared.experiment.id, name)
    made = client.create_recurring_run(
        prepared.experiment.id,
        name,
        description=f"{package.grid} ({prepared.version.name})",
        cron_expression=cron,
        max_concurrency=max_concurrency,
        no_catchup=not catch_up,
        params=package.arguments,
        pipeline_id=prepared.pipeline.id,
        version_id=prepared.version.id,
        service_account=account,
    )
    for old in before:
        client.delete_recurring_run(old)
    return Placed(made.recurring_run_id, name, new=True), len(before)


def unschedule(client: kfp.Client, experiment: str, name: str) -> int:
    """Delete the recurring runs of this name; how many. Raises TagscaleError where there is none."""
    place = find_experiment(client, experiment, make=False)
    found = recurring_runs(client, place.id, name)
    if not found:
        others = sorted({run.display_name for run in _recurring(client, place.id)})
        raise TagscaleError(f"no recurring run {name!r} in experiment {experiment!r}{_nearest(name, others)}")
    for run in found:
        client.delete_recurring_run(run)
    return len(found)


def cancel(client: kfp.Client, run_id: str) -> str:
    """End a run before its time; its name. Raises TagscaleError for one that is unknown or has ended."""
    run = get_run(client, run_id)
    if run.state in ENDED:
        raise TagscaleError(f"run {run_id} ({run.display_name}) has ended already: {run.state}.")
    client.terminate_run(run_id)
    return str(run.display_name)


def get_run(client: kfp.Client, run_id: str) -> Any:
    """The run. Raises TagscaleError for an identifier that the server does not know."""
    try:
        return client.get_run(run_id)
    except Refused as error:
        if error.status != 404:
            raise
        raise TagscaleError(f"no run {run_id}; expected the identifier at the end of the run's address.") from None


def run_address(host: str, run_id: str) -> str:
    """The page of a run. KF_PIPELINES_UI_ENDPOINT is where the pages are, where that is not the API's address."""
    return f"{os.environ.get('KF_PIPELINES_UI_ENDPOINT', host).rstrip('/')}/#/runs/details/{run_id}"


def find_experiment(client: kfp.Client, name: str, make: bool) -> Placed:
    """The experiment of this name. Raises TagscaleError as `prepare`."""
    namespace = client.get_user_namespace() or None
    listed = client.list_experiments(page_size=_PAGE, namespace=namespace, filter=_named(name)).experiments or []
    found = [experiment for experiment in listed if experiment.display_name == name]
    if found and found[0].storage_state == "ARCHIVED":
        raise TagscaleError(f"experiment {name!r} is archived: restore it on its page, or name another.")
    if found:
        return Placed(found[0].experiment_id, name, new=False)
    if not make:
        there = client.list_experiments(page_size=_PAGE, namespace=namespace).experiments or []
        raise TagscaleError(f"no experiment {name!r}{_nearest(name, [one.display_name for one in there])}")
    # Not client.create_experiment, which takes one whose name differs in case
    made = client.experiments.experiment_service_create_experiment(
        experiment=V2beta1Experiment(display_name=name, namespace=namespace)
    )
    return Placed(made.experiment_id, name, new=True)


def recurring_runs(client: kfp.Client, experiment_id: str, name: str) -> list[str]:
    """Identifiers of the recurring runs of this name in an experiment."""
    return [run.recurring_run_id for run in _recurring(client, experiment_id, name) if run.display_name == name]


def _recurring(client: kfp.Client, experiment_id: str, name: str | None = None) -> list[Any]:
    wanted = _named(name) if name else None
    listed = client.list_recurring_runs(page_size=_PAGE, experiment_id=experiment_id, filter=wanted)
    return listed.recurring_runs or []


def _pipeline(client: kfp.Client, name: str) -> Placed:
    namespace = client.get_user_namespace() or None

    def found() -> list[Placed]:
        listed = client.list_pipelines(page_size=_PAGE, namespace=namespace, filter=_named(name)).pipelines or []
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


def _version(client: kfp.Client, pipeline_id: str, package: Package) -> Placed:
    """The version of the package's name, uploaded where it is not there.

    A commit does not say everything (settings of a preset, TAGSCALE_IMAGE): where the version of this name is another
    pipeline, the digest goes into the name.
    """
    listed = client.list_pipeline_versions(pipeline_id, page_size=_PAGE, filter=_named(package.version))
    for there in listed.pipeline_versions or []:
        if there.display_name == package.version:
            if package.by_content or _same(package, there.pipeline_spec):
                return Placed(there.pipeline_version_id, package.version, new=False)
            return _version(client, pipeline_id, replace(package, by_content=True))
    with tempfile.TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / f"{package.version}.yaml"
        file.write_text(package.text, encoding="utf-8")
        made = client.upload_pipeline_version(
            str(file), package.version, pipeline_id=pipeline_id, description=package.grid
        )
    return Placed(made.pipeline_version_id, package.version, new=True)


def _same(package: Package, content: dict[str, Any] | None) -> bool:
    """Whether a version on the server is this pipeline; `content` has two parts where there is a platform's."""
    content = content or {}
    documents = (
        [content["pipeline_spec"], content.get("platform_spec", {})] if "pipeline_spec" in content else [content]
    )
    try:
        return specs_of(documents) == package.specs
    except json_format.ParseError:
        return False


def _named(name: str) -> str:
    """A filter for the API. Servers compare without case, so what comes back is compared again."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]})


def _nearest(name: str, there: list[str]) -> str:
    near = difflib.get_close_matches(name, there, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are: {', '.join(there[:20])}." if there else "; there are none."


def _quiet() -> contextlib.redirect_stdout[io.StringIO]:
    """kfp prints addresses of its own; the commands print them in one place."""
    return contextlib.redirect_stdout(io.StringIO())
