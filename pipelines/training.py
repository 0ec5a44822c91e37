"""The training pipeline: the graph of dvc.yaml, as Kubeflow tasks.

Which tasks there are is decided when the pipeline is built: the corpus is composed or imported (`dataset.source`),
and the cells of the grid are the items of two loops, one over the front-ends, which read the store, and one over
the baselines, which read the descriptors: so front-ends do not wait for descriptors. Loops instead of a task for
every cell because `dsl.Collected` over a loop is the one way that kfp has to hand any number of artifacts to one
task, and compare and register take all runs.
"""

from typing import Any

from components.catalog import catalog
from components.compare import compare
from components.describe import describe
from components.evaluate import evaluate
from components.partition import partition
from components.preprocess import preprocess
from components.register import register
from components.synth import synth
from components.train import train
from components.validate import validate
from kfp import dsl

from tagscale.params import Params, TrainParams

NAME = "tagscale-training"


def training_pipeline(params: Params, parallelism: int | None = None) -> Any:
    """The pipeline of these settings, for kfp's compiler or for a run on this machine.

    Its argument `params` is all of params.yaml, so a run shows its settings: one line of JSON, because kfp's
    structures have no null and its compiler breaks on defaults of several lines. The settings that decide the graph
    (`dataset.source` and the grid in `train`) are fixed here: to change them, compile again. With
    `dataset.source: folder` there is a second argument, `root`: folder or address of the table and the audio.

    Args:
        params: settings; their values become the default of the argument.
        parallelism: number of runs trained at the same time in one loop; None: as many as the cluster starts.
    """
    settings, grid = params.model_dump_json(), params.train

    if params.dataset.source == "synth":

        @dsl.pipeline(name=NAME, description="Compose a corpus, then train and compare taggers on it.")
        def training(params: str = settings) -> None:
            corpus = synth(params=params).outputs["corpus"]
            _study(grid, params, corpus, parallelism)

    else:

        @dsl.pipeline(name=NAME, description="Train and compare taggers on a dataset of your own.")
        def training(params: str = settings, root: str = params.dataset.root) -> None:
            dataset = dsl.importer(artifact_uri=root, artifact_class=dsl.Dataset, reimport=True)
            _study(grid, params, dataset.output, parallelism)

    return training


def _study(grid: TrainParams, params: Any, root: Any, parallelism: int | None) -> None:
    """Tasks from the catalog to the registry; `params` and `root` are kfp's placeholders."""
    listed = catalog(params=params, root=root)
    stored = preprocess(params=params, root=root, catalog=listed.output)
    validated = validate(params=params, catalog=listed.output, store=stored.output)
    validation = validated.outputs["validation"]
    divided = partition(params=params, catalog=listed.output, validation=validation)
    data = {"catalog": listed.output, "partition": divided.output}

    loops = {"": _loop("front-end", grid.models, grid, params, data | {"inputs": stored.output}, parallelism)}
    if grid.baselines:
        described = describe(params=params, partition=divided.output, store=stored.output)
        inputs = data | {"inputs": described.output}
        loops["baseline_"] = _loop("baseline", grid.baselines, grid, params, inputs, parallelism)

    compare(params=params, catalog=listed.output, partition=divided.output, validation=validation, **_gathered(loops))
    registered = register(params=params, store=stored.output, **data, **_gathered(loops))
    registered.set_caching_options(False)  # the registry, which it compares with and writes to, is no input


def _loop(
    kind: str, models: list[Any], grid: TrainParams, params: Any, data: dict[str, Any], parallelism: int | None
) -> dict[str, Any]:
    """A loop over model x size x seed that trains and evaluates; its outputs that compare and register take."""
    cells = [
        {"model": model, "size": str(size), "seed": str(seed)}
        for model in models
        for size in grid.sizes
        for seed in grid.seeds
    ]
    with dsl.ParallelFor(cells, name=f"{kind}s", parallelism=parallelism) as cell:
        trained = train(params=params, model=cell.model, size=cell.size, seed=cell.seed, **data)
        trained.set_display_name(f"train {kind}")
        evaluated = evaluate(params=params, run=trained.output, **data)
        evaluated.set_display_name(f"evaluate {kind}")
    return {"runs": trained.output, "results": evaluated.outputs["results"]}


def _gathered(loops: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The outputs of the loops as lists. For one task each: the compiler changes a Collected while it compiles."""
    return {prefix + name: dsl.Collected(out) for prefix, outputs in loops.items() for name, out in outputs.items()}
