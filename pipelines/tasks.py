"""The pipelines, each a choice of the same tasks: the graph of dvc.yaml, from the catalog to the registry.

Settings are fixed when a pipeline is built, since they decide which tasks there are and the keys of what is kept:
compile again to change them. A run has one parameter, `again`: train and evaluate, though the results are kept. The
pipeline that tags a catalogue has more, see `tagging`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from components.begin import begin
from components.catalog import catalog
from components.compare import compare
from components.describe import describe
from components.encode import encode
from components.end import end
from components.ensemble import ensemble
from components.evaluate import evaluate
from components.image import IMAGE
from components.join import join
from components.merge import merge
from components.partition import partition
from components.plan import plan
from components.preprocess import preprocess
from components.register import register
from components.synth import synth
from components.tag import tag
from components.train import train
from components.validate import validate
from components.watch import watch
from kfp import dsl

from pipelines.cluster import check_devices, on_cluster
from pipelines.definitions import Definition, defined, one_cell, server_name
from pipelines.keys import code_of, key_of
from tagscale.params.kubernetes import KubernetesParams
from tagscale.params.load import Params
from tagscale.serving import DRIFT_MARGIN


def pipeline(name: str, params: Params, on_this_machine: bool = False) -> Any:
    """The pipeline of these settings, for kfp's compiler or for a run on this machine.

    Its last task tells MLflow how it ended, whatever happened; one that tags has no run in MLflow.

    Args:
        name: one of PIPELINES.
        params: settings; those of a pipeline of one cell should be narrowed to it (`one_cell`).
        on_this_machine: run one task after another, without what the block `kubernetes` gives tasks on a cluster.
    Raises:
        TagscaleError: no pipeline of this name; more devices are wanted than tasks get, or than the study may use.
    """
    definition = defined(name)
    if definition.tags:
        return tagging(name, params, None if on_this_machine else params.kubernetes)
    params = one_cell(params) if definition.one_cell else params
    if not on_this_machine and definition.trains:
        check_devices(params)
    cluster = None if on_this_machine else params.kubernetes
    run = {"params": params.model_dump_json(), "pipeline": name}
    run |= {"pipeline_run": dsl.PIPELINE_JOB_ID_PLACEHOLDER, "title": dsl.PIPELINE_JOB_NAME_PLACEHOLDER}

    @dsl.pipeline(name=name, description=definition.about)
    def parts(again: bool = False) -> None:
        tasks(definition, params, cluster, run, again)

    if definition.watches:
        return watching(definition, parts, run, cluster)

    # A pipeline within the pipeline: directly in an exit handler, kfp 2.17 compiles loops over more than one value
    # into a graph that takes them from outside, where nobody gives them.
    @dsl.pipeline(name=server_name(name), description=definition.about)
    def with_end(again: bool = False) -> None:
        with dsl.ExitHandler(on_cluster(end(**run), cluster), name=name):
            parts(again=again).set_caching_options(False)

    return with_end


def tasks(
    definition: Definition, params: Params, cluster: KubernetesParams | None, run: Mapping[str, str], again: Any
) -> None:
    """Every task of a pipeline, in the order of the data.

    Args:
        cluster: what tasks get on a cluster; None: on this machine.
        run: what identifies the run of the pipeline to its first and last task.
        again: the pipeline's parameter.
    """
    grid, place = params.train, partial(on_cluster, cluster=cluster)

    settings = place(begin(**run)).output
    corpus = {"root": place(synth(settings=settings)).output} if params.dataset.source == "synth" else {}
    tables = place(catalog(settings=settings, **corpus)).output
    store = decode(params, cluster, settings, tables)
    validated = place(validate(settings=settings, catalog=tables, store=store))
    validation = validated.outputs["validation"]
    divided = place(partition(settings=settings, catalog=tables, validation=validation))
    parts, content = divided.outputs["partition"], divided.outputs["Output"]
    if grid.baselines:
        descriptors = place(describe(settings=settings, content=content, partition=parts, store=store)).output
    if grid.probes:
        features = place(encode(settings=settings, content=content, partition=parts, store=store)).output
    if not definition.trains:
        return

    data = {"settings": settings, "catalog": tables, "partition": parts}
    cell = {"again": again} | data
    cells: dict[str, dict[str, Any]] = {}  # the outputs of each loop; but for the first, under names of their own
    if grid.models:
        cells[""] = train_and_evaluate("front-end", grid.models, params, cluster, cell | {"inputs": store})
    if grid.probes:
        inputs = cell | {"inputs": features}
        cells["probe_"] = train_and_evaluate("probe", grid.probes, params, cluster, inputs)
    if grid.baselines:
        inputs = cell | {"inputs": descriptors}
        cells["baseline_"] = train_and_evaluate("baseline", grid.baselines, params, cluster, inputs)
    made = {"ensembles": place(ensemble(**data, **collected(cells))).output} if grid.ensembles else {}
    if definition.compares:
        place(compare(**data, validation=validation, **collected(cells), **made))
    if definition.registers:
        place(register(**data, store=store, **collected(cells), **made))


def decode(params: Params, cluster: KubernetesParams | None, settings: Any, tables: Any) -> Any:
    """The address of the store, decoded by one task, or in slices that another task joins (`kubernetes.shards`)."""
    place, shards = partial(on_cluster, cluster=cluster), params.kubernetes.shards
    if shards == 1:
        return place(preprocess(settings=settings, catalog=tables)).output
    slices = [{"number": str(number), "of": str(shards)} for number in range(1, shards + 1)]
    with dsl.ParallelFor(slices, name="slices", parallelism=None if cluster else 1) as part:
        decoded = place(preprocess(settings=settings, catalog=tables, number=part.number, of=part.of))
    return place(merge(settings=settings, slices=dsl.Collected(decoded.output))).output


def train_and_evaluate(
    kind: str,
    models: Sequence[str],
    params: Params,
    cluster: KubernetesParams | None,
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """A loop over model x size x seed; returns the outputs that compare and register read.

    A loop instead of a task for every cell, because `dsl.Collected` over a loop is kfp's one way to hand any number of
    artifacts to one task. Front-ends, probes and baselines have loops of their own, so that front-ends do not wait
    for features and descriptors.

    Args:
        kind: front-end, or what has no use for a GPU: probe, baseline.
        data: the inputs of both tasks.
    """
    grid, on_gpus = params.train, kind == "front-end"
    suffix = "" if on_gpus else f"_{kind}"
    items = [
        {
            "model": model,
            "size": str(size),
            "seed": str(seed),
            "train": key_of(params, f"train{suffix}", model),
            "evaluate": key_of(params, f"evaluate{suffix}", model),
        }
        for model in models
        for size in grid.sizes
        for seed in grid.seeds
    ]
    with dsl.ParallelFor(items, name=f"{kind}s", parallelism=cluster.parallel if cluster else 1) as cell:
        name = {"model": cell.model, "size": cell.size, "seed": cell.seed}
        kept = {"key": cell.train, "code": code_of(f"train{suffix}")}
        trained = train(**name, **kept, image=IMAGE, **data)
        in_pods = on_gpus and grid.nodes > 1  # a TrainJob trains, and the task follows it
        on_cluster(trained, cluster, on_gpus, in_pods).set_display_name(f"train {kind}")
        run = trained.outputs["run"]
        kept = {"key": cell.evaluate, "code": code_of(f"evaluate{suffix}")}
        evaluated = evaluate(run=run, **kept, **data)
        on_cluster(evaluated, cluster, on_gpus).set_display_name(f"evaluate {kind}")
    return {"runs": run, "results": evaluated.outputs["results"]}


def collected(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The outputs of the loops as lists, made anew for every task: the compiler changes a Collected."""
    return {prefix + name: dsl.Collected(out) for prefix, outputs in cells.items() for name, out in outputs.items()}


