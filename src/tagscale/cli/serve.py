"""The command that serves a registered version over HTTP."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from tagscale.cli.stages import PARAMS, ParamsFile
from tagscale.cli.use import USE
from tagscale.models.pretrained import is_published
from tagscale.params.load import load, registered_model
from tagscale.runtime.errors import TagscaleError

app = typer.Typer()
TOKENS = "TAGSCALE_TOKENS"
SHORTEST_TOKEN = 16  # characters


@app.command(rich_help_panel=USE)
def serve(
    version: Annotated[str, typer.Option(help="Version number, champion or challenger.")] = "champion",
    model: Annotated[
        str | None, typer.Option(help="Another registered model than registry.name, or a published encoder.")
    ] = None,
    beside: Annotated[
        list[str] | None, typer.Option(help="Also loads this version, or published encoder, for requests that name it.")
    ] = None,
    shadow: Annotated[
        str | None,
        typer.Option(help="Hears the same recordings afterwards; --record keeps what both say."),
    ] = None,
    record: Annotated[Path | None, typer.Option(help="Folder for rows of what is served, as Parquet.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen at: 127.0.0.1, 0.0.0.0 or ::.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1024, max=65535, help="Port to listen at.")] = 8080,
    follow: Annotated[
        float, typer.Option(min=0, help="Seconds between two looks at an alias in the registry; 0: never.")
    ] = 30,
    at_once: Annotated[int, typer.Option(min=1, help="Requests in work at a time; another one gets 429.")] = 16,
    body: Annotated[int, typer.Option(min=1, help="MiB of a request; a larger one gets 413.")] = 64,
    recordings: Annotated[int, typer.Option(min=1, help="Recordings in a request; more get 400.")] = 8,
    minutes: Annotated[float, typer.Option(min=0.1, help="Of a recording; a longer one is not tagged.")] = 20,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds until a request is answered with 504.")] = 300,
    batch: Annotated[int, typer.Option(min=2, help="Recordings that are scored at once, at most.")] = 16,
    decoders: Annotated[
        int | None, typer.Option(min=1, help="Processes that decode; by default one a core, 4 at most.")
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help=f"File of tokens, one a line; {TOKENS} holds them as well, with commas.")
    ] = None,
    open_metrics: Annotated[bool, typer.Option(help="GET /metrics needs no token.")] = True,
    data: Annotated[
        Path | None, typer.Option(help="Folder of a dataset's catalog and store, which the page then knows.")
    ] = None,
    corrections: Annotated[
        Path | None, typer.Option(help="CSV that takes corrections from the page; corrections.csv in dataset.root.")
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Answer HTTP requests with the tags of audio files: POST /tag, the Open Inference Protocol v2, /invocations.

    A browser gets a page at the same address, which plays a song and shows its tags over time.

    Every answer names the version in its header X-Tagscale-Model. A version number stays; an alias is followed, and
    the version that it moves to is loaded beside the old one before it takes over. GET /healthz says that the server
    is alive, GET /readyz whether it takes another request, GET /metrics how it is doing.
    """
    if not version:
        raise TagscaleError("--version is empty: no version is rolled out to this pod yet. `tagscale deploy` does it.")
    if shadow and not record:
        raise TagscaleError("--shadow needs --record FOLDER: what the shadow says is kept there, and nowhere else.")
    from tagscale.serving.server.app import Settings
    from tagscale.serving.server.app import serve as run
    from tagscale.serving.server.guard import Limits
    from tagscale.serving.server.lineup import ALIASES, BESIDE, LEAD, SHADOW, Asked

    name = model or registered_model(params)
    lead = name if is_published(name) and version == ALIASES[0] else version  # an encoder is there without a registry
    others = [one for one in dict.fromkeys(beside or []) if one != lead]  # each name has one slot
    roles = {LEAD: [lead], BESIDE: others, SHADOW: [shadow] if shadow else []}
    settings = Settings(
        host,
        port,
        [Asked(one, role, name) for role, names in roles.items() for one in names],
        Limits(at_once, body << 20, recordings, minutes * 60, timeout),
        batch,
        follow,
        tokens=_tokens(tokens),
        open_metrics=open_metrics,
        decoders=decoders,
        data=data,
        corrections=corrections,
        record=record,
    )
    run(settings, lambda line: typer.echo(line, err=True))


@app.command(rich_help_panel=USE)
def compare_served(
    folder: Annotated[Path, typer.Argument(help="What `tagscale serve --shadow VERSION --record FOLDER` has written.")],
    labels: Annotated[
        Path | None, typer.Option(help="CSV of what is true: path (or file), tag, value, and artist if it is known.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="With labels; registry.metric by default.")] = None,
    lead: Annotated[
        str | None,
        typer.Option(help="Version of the lead, as 4; the highest number by default, also after a rollback."),
    ] = None,
    shadow: Annotated[str | None, typer.Option(help="Version of the shadow; the highest number by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="Page to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Put what a shadow said beside what the lead answered: decisions, scores, times, and what is true."""
    from tagscale.serving.comparison import as_json as to_json
    from tagscale.serving.comparison import compare, write_page

    metric = metric or (load(params).registry.metric if params.is_file() else "pr_auc")
    comparison = compare(folder, labels, metric, lead, shadow)
    if out:
        write_page(comparison, out)
    if as_json:
        typer.echo(json.dumps(to_json(comparison), indent=2))
        return
    who = f"{comparison.shadow} in the shadow of {comparison.lead}"
    print(f"{who}: {comparison.recordings} recordings")
    print(comparison.verdict)
    if out:
        print(f"{out} shows them tag by tag.")


def _tokens(file: Path | None) -> list[str]:
    """The tokens of the file and of the environment. Raises TagscaleError for a file without one, or one of no use."""
    known = os.environ.get(TOKENS, "").split(",")
    if file is not None:
        try:
            known += file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise TagscaleError(f"--tokens {file}: cannot be read ({error}); expected a token a line.") from None
    tokens = [token.strip() for token in known if token.strip()]
    if file is not None and not tokens:
        raise TagscaleError(f"--tokens {file}: no token in it; expected one a line.")
    if any(len(token) < SHORTEST_TOKEN for token in tokens):
        raise TagscaleError(
            f"A token of this server has less than {SHORTEST_TOKEN} characters: it could be guessed. "
            "`openssl rand -hex 32` makes one."
        )
    if not all(token.isascii() for token in tokens):
        raise TagscaleError("A token of this server has letters beyond ASCII, for which a header has no one form.")
    return tokens
