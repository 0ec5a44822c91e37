"""Submitting: a pipeline, its version, an experiment, and a run. What exists on the server is used again."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp_server_api import V2beta1PipelineVersionReference, V2beta1Run, V2beta1RuntimeConfig

from pipelines.client.api import Client
from pipelines.client.lookup import ENDED, PAGE, Entry, find_experiment, find_pipeline, get_run, named
from pipelines.client.package import Package, specs_of
from pipelines.client.transport import Refused
from tagscale.runtime.errors import TagscaleError


@dataclass(frozen=True)
class Target:
    """What a run needs on the server."""

    pipeline: Entry
    version: Entry
    experiment: Entry

    def job(self, account: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that runs and recurring runs share: the service account of their tasks, and their arguments."""
        reference = V2beta1PipelineVersionReference(pipeline_id=self.pipeline.id, pipeline_version_id=self.version.id)
        return {
            "experiment_id": self.experiment.id,
            "pipeline_version_reference": reference,
            "runtime_config": V2beta1RuntimeConfig(parameters=dict(arguments)),
            "service_account": account,
        }


def prepare(client: Client, package: Package, experiment: str, existing_experiment: bool = False) -> Target:
    """Find or create the pipeline, this version of it, and the experiment.

    Args:
        experiment: its name.
        existing_experiment: a missing experiment is an error and is not created.

    Raises:
        TagscaleError: the experiment is missing (names the nearest) or archived.
    """
    place = find_experiment(client, experiment, create=not existing_experiment)
    pipeline = find_pipeline(client, package.name)
    return Target(pipeline, _version(client, pipeline.id, package), place)


def start(
    client: Client, package: Package, target: Target, account: str, plugins: Mapping[str, Mapping[str, Any]]
) -> tuple[str, str]:
    """Start a run; returns its identifier and its name, which has title, version, subject and time.

    Args:
        account: the Kubernetes service account of its tasks.
        plugins: what the server's plugins get, by their names. Servers before 2.17 have none and refuse a run with
            this field, so that they get the run without it.
    """
    name = f"{package.title} {target.version.name} {package.about} {datetime.now():%Y-%m-%d %H:%M}"
    run = V2beta1Run(display_name=name, **target.job(account, package.arguments), plugins_input=dict(plugins))
    try:
        started = client.runs.run_service_create_run(run)
    except Refused as error:
        if error.status != 400 or 'unknown field "plugins_input"' not in str(error):
            raise
        run.plugins_input = None
        started = client.runs.run_service_create_run(run)
    return started.run_id, name


def cancel(client: Client, run_id: str) -> str:
    """Stop a run; returns its name. Raises TagscaleError for a run that is unknown or has ended."""
    run = get_run(client, run_id)
    if run.state in ENDED:
        raise TagscaleError(f"run {run_id} ({run.display_name}) has ended already: {run.state}.")
    client.runs.run_service_terminate_run(run_id)
    return str(run.display_name)


def _version(client: Client, pipeline_id: str, package: Package) -> Entry:
    """The version of the package's name, uploaded where it is missing.

    A commit does not determine everything (settings, the image). Where the version of this name is another pipeline,
    the digest goes into the name.
    """
    listed = client.pipelines.pipeline_service_list_pipeline_versions(
        pipeline_id, page_size=PAGE, filter=named(package.version)
    )
    for version in listed.pipeline_versions or []:
        if version.display_name == package.version:
            if package.by_content or _same(package, version.pipeline_spec):
                return Entry(version.pipeline_version_id, package.version, new=False)
            return _version(client, pipeline_id, replace(package, by_content=True))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{package.version}.yaml"
        file.write_text(package.text, encoding="utf-8")
        uploaded = client.uploads.upload_pipeline_version(
            str(file), name=package.version, pipelineid=pipeline_id, description=package.about
        )
    return Entry(uploaded.pipeline_version_id, package.version, new=True)


def _same(package: Package, content: dict[str, Any] | None) -> bool:
    """Whether a version on the server is this pipeline; `content` has two parts where one is the platform's."""
    content = content or {}
    documents = (
        [content["pipeline_spec"], content.get("platform_spec", {})] if "pipeline_spec" in content else [content]
    )
    try:
        return specs_of(documents) == package.specs
    except json_format.ParseError:
        return False
