"""One sub-command per stage, in the order of the data.

The folders are those of dvc.yaml, so `tagscale catalog` in the project's folder does what the stage does. The functions
of `tagscale.stages` take any folders.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import wraps
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from tagscale.models.spec import group_of, stage_of
from tagscale.params.load import Params, load
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import write_json
from tagscale.runtime.identity import run_name

app = typer.Typer()

STAGES = "Stages, in the order of the data (`dvc repro` runs them all)"

ParamsFile = Annotated[Path, typer.Option("--params", help="Settings.")]
RootFolder = Annotated[Path | None, typer.Option(help="Folder of table and audio; dataset.root when not given.")]
StoreAddress = Annotated[
    str, typer.Option("--store", help="Decoded audio: a folder, or an address such as s3://bucket/store.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", help="Number of worker processes; by default one per core at most.")
]
Model = Annotated[str, typer.Option("--model", help="A name of train.models, or of the lists after it.")]
Size = Annotated[str, typer.Option("--size", help="Number of training tracks, or `all`.")]
Seed = Annotated[int, typer.Option("--seed")]
Version = Annotated[
    str | None,
    typer.Option("--version", help="Version number, champion or challenger; the champion when not given."),
]
Registered = Annotated[
    str | None, typer.Option("--model", help="Another registered model, or a published encoder such as msd-musicnn.")
]

PARAMS = Path("params.yaml")
DATA = Path("data")
CORPUS, CATALOG, STORE, VALIDATION = (DATA / name for name in ("corpus", "catalog", "store", "validation"))
PARTITION, DESCRIPTORS, FEATURES = (DATA / name for name in ("partition", "descriptors", "features"))
RUNS, RESULTS, ENSEMBLES = Path("runs"), Path("results"), Path("ensembles")
REPORTS, REGISTRATION = Path("reports"), Path("registration")
OUTPUTS = [CATALOG, STORE, VALIDATION, PARTITION, DESCRIPTORS, FEATURES]  # folders that the stages replace
OUTPUTS += [RUNS, RESULTS, ENSEMBLES, REPORTS, REGISTRATION]
TIMINGS = Path("timings")  # side files: how long each stage took when it last ran


def stage(command: Callable[..., None]) -> Callable[..., None]:
    """Make the function a sub-command that records its duration in a side file. A failure records nothing."""

    @wraps(command)
    def timed(**options: Any) -> None:
        begin = time.monotonic()
        command(**options)
        seconds = round(time.monotonic() - begin, 1)
        cell = f"@{options['model']}" if "model" in options else ""
        if "size" in options:
            cell = f"@{run_name(options['model'], options['size'], options.get('seed', 0))}"
        name, finished = f"{command.__name__}{cell}", datetime.now(UTC).isoformat(timespec="seconds")
        write_json(TIMINGS / f"{name}.json", {"stage": name, "seconds": seconds, "finished": finished}, durable=False)

    return app.command(rich_help_panel=STAGES)(timed)


def read(params: Path) -> Params:
    """Read the settings. Refuse a wrong metric now, not in the last stage after days of training."""
    from tagscale.evaluation.metrics import check_known

    settings = load(params)
    check_known(settings.registry.metric, "registry.metric")
    root = Path(settings.dataset.root).resolve()
    for output in OUTPUTS:
        if root.is_relative_to(output.resolve()):
            raise TagscaleError(
                f"{params}: dataset.root: found {settings.dataset.root}, but a stage replaces {output}, with all that "
                "is in it. Move the dataset to a folder of its own, and set dataset.root to that."
            )
    return settings


def read_for_training(params: Path) -> Params:
    """Read the settings and refuse a grid of which any network cannot take its patches or windows. Imports torch."""
    from tagscale.stages.preflight import check_models

    settings = read(params)
    check_models(settings)
    return settings


def folders(
    params: Params, runs: Path = RUNS, results: Path = RESULTS, ensembles: Path | None = ENSEMBLES
) -> dict[str, list[Path]]:
    """Folders of the runs of the study, model x size x seed, and of their results.

    Args:
        ensembles: folder of the ensembles; None: they are left out
    """
    names: dict[bool, list[str]] = {True: [], False: []}
    for model, size, seed in params.train.cells:
        names[group_of(model) == "ensembles"].append(run_name(model, size, seed))
    made = names[True] if ensembles else []
    return {
        kind: [place / name for name in names[False]] + [Path(ensembles or "") / kind / name for name in made]
        for kind, place in (("runs", runs), ("results", results))
    }


@stage
def synth(params: ParamsFile = PARAMS, workers: Workers = None) -> None:
    """Compose and render the default corpus."""
    from tagscale.stages.synth import run

    run(read(params), corpus=CORPUS, workers=workers)


@stage
def catalog(root: RootFolder = None, params: ParamsFile = PARAMS) -> None:
    """Read any dataset into one table of tracks, one of labels and one of tags."""
    from tagscale.stages.catalog import run
    from tagscale.stages.preflight import check_metric

    settings = read(params)
    run(settings, root=root or Path(settings.dataset.root), catalog=CATALOG)
    check_metric(settings, CATALOG)


@stage
def preprocess(
    root: RootFolder = None,
    store: Annotated[Path, typer.Option("--store", help="Folder of the store, or of its slice.")] = STORE,
    params: ParamsFile = PARAMS,
    workers: Workers = None,
    shard: Annotated[str | None, typer.Option(help="I/N: only the I-th of N slices; `store merge` joins them.")] = None,
) -> None:
    """Decode every track once, into shards of int16 at 16 kHz, and measure it.

    An interrupted run resumes. If the dataset has changed, only new and changed tracks are decoded.
    """
    from tagscale.stages.preprocess import run

    settings = read(params)
    root = root or Path(settings.dataset.root)
    run(settings, root=root, catalog=CATALOG, store=store, workers=workers, shard=slice_of(shard))


@stage
def validate(
    params: ParamsFile = PARAMS,
    docs: Annotated[Path | None, typer.Option(help="Also write Great Expectations' Data Docs, to this folder.")] = None,
) -> None:
    """Check tables and audio; quarantine bad files; stop when the dataset itself is wrong."""
    from tagscale.stages.validate import run

    run(read(params), catalog=CATALOG, store=STORE, validation=VALIDATION, docs=docs)


@stage
def partition(params: ParamsFile = PARAMS) -> None:
    """Divide the tracks into train, valid and test: stratified, with no artist in two parts."""
    from tagscale.stages.partition import run

    run(read(params), catalog=CATALOG, validation=VALIDATION, partition=PARTITION, previous=PARTITION)


@stage
def describe(store: StoreAddress = str(STORE), params: ParamsFile = PARAMS, workers: Workers = None) -> None:
    """Compute the baseline's timbre, rhythm and harmony descriptors."""
    from tagscale.stages.describe import run

    run(read(params), partition=PARTITION, store=store, descriptors=DESCRIPTORS, workers=workers)


