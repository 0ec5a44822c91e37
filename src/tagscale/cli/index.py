"""The command that embeds a dataset's tracks, for the page that shows which of them sound alike."""

from pathlib import Path
from typing import Annotated

import typer

from tagscale.cli.stages import DATA
from tagscale.cli.use import USE
from tagscale.runtime.machine import sleep_while_waiting
from tagscale.runtime.memory import keep_freed_memory

app = typer.Typer()


@app.command(rich_help_panel=USE)
def index(
    model: Annotated[
        str,
        typer.Argument(help="champion, challenger, a version's number, or a published encoder such as msd-musicnn."),
    ] = "champion",
    data: Annotated[Path, typer.Option("--data", help="The folder that holds the dataset's store.")] = DATA,
) -> None:
    """Embed every track of the dataset with a model, so that `serve --data` finds the tracks most similar to a song.

    An interrupted run resumes. What is embedded already is skipped, unless the model or the audio has changed.
    """
    sleep_while_waiting()
    keep_freed_memory()
    from tagscale.runtime.progress import progress_bar
    from tagscale.serving.neighbours import folder_of
    from tagscale.serving.neighbours import index as embed
    from tagscale.serving.tagger import load
    from tagscale.store.read import Store

    store, tagger = Store.open(data / "store"), load(model)
    work = embed(data, store, tagger.sha256, tagger.audio.scorer.embed)
    with progress_bar("tracks", transient=True) as progress:
        for _ in progress.track(work, len(store), description="embedding"):
            pass
    folder = folder_of(data, store.hash, tagger.sha256)
    print(f"{folder}: {len(store)} tracks, embedded by {tagger.model} ({tagger.version})")
