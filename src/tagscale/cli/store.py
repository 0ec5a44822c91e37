"""`tagscale store`: what a store holds, whether it is undamaged, and slices joined to one."""

from pathlib import Path
from typing import Annotated

import typer

from tagscale.cli.stages import DATA

app = typer.Typer(help="The decoded audio: info, verify, merge.", no_args_is_help=True)

Store = Annotated[Path, typer.Argument(help="Folder of the store.")]


@app.command()
def info(
    store: Store = DATA / "store",
    as_json: Annotated[bool, typer.Option("--json", help="The numbers, for machines.")] = False,
) -> None:
    """Print tracks, hours, bytes, shards, hash and what the files were like."""
    from tagscale.stages import store as stage

    stage.info(store, as_json)


@app.command()
def verify(store: Store = DATA / "store") -> None:
    """Check every byte against the checksums; name damaged shards and the tracks in them."""
    from tagscale.stages import store as stage

    stage.verify(store)


@app.command()
def merge(
    stores: Annotated[list[Path], typer.Argument(help="Stores of all slices (preprocess --shard I/N).")],
    into: Annotated[Path, typer.Option(help="Folder of the joined store.")] = DATA / "store",
) -> None:
    """Join the stores of all slices to one."""
    from tagscale.stages import store as stage

    stage.merge(stores, into)
