"""The commands that hand a tagger on: its model card to people, its network as ONNX to programs without tagscale."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from tagscale.cli.stages import Registered, Version
from tagscale.cli.use import USE
from tagscale.runtime.files import replacing

app = typer.Typer()
TAGGER = Path("tagger.onnx")


@app.command(rich_help_panel=USE)
def export(
    model: Annotated[
        str, typer.Option(help="champion, challenger, a number, OTHER-MODEL/4, a published encoder, or a folder.")
    ] = "champion",
    out: Annotated[Path, typer.Option(help="The file; networks of an ensemble: tagger.MEMBER.onnx.")] = TAGGER,
    member: Annotated[str | None, typer.Option(help="Of an ensemble: export this network alone.")] = None,
) -> None:
    """Write a tagger's network as ONNX: from the samples to the scores, whatever the batch and the length.

    The file's metadata has the tags, their thresholds and calibrations, the moving window, and the licence of published
    weights. Trees cannot be exported, and so no ensemble that has some; its networks can, one at a time.
    """
    from tagscale.registry.export import export as write
    from tagscale.serving.tagger import load

    tagger = load(model)
    written = write(tagger.audio, out, {"model": tagger.model, "version": tagger.version}, member)
    for path, name in written.items():
        what = f"{tagger.model} {tagger.version}" + (f", its member {name}" if name else "")
        print(f"{path} ({path.stat().st_size / 1e6:.1f} MB): {what}")
    if any(written.values()):
        print("These are members of an ensemble: the metadata's `pooling` says how their scores become the tagger's.")


@app.command(rich_help_panel=USE)
def card(
    version: Version = None,
    model: Registered = None,
    out: Annotated[Path | None, typer.Option(help="Write the Markdown to this file.")] = None,
) -> None:
    """Show the model card of a version: use, scores by group and tag, limits, data, decisions, and how it was made."""
    from tagscale.params.load import registered_model
    from tagscale.registry.card import card_text

    text = card_text(model or registered_model(), version)
    console = Console(highlight=False)
    if out is None:
        console.print(Markdown(text)) if console.is_terminal else typer.echo(text, nl=False)
        return
    with replacing(out) as fresh:
        fresh.write_text(text, encoding="utf-8")
    print(f"{out}: the model card")
