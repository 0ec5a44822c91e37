"""`tagscale reproduce`: a table of the paper, run or resumed in a folder of its own, on one page beside the paper's."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagscale.cli.stages import DATA, PARAMS, ParamsFile
from tagscale.cli.use import USE, preset_file
from tagscale.params.load import Params, dataset_of, read_yaml
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.signals import Interrupted

if TYPE_CHECKING:
    from tagscale.stages.reproduce import Inputs

app = typer.Typer()

FOLDER = Path("reproduce")
FIGURE = "figure-3"  # is drawn of the runs of table 1


@app.command(rich_help_panel=USE)
def reproduce(
    table: Annotated[str, typer.Argument(help="table-1, table-2, table-3, table-4, or figure-3 (of table 1's runs).")],
    rows: Annotated[
        str | None, typer.Option(help="Run only rows with this in their name or model, or that match it: 'waveform-*'.")
    ] = None,
    width: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="Share of the parameters that every model keeps, about.")
    ] = 1.0,
    here: Annotated[
        bool, typer.Option("--here", help="On the dataset and with the recipe of params.yaml, not the paper's.")
    ] = False,
    hours: Annotated[
        float | None, typer.Option(min=0.001, help="Stop after so long; the same command resumes.")
    ] = None,
    page_only: Annotated[bool, typer.Option("--page-only", help="Write the page of what is there.")] = False,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of runs, results and page; reproduce/TABLE... when not given.")
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Run or resume a table of the paper, and write a page of its rows beside ours.

    Whatever is there already is not run again. params.yaml, runs/ and dvc.lock stay as they are.
    """
    from tagscale.models.paper import TABLES
    from tagscale.stages.preflight import check_models
    from tagscale.stages.reproduce import PAGE, Reproduction, chosen, run, settings_of

    numbers = {f"table-{number}": number for number in TABLES} | {FIGURE: 1}
    if table not in numbers:
        raise TagscaleError(f"{table}: no table of the paper; there are {', '.join(numbers)}.")
    number = numbers[table]
    wanted = {row.model for row in chosen(number, rows)}
    project, preset = read_yaml(params), read_yaml(preset_file(f"table-{number}"))
    settings = settings_of(number, project, preset, width, here)
    named = [
        f"table-{number}",
        *([settings.dataset.name] if here else []),
        *([f"width-{width:g}"] if width < 1 else []),
    ]
    folder = folder or FOLDER / "-".join(named)
    settings = settings.model_copy(
        update={"tracking": settings.tracking.model_copy(update={"experiment": folder.name})}
    )
    check_models(settings)
    options = {"--here": here, f"--width {width:g}": width < 1, f"--folder {folder}": folder.parent != FOLDER}
    options |= {f"--params {params}": params != PARAMS}
    command = " ".join(["tagscale reproduce", table, *(option for option, given in options.items() if given)])
    with _time_limit(hours):
        is_own = here or (dataset_of(project["dataset"]) == settings.dataset and (DATA / "partition").exists())
        inputs = _inputs(
            settings, is_own, not page_only, bool(wanted & set(settings.train.baselines)) and not page_only
        )
        reproduction = Reproduction(number, settings, inputs, folder, width, command)
        run(reproduction, rows=rows, only_page=page_only)
    if (folder / PAGE).exists():
        print(f"Page: {folder / PAGE}")


@contextmanager
def _time_limit(hours: float | None) -> Iterator[None]:
    """End the block after so many hours as SIGTERM would, which a training answers with a saved state."""
    if hours is None:
        yield
        return
    over = threading.Event()

    def end() -> None:
        over.set()
        os.kill(os.getpid(), signal.SIGTERM)

    timer = threading.Timer(3600 * hours, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Interrupted:
        if not over.is_set():
            raise
        print(f"Stopped after {hours:g} hours; the same command resumes.")
    finally:
        timer.cancel()


def _inputs(settings: Params, is_own: bool, may_make: bool, with_descriptors: bool) -> "Inputs":
    """What the earlier stages made of the dataset; they run where it is not the project's and nothing is there yet.

    Args:
        is_own: the dataset is that of params.yaml, of which the project's stages made everything
        may_make: run those stages, too
        with_descriptors: a row is of descriptors, which are computed where the project has none
    Raises:
        TagscaleError: nothing is there, and nothing may be made.
    """
    from tagscale.stages.reproduce import Inputs

    beside = FOLDER / "data" / settings.dataset.name
    data = DATA if is_own else beside
    own = is_own and (DATA / "descriptors").exists()
    descriptors = (DATA if own else beside) / "descriptors"
    inputs = Inputs(data / "catalog", data / "partition", str(data / "store"), descriptors)
    if not is_own and not inputs.partition.exists():
        if not may_make:
            raise TagscaleError(
                f"{inputs.partition}: not there, so no row can be. Without --page-only the command divides "
                f"{settings.dataset.name} and runs the rows."
            )
        _make_data(settings, data, inputs)
    if with_descriptors and not own:
        from tagscale.stages import describe

        describe.run(settings, partition=inputs.partition, store=inputs.store, descriptors=descriptors)
    return inputs


def _make_data(settings: Params, data: Path, inputs: "Inputs") -> None:
    """Run the stages from the catalog to the partition in a folder beside the tables."""
    root = Path(settings.dataset.root)
    if not root.exists():
        raise TagscaleError(
            f"{root}: no such folder, where {settings.dataset.name} should be (docs/datasets.md says where it comes "
            "from). With --here the table runs on the dataset of params.yaml."
        )
    from tagscale.stages import catalog, partition, preprocess, validate  # here: they take seconds to import

    store, checks = Path(inputs.store), data / "validation"
    catalog.run(settings, root=root, catalog=inputs.catalog)
    preprocess.run(settings, root=root, catalog=inputs.catalog, store=store)
    validate.run(settings, catalog=inputs.catalog, store=store, validation=checks)
    partition.run(settings, catalog=inputs.catalog, validation=checks, partition=inputs.partition)
