"""The data before and beside the stages: fetch a dataset, look for leaks, give a version its name."""

from typing import Annotated

import typer
from rich.console import Console

from tagscale.cli.settings import rewrite
from tagscale.cli.stages import DATA, PARAMS, CatalogFolder, ParamsFile, StoreFolder, ValidationFolder
from tagscale.params import load

app = typer.Typer()

DATASETS = "Data"


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
