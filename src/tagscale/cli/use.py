"""The commands around the stages: lay a preset over the settings, print results, tag files, move the champion."""

import json
import os
import sys
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tagscale.cli.settings import rewrite
from tagscale.cli.stages import (
    CATALOG,
    ENSEMBLES,
    PARAMS,
    PARTITION,
    REPORTS,
    RESULTS,
    RUNS,
    STORE,
    Model,
    ParamsFile,
    Seed,
    Size,
    StoreAddress,
    folders,
    read_for_training,
    tracks_of,
)
from tagscale.params.load import laid_over, load, parse, read_yaml
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.words import counted

app = typer.Typer()

USE = "Around the stages"
PRESETS = Path("presets")
TUNING = Path("tuning")


def preset_file(name: str, folder: Path = PRESETS) -> Path:
    """The file of a preset. Raises TagscaleError where there is none; names those that there are."""
    named = Path(name) if name.endswith(".yaml") else folder / f"{name}.yaml"
    if not named.is_file():
        known = (
            ", ".join(sorted(path.stem for path in folder.glob("*.yaml") if not path.stem.endswith(".tags"))) or "none"
        )
        raise TagscaleError(f"{named}: no such preset. In {folder}/: {known}.")
    return named


@app.command(rich_help_panel=USE)
def preset(
    name: Annotated[str, typer.Argument(help="A file of presets/, with or without .yaml, or any path.")],
    params: ParamsFile = PARAMS,
) -> None:
    """Lay a preset over params.yaml: only values that differ change, and comments stay."""
    named = preset_file(name)
    changes = read_yaml(named)
    parse(laid_over(read_yaml(params), changes), origin=f"{params} with {named}")  # refuse before writing
    _print_changes(f"{params} now follows {named}", rewrite(params, changes))


def _print_changes(words: str, changed: list[tuple[str, Any, Any]]) -> None:
    """What was done to the settings, and every value that changed: its key, before and after."""
    print(f"{words}: {counted(len(changed), 'value')} changed.")
    for key, before, after in changed:
        print(f"  {key}: {before} -> {after}")


@app.command(rich_help_panel=USE)
def tune(
    model: Model,
    size: Size = "all",
    seed: Seed = 0,
    minutes: Annotated[float, typer.Option(min=0.01, help="How long this call searches.")] = 60.0,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials of the whole search, earlier calls included.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Write what is best into the settings.")] = False,
    folder: Annotated[
        Path, typer.Option("--folder", help="Keeps the trials; the next call builds upon them.")
    ] = TUNING,
    store: StoreAddress = str(STORE),
    params: ParamsFile = PARAMS,
) -> None:
    """Search learning rate, budget, weight decay, dropout and augmentation of a network, on the validation part."""
    from tagscale.stages import tune as search

    settings = read_for_training(params)
    best = search.run(
        settings, model=model, size=tracks_of(size), seed=seed, minutes=minutes, trials=trials,
        catalog=CATALOG, partition=PARTITION, inputs=store, folder=folder,
    )  # fmt: skip
    metric = settings.registry.metric
    print(f"{best.trials} trials; validation {metric} {best.score:.4f}, {best.before:.4f} as {params} is.")
    if not best.changes:
        print(f"Nothing found is better than {params}.")
        return
    print(yaml.safe_dump(best.changes, sort_keys=False).rstrip())
    if apply:
        _print_changes(f"{params} has them now", rewrite(params, best.changes))


@app.command(rich_help_panel=USE)
def results(params: ParamsFile = PARAMS) -> None:
    """Print the result table, what the registry says of the best run now, and where to look next."""
    from tagscale.stages import compare

    settings = load(params)
    paths = folders(settings)
    compare.show(settings, **paths, partition=PARTITION)
    from tagscale.stages import register  # here, because mlflow and torch take seconds to import

    register.show(settings, **paths)
    print(f"Dataset:    {settings.dataset.name} ({settings.dataset.root})")
    print("Report:     reports/report.html   (figures in reports/figures/)")
    print("Compare:    tagscale ui           (MLflow: every run, its curves, the registered versions)")
    if page := _mlflow_page(settings.tracking.experiment):
        print(f"            {page}")
    programs = Path(sys.prefix) / "bin"
    place = f"  (in {programs.relative_to(Path.cwd())})" if programs.is_relative_to(Path.cwd()) else ""
    print(f"Tag files:  tagscale tag FILE...{place}")


def _mlflow_page(experiment: str) -> str | None:
    """Address of the study's runs side by side in MLflow; None where MLflow has none, or cannot be asked."""
    from tagscale import tracking
    from tagscale.partition.divide import Partition

    with suppress(TagscaleError):
        parts = Partition.load(PARTITION)
        return tracking.study_page(experiment, parts.data_hash, parts.hash)
    return None


