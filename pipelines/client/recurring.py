"""Recurring runs: a pipeline that a server starts again and again."""

from typing import Any

from kfp_server_api import RecurringRunMode, V2beta1CronSchedule, V2beta1RecurringRun, V2beta1Trigger

from pipelines.client.api import Client
from pipelines.client.lookup import PAGE, Entry, find_experiment, named, nearest
from pipelines.client.package import Package
from pipelines.client.submit import Target
from tagscale.runtime.errors import TagscaleError


def schedule(
    client: Client,
    package: Package,
    target: Target,
    name: str,
    cron: str,
    max_concurrency: int,
    catch_up: bool,
    account: str,
) -> tuple[Entry, int]:
    """Create a recurring run, then delete those of the same name in the experiment.

    In this order an error leaves the old ones in place: a training too many is better than none unnoticed.

    Args:
        cron: with seconds, as `cron.with_seconds` gives it.

    Returns:
        The new recurring run, and how many it replaces.
    """
    old = _of_name(client, target.experiment.id, name)
    created = client.recurring.recurring_run_service_create_recurring_run(
        V2beta1RecurringRun(
            display_name=name,
            description=f"{package.about} ({target.version.name})",
            mode=RecurringRunMode.ENABLE,
            trigger=V2beta1Trigger(cron_schedule=V2beta1CronSchedule(cron=cron)),
            max_concurrency=max_concurrency,
            no_catchup=not catch_up,
            **target.job(account, package.arguments),
        )
    )
    _delete(client, old)
    return Entry(created.recurring_run_id, name, new=True), len(old)


def unschedule(client: Client, experiment: str, name: str) -> int:
    """Delete the recurring runs of this name; returns their number. Raises TagscaleError where there is none."""
    place = find_experiment(client, experiment, create=False)
    runs = _of_name(client, place.id, name)
    if not runs:
        others = sorted({run.display_name for run in _listed(client, place.id)})
        raise TagscaleError(f"no recurring run {name!r} in experiment {experiment!r}{nearest(name, others)}")
    _delete(client, runs)
    return len(runs)


def _delete(client: Client, identifiers: list[str]) -> None:
    for identifier in identifiers:
        client.recurring.recurring_run_service_delete_recurring_run(identifier)


def _of_name(client: Client, experiment_id: str, name: str) -> list[str]:
    """Identifiers of the recurring runs of this name in an experiment."""
    runs = _listed(client, experiment_id, filter=named(name))
    return [run.recurring_run_id for run in runs if run.display_name == name]


def _listed(client: Client, experiment_id: str, **condition: str) -> list[Any]:
    listed = client.recurring.recurring_run_service_list_recurring_runs(
        page_size=PAGE, experiment_id=experiment_id, **condition
    )
    return listed.recurring_runs or []
