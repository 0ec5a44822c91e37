"""The commands that serve a registered version: an HTTP server on this machine, and rollouts on a cluster."""

from typing import Annotated

import typer
from rich.console import Console

from tagscale.cli.stages import PARAMS, ParamsFile
from tagscale.cli.use import USE
from tagscale.params.load import load
from tagscale.runtime.errors import TagscaleError

app = typer.Typer()


@app.command(rich_help_panel=USE)
def serve(
    version: Annotated[str, typer.Option(help="Version number, champion or challenger.")] = "champion",
    model: Annotated[str | None, typer.Option(help="Another registered model than registry.name.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 8080,
    at_once: Annotated[int, typer.Option(min=1, help="Requests in work at a time; another one gets 503.")] = 2,
    body: Annotated[int, typer.Option(min=1, help="MiB of a request; a larger one gets 413.")] = 64,
    recordings: Annotated[int, typer.Option(min=1, help="Recordings in a request; more get 400.")] = 8,
    minutes: Annotated[float, typer.Option(min=0.1, help="Of a recording; a longer one is not tagged.")] = 20,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds until a request is answered with 504.")] = 300,
    params: ParamsFile = PARAMS,
) -> None:
    """Answer HTTP requests with the tags of audio files, in MLflow's protocol (POST /invocations).

    An alias is looked up once, when the server starts. Every answer has the number of the version in its header
    X-Tagscale-Model. GET /ping says that the server is alive, GET /ready whether it takes another request.
    """
    if not version:
        raise TagscaleError("--version is empty: no version is rolled out to this pod yet. `tagscale deploy` does it.")
    import uvicorn

    from tagscale.registry.package import load_version
    from tagscale.serving.server import Limits, guarded, served

    tagger, registered = load_version(model or load(params).registry.name, version)
    limits = Limits(at_once, body << 20, recordings, minutes * 60, timeout)
    name = f"{registered.name}/{registered.number}"
    typer.echo(f"{name}: POST http://{host}:{port}/invocations")
    app = guarded(served(tagger, limits), name, limits)
    uvicorn.run(app, host=host, port=port, lifespan="on", log_level="warning", timeout_graceful_shutdown=timeout)


@app.command(rich_help_panel=USE)
def deploy(
    version: Annotated[str | None, typer.Argument(help="Version number or alias; default: the champion.")] = None,
    back: Annotated[bool, typer.Option("--back", help="The version that was served before the present one.")] = False,
    namespace: Annotated[str, typer.Option(help="Of the champion's pods.")] = "tagscale",
    minutes: Annotated[float, typer.Option(min=0.1, help="How long to wait for its pods.")] = 15,
    params: ParamsFile = PARAMS,
) -> None:
    """Roll out a registered version on the cluster that kubectl talks to, and wait until no pod serves another.

    The registry is not changed: `tagscale promote` and `tagscale rollback` move the champion.
    """
    if back and version:
        raise TagscaleError(f"expected either a version or --back; found {version} and --back.")
    from tagscale.cluster.rollout import rollouts
    from tagscale.registry.versions import CHAMPION, Registry

    name = load(params).registry.name
    cluster, registry = rollouts(namespace, typer.echo), Registry.open(name)
    served = cluster.served()
    if served.model != name:
        raise TagscaleError(
            f"The pods in namespace {namespace} serve the model {served.model} (--model of their container), and "
            f"registry.name in {params} is {name}. Make them one."
        )
    if back and not served.before:
        raise TagscaleError(f"Namespace {namespace}: no version was served before {served.version or 'the first one'}.")
    number = registry.version((served.before if back else version) or CHAMPION).number
    before = cluster.roll_out(number, minutes * 60).version
    replaced = f", in place of version {before}" if before and before != number else ""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{name}: version [bold]{number}[/] is served, and no other{replaced}.")
    champion = registry.aliases().get(CHAMPION)
    if champion != number:
        said = f"version {champion}" if champion else "nobody"
        console.print(f"The registry's champion is {said}: `tagscale promote` or `tagscale rollback` moves it.")
