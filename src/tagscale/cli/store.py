"""`tagscale store`: describe a store, verify it, and merge slices into one."""

from pathlib import Path
from typing import Annotated

import typer

from tagscale.cli.stages import STORE

app = typer.Typer(help="The decoded audio: info, verify, merge.", no_args_is_help=True)

Store = Annotated[Path, typer.Argument(help="Folder of the store.")]


@app.command()
def info(
    store: Store = STORE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Print tracks, hours, bytes, shards, hash, and the rates and channels of the source files."""
    from tagscale.stages import store as stage

    stage.info(store, as_json)


@app.command()
def verify(store: Store = STORE) -> None:
    """Check every byte against the checksums; name damaged shards and the tracks in them."""
    from tagscale.stages import store as stage

    stage.verify(store)


@app.command()
def merge(
    stores: Annotated[list[Path], typer.Argument(help="Stores of all slices (preprocess --shard I/N).")],
    into: Annotated[Path, typer.Option(help="Folder of the joined store.")] = STORE,
) -> None:
    """Join the stores of all slices into one."""
    from tagscale.stages import store as stage

    stage.merge(stores, into)