@app.command(rich_help_panel=USE)
def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 5000) -> None:
    """Start MLflow on the local store: compare experiments, see the registered models. Ctrl-C ends it."""
    from tagscale.tracking.pages import ENDPOINT
    from tagscale.tracking.views import print_pages

    address = f"http://127.0.0.1:{port}"
    typer.echo(f"MLflow: {address}/#/experiments?workflowType=machine_learning  (Ctrl-C ends it)")
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    # Jobs would start seven processes of 250 MB each.
    os.environ |= {ENDPOINT: address, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    print_pages()
    sys.stdout.flush()
    server = ["server", "--backend-store-uri", "sqlite:///mlflow.db", "--host", "127.0.0.1", "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *server])


@app.command(rich_help_panel=USE)
def report(
    page: Annotated[Path, typer.Option("--page", help="The report that `compare` wrote.")] = REPORTS / "report.html",
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Print it to a PDF beside it. Needs an installed Chromium.")
    ] = False,
) -> None:
    """Open the study's report in the browser, or print it to a PDF."""
    from tagscale.report.paper import present, print_page

    if pdf:
        print_page(page, page.with_suffix(".pdf"))
        print(f"{page.with_suffix('.pdf')} is {page} on paper.")
    else:
        webbrowser.open(present(page).resolve().as_uri())
        print(f"{page} is open in the browser.")


@app.command("import", rich_help_panel=USE)
def import_(
    encoder: Annotated[str, typer.Argument(help="A published encoder: msd-musicnn, mtt-musicnn, msd-vgg, mtt-vgg.")],
) -> None:
    """Make a published encoder a version of the registry, under its own name. Does nothing where it is one."""
    from tagscale.registry.imported import import_encoder

    version, is_new = import_encoder(encoder)
    words = f"is version {version.number} of {version.name} {'now' if is_new else 'already'}"
    licence = f"licence {version.tags['tagscale.licence']}; please cite: {version.tags['tagscale.citation']}"
    print(f"{encoder} {words} ({licence})")


@app.command(rich_help_panel=USE)
def send_runs(
    names: Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Names of runs; all by default.")] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Send runs to MLflow that it lacks: another server, or deleted ones. What is there is left alone."""
    from tagscale.stages.send_runs import run

    places = {path.parent.name: (RUNS, RESULTS) for path in RUNS.glob("*/run.json")}
    both = ENSEMBLES / "runs", ENSEMBLES / "results"
    places |= {path.parent.name: both for path in ENSEMBLES.glob("runs/*/run.json")}
    present = sorted(places)
    if missing := sorted(set(names or ()) - set(present)) or (not present and ["run"]):
        raise TagscaleError(f"{RUNS}: no {', '.join(missing)} there. Trained runs: {', '.join(present) or 'none'}.")
    chosen = names or present
    of_runs, of_results = ([places[name][which] / name for name in chosen] for which in (0, 1))
    run(load(params), runs=of_runs, results=of_results)


@app.command(rich_help_panel=USE)
def promote(
    version: Annotated[str, typer.Argument(help="Version number, or challenger.")],
    why: Annotated[str | None, typer.Option(help="Goes into the record; --force needs it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Past the gate; recorded as such.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Make a version that the gate has passed against the present champion the champion, and record it."""
    from tagscale.registry.promote import promote as move

    name = load(params).registry.name
    _print_move(name, move(name, version, why, force))


@app.command(rich_help_panel=USE)
def rollback(
    why: Annotated[str, typer.Option(help="Goes into the record.")] = "rolled back by hand",
    params: ParamsFile = PARAMS,
) -> None:
    """Make the previous champion champion again, and record it."""
    from tagscale.registry.promote import rollback as move

    _print_move(load(params).registry.name, move(load(params).registry.name, why))


@app.command(rich_help_panel=USE)
def history(
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
    params: ParamsFile = PARAMS,
) -> None:
    """Show which version replaced which as champion and why, and how much of its error each test part has spent."""
    from tagscale.evaluation.metrics import listing, shown_in
    from tagscale.registry.looks import look_records
    from tagscale.registry.promote import history as read
    from tagscale.registry.versions import Registry

    name = load(params).registry.name
    records, looks = read(name), look_records(Registry.open(name))
    if as_json:
        inner = ("sketch", "key")  # how a look knows its test part and its tag again
        shown = [{key: look[key] for key in look if key not in inner} for look in looks]
        events = records + [{"action": "look"} | look for look in shown]
        typer.echo(json.dumps(sorted(events, key=lambda event: str(event["when"])), indent=2))
        return
    table = Table(title=f"Champions of {name}", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("when (UTC)", "champion", "replaced", "by", "why", "metrics on its test part"):
        table.add_column(heading)
    for record in records:
        values = record["metrics"].get("champion", {})
        metrics = listing({metric.key: values[metric.key] for metric in shown_in("scores") if metric.key in values})
        why = Text(f"past the gate: {record['why']}" if record["forced"] else record["why"])
        table.add_row(_when(record), record["champion"], record["replaced"] or "nobody", record["by"], why, metrics)
    Console().print(table if records else f"{name} has no record of promotions yet.")
    if looks:
        _print_looks(looks)


def _print_looks(looks: list[dict[str, Any]]) -> None:
    """A row a look at a test part, and a warning where the newest has nearly or wholly spent its error."""
    from tagscale.registry.looks import Look

    narrow = (0, 1, 0, 0)  # or the table is too wide for 80 columns
    table = Table(title="Looks at the test part", title_justify="left", box=box.SIMPLE_HEAD, padding=narrow)
    for heading in ("when (UTC)", "test part", "look", "version", "champion", "error spent", "outcome"):
        table.add_column(heading)
    for look in looks:
        outcome = {True: "passed", False: "held back", None: "not finished"}[look["passed"]]
        number, spent = f"{look['number']} of {look['looks']}", f"{look['spent']:.2g} of {look['error']:g}"
        table.add_row(_when(look), look["test"], number, look["version"], look["champion"] or "nobody", spent, outcome)
    console = Console(soft_wrap=True)
    console.print(table)
    if warning := Look.of(looks[-1]).warning:
        console.print(Text(f"warning: {warning}", style="yellow"))


def _when(record: dict[str, Any]) -> str:
    return str(record["when"])[:16].replace("T", " ")


def _print_move(name: str, record: dict[str, Any]) -> None:
    replaced = f"version {record['replaced']}" if record["replaced"] else "nobody"
    Console(highlight=False).print(
        f"{name}: version [bold]{record['champion']}[/] is champion now, in place of {replaced} "
        f"(record {record['number']}; `tagscale history` shows all)"
    )
