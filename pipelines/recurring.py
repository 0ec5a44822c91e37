"""Recurring runs: a pipeline that starts by itself, again and again."""

from typing import Any

import kfp

from pipelines.lookup import PAGE, Placed, find_experiment, named, nearest
from pipelines.package import Package
from pipelines.submit import Prepared
from tagscale.runtime.errors import TagscaleError


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
    before = _of_name(client, prepared.experiment.id, name)
    made = client.create_recurring_run(
        prepared.experiment.id,
        name,
        description=f"{package.grid} ({prepared.version.name})",
        cron_expression=cron,
        max_concurrency=max_concurrency,
        no_catchup=not catch_up,
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
    found = _of_name(client, place.id, name)
    if not found:
        others = sorted({run.display_name for run in _listed(client, place.id)})
        raise TagscaleError(f"no recurring run {name!r} in experiment {experiment!r}{nearest(name, others)}")
    for run in found:
        client.delete_recurring_run(run)
    return len(found)


def _of_name(client: kfp.Client, experiment_id: str, name: str) -> list[str]:
    """Identifiers of the recurring runs of this name in an experiment."""
    return [run.recurring_run_id for run in _listed(client, experiment_id, name) if run.display_name == name]


def _listed(client: kfp.Client, experiment_id: str, name: str | None = None) -> list[Any]:
    wanted = named(name) if name else None
    listed = client.list_recurring_runs(page_size=PAGE, experiment_id=experiment_id, filter=wanted)
    return listed.recurring_runs or []