def tagging(name: str, params: Params, cluster: KubernetesParams | None) -> Any:
    """The pipeline that tags a catalogue, a task for each shard of it (`kubernetes.shards`).

    The version reaches the shards as an artifact: on this machine kfp 2.17 gives a loop its item in place of what a
    task outside of it returns.
    """
    place = partial(on_cluster, cluster=cluster)
    items = [{"number": str(number)} for number in range(1, params.kubernetes.shards + 1)]

    @dsl.pipeline(name=server_name(name), description=defined(name).about)
    def parts(
        catalogue: str,
        model: str = params.registry.name,
        version: str = "champion",
        scores: str = "scores",
        embeddings: bool = False,
        again: bool = False,
    ) -> None:
        chosen = {"catalogue": catalogue, "model": model, "version": version, "scores": scores}
        planned = place(plan(params=params.model_dump_json(), **chosen, embeddings=embeddings, again=again)).output
        with dsl.ParallelFor(items, name="shards", parallelism=None if cluster else 1) as shard:
            tagged = place(tag(plan=planned, number=shard.number)).output
        place(join(plan=planned, shards=dsl.Collected(tagged)))

    return parts


def watching(definition: Definition, parts: Any, run: Mapping[str, str], cluster: KubernetesParams | None) -> Any:
    """The pipeline that retrains where what was tagged drifts.

    Args:
        parts: the pipeline that retrains.
        run: what identifies the run of the pipeline to its first and last task.
    """
    name, place = run["pipeline"], partial(on_cluster, cluster=cluster)

    @dsl.pipeline(name=server_name(name), description=definition.about)
    def with_end(rows: str = "scores", margin: float = DRIFT_MARGIN, again: bool = False) -> None:
        with dsl.ExitHandler(place(end(**run)), name=name):
            watched = place(watch(params=run["params"], rows=rows, margin=margin))
            with dsl.If(watched.outputs["Output"] == "drift", name="drift"):
                parts(again=again).set_caching_options(False)

    return with_end
