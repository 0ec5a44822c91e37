"""The command that serves a registered version over HTTP."""

from typing import Annotated

import typer

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
