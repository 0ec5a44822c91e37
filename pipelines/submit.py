"""Submitting: a pipeline, its version, an experiment and a run of it. Whatever is there already is used."""

import contextlib
import io
import os
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import kfp
from google.protobuf import json_format

from pipelines.lookup import ENDED, PAGE, Placed, find_experiment, find_pipeline, get_run, named
from pipelines.package import Package, specs_of
from tagscale.runtime.errors import TagscaleError


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
    pipeline = find_pipeline(client, package.name)
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
            pipeline_id=prepared.pipeline.id,
            version_id=prepared.version.id,
            service_account=account,
        )
    return run.run_id, name


def cancel(client: kfp.Client, run_id: str) -> str:
    """End a run before its time; its name. Raises TagscaleError for one that is unknown or has ended."""
    run = get_run(client, run_id)
    if run.state in ENDED:
        raise TagscaleError(f"run {run_id} ({run.display_name}) has ended already: {run.state}.")
    client.terminate_run(run_id)
    return str(run.display_name)


def run_address(host: str, run_id: str) -> str:
    """The page of a run. KF_PIPELINES_UI_ENDPOINT is where the pages are, where that is not the API's address."""
    return f"{os.environ.get('KF_PIPELINES_UI_ENDPOINT', host).rstrip('/')}/#/runs/details/{run_id}"


def _version(client: kfp.Client, pipeline_id: str, package: Package) -> Placed:
    """The version of the package's name, uploaded where it is not there.

    A commit does not say everything (settings of a preset, TAGSCALE_IMAGE): where the version of this name is another
    pipeline, the digest goes into the name.
    """
    listed = client.list_pipeline_versions(pipeline_id, page_size=PAGE, filter=named(package.version))
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


def _quiet() -> contextlib.redirect_stdout[io.StringIO]:
    """kfp prints addresses of its own; the commands print them in one place."""
    return contextlib.redirect_stdout(io.StringIO())
