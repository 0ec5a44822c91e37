"""One sub-command per stage, in the order of the data.

Every path has the default that dvc.yaml uses, so `tagscale catalog` in the project's folder does what the stage does.
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
CorpusFolder = Annotated[Path, typer.Option("--corpus", help="Folder of the composed corpus.")]
RootFolder = Annotated[Path | None, typer.Option(help="Folder of table and audio; dataset.root when not given.")]
CatalogFolder = Annotated[Path, typer.Option("--catalog", help="Tracks, labels and tags.")]
StoreFolder = Annotated[Path, typer.Option("--store", help="Decoded audio, int16 at 16 kHz.")]
StoreAddress = Annotated[
    str, typer.Option("--store", help="Decoded audio: a folder, or an address such as s3://bucket/store.")
]
ValidationFolder = Annotated[Path, typer.Option("--validation", help="Findings and quarantine.")]
PartitionFolder = Annotated[Path, typer.Option("--partition", help="Train, valid and test.")]
FeaturesFolder = Annotated[Path, typer.Option("--features", help="What encoders hear of every track.")]
DescriptorsFolder = Annotated[Path, typer.Option("--descriptors", help="Descriptors of every track.")]
Workers = Annotated[
    int | None, typer.Option("--workers", help="Number of worker processes; one per core when not given.")
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
Runs = Annotated[Path, typer.Option("--runs", help="Folder of the trained runs.")]
Results = Annotated[Path, typer.Option("--results", help="Folder of the runs' results.")]
Ensembles = Annotated[Path, typer.Option("--ensembles", help="Folder of the ensembles: their runs and results.")]

PARAMS = Path("params.yaml")
DATA = Path("data")
RUNS, RESULTS, ENSEMBLES, REPORTS = Path("runs"), Path("results"), Path("ensembles"), Path("reports")
OUTPUTS = [DATA / name for name in ("catalog", "store", "validation", "partition", "descriptors", "features")]
OUTPUTS += [RUNS, RESULTS, ENSEMBLES, REPORTS, Path("registration")]  # folders that the stages replace
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


def folders(params: Params, runs: Path, results: Path, ensembles: Path | None = None) -> dict[str, list[Path]]:
    """Folders of the runs of the study, model x size x seed, and of their results.

    Args:
        ensembles: folder of the ensembles, which are left out without it
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
def synth(corpus: CorpusFolder = DATA / "corpus", params: ParamsFile = PARAMS, workers: Workers = None) -> None:
    """Compose and render the default corpus."""
    from tagscale.stages.synth import run

    run(read(params), corpus=corpus, workers=workers)


@stage
def catalog(root: RootFolder = None, catalog: CatalogFolder = DATA / "catalog", params: ParamsFile = PARAMS) -> None:
    """Read any dataset into one table of tracks, one of labels and one of tags."""
    from tagscale.stages.catalog import run
    from tagscale.stages.preflight import check_metric

    settings = read(params)
    run(settings, root=root or Path(settings.dataset.root), catalog=catalog)
    check_metric(settings, catalog)


