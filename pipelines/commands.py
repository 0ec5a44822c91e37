"""The commands that talk to a server: submit, wait, cancel, schedule."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import kfp
import typer

from pipelines.access import Access
from pipelines.cron import with_seconds
from pipelines.definitions import PIPELINES, defined, one_cell
from pipelines.follow import follow
from pipelines.package import Package, compiled, read_package, without_caching
from pipelines.recurring import schedule, unschedule
from pipelines.server import connect
from pipelines.submit import Prepared, cancel, prepare, run_address, start
from tagscale.params.load import Params, load
from tagscale.runtime.errors import TagscaleError

INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it

Host = Annotated[
    str, typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="Address of the API, with http:// or https://.")
]
Token = Annotated[
    Path | None,
    typer.Option(
        envvar="KF_PIPELINES_SA_TOKEN_PATH", help="File with a bearer token; or set TAGSCALE_KFP_TOKEN to it."
    ),
]
Cookie = Annotated[
    Path | None,
    typer.Option(help="File with a session cookie, VALUE or NAME=VALUE; or set TAGSCALE_KFP_COOKIE to it."),
]
Namespace = Annotated[str | None, typer.Option(help="Your Kubeflow profile, where the server has several users.")]
CaFile = Annotated[Path | None, typer.Option(help="Certificates to trust, where an authority of your own signs.")]
Name = Annotated[str, typer.Option("--pipeline", help=f"Which one: {', '.join(PIPELINES)}.")]
File = Annotated[Path | None, typer.Option(help="Submit this compiled pipeline in place of compiling one now.")]
ParamsFile = Annotated[Path, typer.Option("--params", help="Settings.")]
Preset = Annotated[Path | None, typer.Option(help="File with the settings that differ, laid over --params.")]
Experiment = Annotated[str | None, typer.Option(help="Made where it is not there; default: tracking.experiment.")]
Existing = Annotated[bool, typer.Option("--existing-experiment", help="An experiment that is not there is an error.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Run every task, in loops too.")]
Account = Annotated[str, typer.Option(help="Kubernetes service account of the tasks.")]
Minutes = Annotated[float | None, typer.Option("--timeout", min=0, help="Minutes to wait; default: to the end.")]
Run = Annotated[str, typer.Argument(help="Identifier of the run, from the end of its address.")]


class Cell:
    """Options that narrow a pipeline of one training (training, retrain) to which one."""

    Model = Annotated[str | None, typer.Option("--model", help="training, retrain: default the first of train.models.")]
    Size = Annotated[str | None, typer.Option("--size", help="Training tracks or `all`; default the largest size.")]
    Seed = Annotated[int | None, typer.Option("--seed", help="Default: the first of train.seeds.")]

    @staticmethod
    def narrowed(params: Params, pipeline: str, model: str | None, size: str | None, seed: int | None) -> Params:
        """The settings for this pipeline. Raises TagscaleError for a choice that it does not have."""
        if defined(pipeline).one_cell:
            return one_cell(params, model, size, seed)
        if (model, size, seed) != (None, None, None):
            raise TagscaleError(
                f"--pipeline {pipeline}: --model, --size and --seed are for training and retrain; the grid of a study "
                "stands in params.yaml (train)."
            )
        return params


TASKS_ACCOUNT = "tagscale-pipeline"  # k8s/ makes it


def submit_command(
    host: Host,
    pipeline: Name = "study",
    package: File = None,
    params: ParamsFile = Path("params.yaml"),
    preset: Preset = None,
    model: Cell.Model = None,
    size: Cell.Size = None,
    seed: Cell.Seed = None,
    experiment: Experiment = None,
    existing_experiment: Existing = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the run; exit status 1 where it does not succeed.")
    ] = False,
    timeout: Minutes = None,
    no_cache: NoCache = False,
    service_account: Account = TASKS_ACCOUNT,
    token: Token = None,
    cookie: Cookie = None,
    namespace: Namespace = None,
    ca_file: CaFile = None,
) -> None:
    """Run a pipeline on a Kubeflow Pipelines server, as a version named by the git commit."""
    access = Access(host, token, cookie, namespace, ca_file)
    ready = _package(pipeline, package, params, preset, no_cache, (model, size, seed))
    client = connect(access)
    prepared = prepare(client, ready, experiment or ready.settings.tracking.experiment, existing_experiment)
    _tell(prepared)
    run_id, name = start(client, ready, prepared, service_account)
    typer.echo(f"{'run':13}{name}\n{'id':13}{run_id}\n{'url':13}{run_address(access.host, run_id)}")
    if wait:
        _wait(client, access, run_id, timeout)


def wait_command(
    host: Host,
    run: Run,
    timeout: Minutes = None,
    token: Token = None,
    cookie: Cookie = None,
    namespace: Namespace = None,
    ca_file: CaFile = None,
) -> None:
    """Follow a run to its end; exit status 1 where it does not succeed."""
    access = Access(host, token, cookie, namespace, ca_file)
    _wait(connect(access), access, run, timeout)


def cancel_command(
    host: Host,
    run: Run,
    token: Token = None,
    cookie: Cookie = None,
    namespace: Namespace = None,
    ca_file: CaFile = None,
) -> None:
    """End a run before its time."""
    access = Access(host, token, cookie, namespace, ca_file)
    typer.echo(f"canceling    {cancel(connect(access), run)}\n{'url':13}{run_address(access.host, run)}")


def schedule_command(
    host: Host,
    cron: Annotated[str | None, typer.Option(help='When, in UTC: "0 3 * * *" is every day at 3:00.')] = None,
    name: Annotated[str | None, typer.Option(help="Of the recurring run; default: pipeline and experiment.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Delete the recurring run of this name.")] = False,
    max_concurrency: Annotated[int, typer.Option(min=1, max=10, help="Runs of it at the same time.")] = 1,
    catch_up: Annotated[bool, typer.Option(help="After a pause, run for every time that was missed.")] = False,
    pipeline: Name = "retrain",
    package: File = None,
    params: ParamsFile = Path("params.yaml"),
    preset: Preset = None,
    model: Cell.Model = None,
    size: Cell.Size = None,
    seed: Cell.Seed = None,
    experiment: Experiment = None,
    existing_experiment: Existing = False,
    no_cache: NoCache = False,
    service_account: Account = TASKS_ACCOUNT,
    token: Token = None,
    cookie: Cookie = None,
    namespace: Namespace = None,
    ca_file: CaFile = None,
) -> None:
    """Run a pipeline again and again; a recurring run of the same name is replaced."""
    if (cron is None) != remove:
        raise TagscaleError("expected either --cron, to make or replace a recurring run, or --remove, to delete it.")
    times = with_seconds(cron) if cron else ""
    access = Access(host, token, cookie, namespace, ca_file)
    ready = _package(pipeline, package, params, preset, no_cache, (model, size, seed))
    study = experiment or ready.settings.tracking.experiment
    name = name or f"{ready.name} {study}"
    client = connect(access)
    if remove:
        count = unschedule(client, study, name)
        typer.echo(f"{'removed':13}{name}{f' ({count} of them)' if count > 1 else ''}")
        return
    prepared = prepare(client, ready, study, existing_experiment)
    _tell(prepared)
    made, replaced = schedule(client, ready, prepared, name, times, max_concurrency, catch_up, service_account)
    typer.echo(f"{'recurring':13}{name}, {'in place of the one before' if replaced else 'new'}")
    typer.echo(f"{'when':13}{times} (with seconds, UTC)\n{'id':13}{made.id}")


def _package(
    name: str,
    file: Path | None,
    params: Path,
    preset: Path | None,
    no_cache: bool,
    cell: tuple[str | None, str | None, int | None],
) -> Package:
    package = read_package(file) if file else compiled(name, Cell.narrowed(load(params, preset), name, *cell))
    return without_caching(package) if no_cache else package


def _tell(prepared: Prepared) -> None:
    new = {True: "new", False: "there already"}
    pipeline, version = prepared.pipeline, prepared.version
    typer.echo(f"{'pipeline':13}{pipeline.name}, version {version.name} ({new[version.new]})")
    typer.echo(f"{'experiment':13}{prepared.experiment.name} ({new[prepared.experiment.new]})")


def _wait(client: kfp.Client, access: Access, run_id: str, minutes: float | None) -> None:
    """Follow the run and end with its state; whoever stops waiting is told how to go on and how to cancel."""
    try:
        state = follow(client, run_id, minutes, typer.echo)
    except TagscaleError as error:
        raise TagscaleError(f"{error} To wait again:\n  {_command('wait', access, run_id)}") from None
    except KeyboardInterrupt:
        typer.echo(f"\nThe run goes on. To wait for it again, or to cancel it:\n  {_command('wait', access, run_id)}")
        typer.echo(f"  {_command('cancel', access, run_id)}")
        sys.exit(INTERRUPTED)
    typer.echo(f"{'ended':13}{state}\n{'url':13}{run_address(access.host, run_id)}")
    if state != "SUCCEEDED":
        raise typer.Exit(1)


def _command(name: str, access: Access, run_id: str) -> str:
    """A command line for the same server; secrets are not in it, only the names of their files."""
    options = {"--token": access.token, "--cookie": access.cookie, "--namespace": access.namespace}
    options |= {"--ca-file": access.ca_file}
    given = [part for option, value in options.items() if value for part in (option, str(value))]
    return shlex.join(["python", "-m", "pipelines", name, "--host", access.host, *given, run_id])
