"""The commands that hand a tagger on: as ONNX, to programs without tagscale."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tagscale.cli.use import USE

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
    console = Console(highlight=False, soft_wrap=True)
    for path, name in written.items():
        what = f"{tagger.model} {tagger.version}" + (f", its member {name}" if name else "")
        console.print(f"{path} ({path.stat().st_size / 1e6:.1f} MB): {what}", markup=False)
    if any(written.values()):
        console.print(
            "These are members of an ensemble: the metadata's `pooling` says how their scores become the tagger's."
        )