@stage
def encode(
    model: Annotated[str, typer.Option("--model", help="A name of train.probes.")],
    store: StoreAddress = str(STORE),
    params: ParamsFile = PARAMS,
) -> None:
    """Compute what the encoder of a probe hears of every track.

    An interrupted run resumes. If the dataset has changed, only new and changed tracks are encoded.
    """
    from tagscale.stages.encode import run

    run(read_for_training(params), partition=PARTITION, store=store, features=FEATURES, models=[model])


@stage
def train(
    model: Model, size: Size, seed: Seed = 0, store: StoreAddress = str(STORE), params: ParamsFile = PARAMS
) -> None:
    """Train one model on one training size with one seed."""
    from tagscale.stages.preflight import check_grid
    from tagscale.stages.training_of import training_of

    inputs, tracks, run = _inputs(model, store), tracks_of(size), RUNS / run_name(model, size, seed)
    settings = (read_for_training if group_of(model) == "models" else read)(params)
    check_grid(settings, CATALOG, PARTITION)
    folders = {"catalog": CATALOG, "partition": PARTITION, "inputs": inputs, "run": run}
    training_of(model)(settings, model=model, size=tracks, seed=seed, **folders)


@stage
def evaluate(
    model: Model, size: Size, seed: Seed = 0, store: StoreAddress = str(STORE), params: ParamsFile = PARAMS
) -> None:
    """Score the valid and test tracks with one run: every metric, per tag and overall, with intervals."""
    from tagscale.stages.evaluate import run

    name, inputs = run_name(model, size, seed), _inputs(model, store)
    folders = {"run": RUNS / name, "catalog": CATALOG, "partition": PARTITION, "results": RESULTS / name}
    run(read(params), **folders, inputs=inputs)


