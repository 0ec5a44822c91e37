"""The data before and beside the stages: fetch a dataset, look for leaks, give a version its name."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tagscale.cli.settings import rewrite
from tagscale.cli.stages import DATA, PARAMS, CatalogFolder, ParamsFile, StoreFolder, ValidationFolder
from tagscale.params.load import dataset_of, load

app = typer.Typer()

DATASETS = "Data"


@app.command(rich_help_panel=DATASETS)
def fetch(
    dataset: Annotated[str, typer.Argument(help="mtt or fma.")],
    root: Annotated[Path | None, typer.Option(help="Folder for it; data/DATASET when not given.")] = None,
    variant: Annotated[str | None, typer.Option(help="Which audio: small, medium, large or full of fma.")] = None,
    only: Annotated[str | None, typer.Option(help="annotations or audio; both when not given.")] = None,
    mirror: Annotated[str | None, typer.Option(help="Another address below which the files lie.")] = None,
    keep_archives: Annotated[bool, typer.Option(help="Keep zip files after they were unpacked.")] = False,
) -> None:
    """Download a published dataset: continues where it stopped, checks size and digest, unpacks."""
    from tagscale.stages import fetch as stage

    stage.run(dataset, root=root, variant=variant, only=only, mirror=mirror, keep_archives=keep_archives)


@app.command(rich_help_panel=DATASETS)
def leaks(
    source: Annotated[str | None, typer.Option(help="mtt, msd, jamendo, fma, gtzan, mgphot or folder.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the annotations.")] = None,
    split: Annotated[
        str | None, typer.Option(help="One of the dataset's splits; its usual one when not given.")
    ] = None,
    tags: Annotated[str | None, typer.Option(help="Tag set, or the YAML of a folder.")] = None,
    variant: Annotated[str | None, typer.Option(help="Which copy of the audio.")] = None,
    table: Annotated[str, typer.Option(help="Table of a folder.")] = "tracks.csv",
    store: Annotated[Path | None, typer.Option(help="Decoded audio: looks for identical audio, too.")] = None,
    partition: Annotated[Path | None, typer.Option(help="Check this partition, not the dataset's own split.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The numbers, for machines.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Show which artists, albums and recordings cross a split. Needs annotations only, no audio.

    Without --source it looks at the dataset of params.yaml.
    """
    from tagscale.stages import leaks as stage

    if source is None:
        found = load(params).dataset.model_dump()
    else:
        found = {"name": source, "version": None, "source": source, "root": ".", "table": table, "tags": None}
        found |= {"split": None, "variant": None}
    given = {"root": root and str(root), "split": split, "tags": tags, "variant": variant}
    dataset = dataset_of(found | {key: value for key, value in given.items() if value is not None})
    stage.run(dataset, root=Path(dataset.root), store=store, partition=partition, json_output=as_json)


@app.command(rich_help_panel=DATASETS)
def publish(
    name: Annotated[str, typer.Argument(help="Of the data version: v2, 2026-11 ...")],
    catalog: CatalogFolder = DATA / "catalog",
    store: StoreFolder = DATA / "store",
    validation: ValidationFolder = DATA / "validation",
    params: ParamsFile = PARAMS,
) -> None:
    """Name the validated data at hand: params.yaml carries name and hash from then on, runs and models too."""
    from tagscale.stages import publish as stage

    version = stage.run(load(params), name=name, catalog=catalog, store=store, validation=validation)
    rewrite(params, {"dataset": {"version": version}})
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{params}: dataset.version is [bold]{version}[/]. To keep it for good and share it:")
    console.print(
        "  dvc repro partition\n"
        f"  git add {params} dvc.lock && git commit -m 'Data version {name}' && git tag data-{name}\n"
        f"  dvc push && git push --follow-tags origin HEAD data-{name}",
        markup=False,
    )
