"""The commands that need a server: submit, wait, cancel, schedule."""

import shlex
import sys
from typing import Annotated

import typer

from pipelines.client.api import Client, connect
from pipelines.client.cron import with_seconds
from pipelines.client.follow import follow
from pipelines.client.options import with_shared_options
from pipelines.client.package import Package
from pipelines.client.recurring import schedule, unschedule
from pipelines.client.server import Server
from pipelines.client.submit import Target, cancel, prepare, start
from pipelines.options import Packed, Submission
from tagscale.cluster.image import Image
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.signals import Interrupted

INTERRUPTED = 130  # exit status after Ctrl-C, by the custom of shells

Minutes = Annotated[float | None, typer.Option("--timeout", min=0, help="Minutes to wait; default: to the end.")]
Run = Annotated[str, typer.Argument(help="Identifier of the run, from the end of its address.")]


@with_shared_options
def submit_command(
    server: Server,
    submission: Submission,
    pipeline: Packed = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the run; exit status 1 where it does not succeed.")
    ] = False,
    timeout: Minutes = None,
) -> None:
    """Run a pipeline on a Kubeflow Pipelines server, as a version named by the git commit."""
    name, package = submission.pack(pipeline, "study")
    package = package.given(**submission.arguments(name))
    _check_images(package)
    client = connect(server)
    target = prepare(client, package, submission.experiment or package.title, submission.existing_experiment)
    _print_target(target)
    plugins = {"mlflow": {"experiment_name": package.title}}  # so that the plugin's run is beside the trainings'
    run_id, title = start(client, package, target, submission.service_account, plugins)
    _print(run=title, id=run_id, url=server.run_page(run_id))
    if wait:
        _wait(client, server, run_id, timeout)


@with_shared_options
def wait_command(server: Server, run: Run, timeout: Minutes = None) -> None:
    """Follow a run to its end; exit status 1 where it does not succeed."""
    _wait(connect(server), server, run, timeout)


@with_shared_options
def cancel_command(server: Server, run: Run) -> None:
    """Stop a run."""
    _print(canceling=cancel(connect(server), run), url=server.run_page(run))


@with_shared_options
def schedule_command(
    server: Server,
    submission: Submission,
    pipeline: Packed = None,
    cron: Annotated[str | None, typer.Option(help='When, in UTC: "0 3 * * *" is every day at 3:00.')] = None,
    name: Annotated[str | None, typer.Option(help="Of the recurring run; default: pipeline and experiment.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Delete the recurring run of this name.")] = False,
    max_concurrency: Annotated[int, typer.Option(min=1, max=10, help="Runs of it at the same time.")] = 1,
    catch_up: Annotated[bool, typer.Option(help="After a pause, run for every time that was missed.")] = False,
) -> None:
    """Run a pipeline again and again; a recurring run of the same name is replaced."""
    if (cron is None) != remove:
        raise TagscaleError("expected either --cron, to make or replace a recurring run, or --remove, to delete it.")
    times = with_seconds(cron) if cron else ""
    packed, package = submission.pack(pipeline, "retrain")
    if not remove:
        package = package.given(**submission.arguments(packed))
    experiment = submission.experiment or package.title
    name = name or f"{package.name} {experiment}"
    client = connect(server)
    if remove:
        count = unschedule(client, experiment, name)
        _print(removed=f"{name} ({count} of them)" if count > 1 else name)
        return
    _check_images(package)
    target = prepare(client, package, experiment, submission.existing_experiment)
    _print_target(target)
    entry, replaced = schedule(
        client, package, target, name, times, max_concurrency, catch_up, submission.service_account
    )
    _print(recurring=f"{name}, {'in place of the one before' if replaced else 'new'}")
    _print(when=f"{times} (with seconds, UTC)", id=entry.id)


def _check_images(package: Package) -> None:
    """Raise TagscaleError for an image of a registry whose tag may name another image later."""
    for image in sorted(package.images):
        Image.of(image).check_lasting()


def _print(**lines: str) -> None:
    for name, text in lines.items():
        typer.echo(f"{name:13}{text}")


def _print_target(target: Target) -> None:
    new = {True: "new", False: "there already"}
    _print(
        pipeline=f"{target.pipeline.name}, version {target.version.name} ({new[target.version.new]})",
        experiment=f"{target.experiment.name} ({new[target.experiment.new]})",
    )


def _wait(client: Client, server: Server, run_id: str, minutes: float | None) -> None:
    """Follow the run and exit by its state; after Ctrl-C, print how to continue and how to cancel."""
    wait, stop = (
        shlex.join(["tagscale", "pipelines", name, *server.arguments(), run_id]) for name in ("wait", "cancel")
    )
    try:
        state = follow(client, run_id, minutes, typer.echo)
    except TagscaleError as error:
        raise TagscaleError(f"{error} To wait again:\n  {wait}") from None
    except Interrupted:
        typer.echo(f"\nThe run goes on. To wait for it again, or to cancel it:\n  {wait}\n  {stop}")
        sys.exit(INTERRUPTED)
    _print(ended=state, url=server.run_page(run_id))
    if state != "SUCCEEDED":
        raise typer.Exit(1)