@stage
def ensemble(params: ParamsFile = PARAMS) -> None:
    """Make the study's ensembles: of the runs of each size and seed, the weighted mean that scores best."""
    from tagscale.stages.ensemble import run

    settings = read(params)
    members = folders(settings, ensembles=None)
    run(settings, **members, catalog=CATALOG, partition=PARTITION, ensembles=ENSEMBLES)


@stage
def compare(params: ParamsFile = PARAMS) -> None:
    """Compare all runs of the study: table, figures, report."""
    from tagscale.stages.compare import run

    settings = read(params)
    paths = folders(settings)
    run(
        settings, **paths, partition=PARTITION, catalog=CATALOG, validation=VALIDATION, timings=TIMINGS, reports=REPORTS
    )


@stage
def register(store: StoreAddress = str(STORE), params: ParamsFile = PARAMS) -> None:
    """Register the best run, of any kind; it becomes champion if it passes the gate."""
    from tagscale.stages.register import run

    settings = read(params)
    paths = folders(settings)
    run(settings, **paths, partition=PARTITION, store=store, catalog=CATALOG, registration=REGISTRATION)


def in_order(params: Params) -> Iterator[tuple[str, Callable[..., None], dict[str, Any]]]:
    """Every stage of a study, in the order of the data: its name in dvc.yaml, its function here, its options.

    Called in this order in an empty folder, they do what `dvc repro` does.
    """
    for command in (synth, catalog, preprocess, validate, partition):
        yield command.__name__, command, {}
    if params.train.baselines:
        yield "describe", describe, {}
    for model in params.train.probes:
        yield "encode", encode, {"model": model}
    for model, size, seed in product(params.train.trained, params.train.sizes, params.train.seeds):
        for command in (train, evaluate):
            yield stage_of(command.__name__, model), command, {"model": model, "size": str(size), "seed": seed}
    for command in (ensemble, compare, register):
        yield command.__name__, command, {}


def _inputs(model: str, store: str) -> Path | str:
    """The inputs of a model: the store, features or descriptors."""
    inputs: dict[str, Path | str] = {"models": store, "probes": FEATURES, "baselines": DESCRIPTORS}
    if group_of(model) not in inputs:
        raise TagscaleError(f"--model {model}: `tagscale {model}` makes it of the study's other models.")
    return inputs[group_of(model)]


def slice_of(text: str | None) -> tuple[int, int] | None:
    """`--shard I/N` as numbers."""
    if text is None:
        return None
    number, _, of = text.partition("/")
    if not (number.isdigit() and of.isdigit()):
        raise TagscaleError(f"--shard {text}: expected I/N, as 1/8 to 8/8 for eight machines.")
    return int(number), int(of)


def tracks_of(text: str) -> int | str:
    if text == "all":
        return text
    if not text.isdigit() or int(text) < 1:
        raise TagscaleError(f"--size {text}: expected a number of training tracks, or `all`.")
    return int(text)