@stage
def preprocess(
    root: RootFolder = None,
    catalog: CatalogFolder = DATA / "catalog",
    store: StoreFolder = DATA / "store",
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
    run(settings, root=root, catalog=catalog, store=store, workers=workers, shard=slice_of(shard))


@stage
def validate(
    catalog: CatalogFolder = DATA / "catalog",
    store: StoreFolder = DATA / "store",
    validation: ValidationFolder = DATA / "validation",
    params: ParamsFile = PARAMS,
    docs: Annotated[Path | None, typer.Option(help="Also write Great Expectations' Data Docs, to this folder.")] = None,
) -> None:
    """Check tables and audio; quarantine bad files; stop when the dataset itself is wrong."""
    from tagscale.stages.validate import run

    run(read(params), catalog=catalog, store=store, validation=validation, docs=docs)


@stage
def partition(
    catalog: CatalogFolder = DATA / "catalog",
    validation: ValidationFolder = DATA / "validation",
    partition: PartitionFolder = DATA / "partition",
    params: ParamsFile = PARAMS,
) -> None:
    """Divide the tracks into train, valid and test: stratified, with no artist in two parts."""
    from tagscale.stages.partition import run

    run(read(params), catalog=catalog, validation=validation, partition=partition, previous=partition)


@stage
def describe(
    partition: PartitionFolder = DATA / "partition",
    store: StoreAddress = str(DATA / "store"),
    descriptors: DescriptorsFolder = DATA / "descriptors",
    params: ParamsFile = PARAMS,
    workers: Workers = None,
) -> None:
    """Compute the baseline's timbre, rhythm and harmony descriptors."""
    from tagscale.stages.describe import run

    run(read(params), partition=partition, store=store, descriptors=descriptors, workers=workers)


@stage
def encode(
    model: Annotated[str, typer.Option("--model", help="A name of train.probes.")],
    partition: PartitionFolder = DATA / "partition",
    store: StoreAddress = str(DATA / "store"),
    features: FeaturesFolder = DATA / "features",
    params: ParamsFile = PARAMS,
) -> None:
    """Compute what the encoder of a probe hears of every track.

    An interrupted run resumes. If the dataset has changed, only new and changed tracks are encoded.
    """
    from tagscale.stages.encode import run

    run(read_for_training(params), partition=partition, store=store, features=features, models=[model])


@stage
def train(
    model: Model,
    size: Size,
    seed: Seed = 0,
    catalog: CatalogFolder = DATA / "catalog",
    partition: PartitionFolder = DATA / "partition",
    store: StoreAddress = str(DATA / "store"),
    descriptors: DescriptorsFolder = DATA / "descriptors",
    features: FeaturesFolder = DATA / "features",
    runs: Runs = RUNS,
    params: ParamsFile = PARAMS,
) -> None:
    """Train one model on one training size with one seed."""
    from tagscale.stages.preflight import check_grid
    from tagscale.stages.training_of import training_of

    inputs = _inputs(model, store, descriptors, features)
    settings, tracks = (read_for_training if group_of(model) == "models" else read)(params), tracks_of(size)
    check_grid(settings, catalog, partition)
    training_of(model)(
        settings,
        model=model,
        size=tracks,
        seed=seed,
        catalog=catalog,
        partition=partition,
        inputs=inputs,
        run=runs / run_name(model, size, seed),
    )


@stage
def evaluate(
    model: Model,
    size: Size,
    seed: Seed = 0,
    catalog: CatalogFolder = DATA / "catalog",
    partition: PartitionFolder = DATA / "partition",
    store: StoreAddress = str(DATA / "store"),
    descriptors: DescriptorsFolder = DATA / "descriptors",
    features: FeaturesFolder = DATA / "features",
    runs: Runs = RUNS,
    results: Results = RESULTS,
    params: ParamsFile = PARAMS,
) -> None:
    """Score the valid and test tracks with one run: every metric, per tag and overall, with intervals."""
    from tagscale.stages.evaluate import run

    run(
        read(params),
        run=runs / run_name(model, size, seed),
        catalog=catalog,
        partition=partition,
        inputs=_inputs(model, store, descriptors, features),
        results=results / run_name(model, size, seed),
    )


@stage
def ensemble(
    runs: Runs = RUNS,
    results: Results = RESULTS,
    catalog: CatalogFolder = DATA / "catalog",
    partition: PartitionFolder = DATA / "partition",
    ensembles: Ensembles = ENSEMBLES,
    params: ParamsFile = PARAMS,
) -> None:
    """Make the study's ensembles: of the runs of each size and seed, the weighted mean that scores best."""
    from tagscale.stages.ensemble import run

    settings = read(params)
    members = folders(settings, runs, results)
    run(settings, **members, catalog=catalog, partition=partition, ensembles=ensembles)


@stage
def compare(
    runs: Runs = RUNS,
    results: Results = RESULTS,
    ensembles: Ensembles = ENSEMBLES,
    catalog: CatalogFolder = DATA / "catalog",
    partition: PartitionFolder = DATA / "partition",
    validation: ValidationFolder = DATA / "validation",
    reports: Annotated[Path, typer.Option(help="Folder of the report.")] = REPORTS,
    params: ParamsFile = PARAMS,
) -> None:
    """Compare all runs of the study: table, figures, report."""
    from tagscale.stages.compare import run

    settings = read(params)
    run(
        settings,
        **folders(settings, runs, results, ensembles),
        partition=partition,
        catalog=catalog,
        validation=validation,
        timings=TIMINGS,
        reports=reports,
    )


@stage
def register(
    runs: Runs = RUNS,
    results: Results = RESULTS,
    ensembles: Ensembles = ENSEMBLES,
    partition: PartitionFolder = DATA / "partition",
    store: StoreAddress = str(DATA / "store"),
    catalog: CatalogFolder = DATA / "catalog",
    registration: Annotated[Path, typer.Option(help="Folder of the registration's record.")] = Path("registration"),
    params: ParamsFile = PARAMS,
) -> None:
    """Register the best run, of any kind; it becomes champion if it passes the gate."""
    from tagscale.stages.register import run

    settings = read(params)
    run(
        settings,
        **folders(settings, runs, results, ensembles),
        partition=partition,
        store=store,
        catalog=catalog,
        registration=registration,
    )


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


def _inputs(model: str, store: str, descriptors: Path, features: Path) -> Path | str:
    """What a model hears of the tracks."""
    heard: dict[str, Path | str] = {"models": store, "probes": features, "baselines": descriptors}
    if group_of(model) not in heard:
        raise TagscaleError(f"--model {model}: `tagscale {model}` makes it of the study's other models.")
    return heard[group_of(model)]


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
