"""The training pipeline: the graph of dvc.yaml, as Kubeflow tasks.

Which tasks there are is decided when the pipeline is built: the corpus is composed or imported (`dataset.source`),
and the cells of the grid are the items of two loops, one over the front-ends, which read the store, and one over
the baselines, which read the descriptors: so front-ends do not wait for descriptors. Loops instead of a task for
every cell because `dsl.Collected` over a loop is the one way that kfp has to hand any number of artifacts to one
task, and compare and register take all runs.
"""

from collections.abc import Sequence
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

from pipelines.cluster import check_devices, on_cluster
from tagscale.params import Params

NAME = "tagscale-training"


def training_pipeline(params: Params, on_this_machine: bool = False) -> Any:
    """The pipeline of these settings, for kfp's compiler or for a run on this machine.

    Its argument `params` is all of params.yaml, so a run shows its settings: one line of JSON, because kfp's
    structures have no null and its compiler breaks on defaults of several lines. The settings that decide the graph
    (`dataset.source` and the grid in `train`) are fixed here: to change them, compile again. With
    `dataset.source: folder` there is a second argument, `root`: folder or address of the table and the audio.

    Args:
        params: settings; their values become the default of the argument.
        on_this_machine: one task after the other, without what the block `kubernetes` gives tasks on a cluster.
    Raises:
        TagscaleError: a training wants more devices than its task gets.
    """
    settings = params.model_dump_json()
    if not on_this_machine:
        check_devices(params)
    study = _Study(params, on_this_machine)

    if params.dataset.source == "synth":

        @dsl.pipeline(name=NAME, description="Compose a corpus, then train and compare taggers on it.")
        def training(params: str = settings) -> None:
            made = synth(params=params)
            study.tasks(params, study.placed(made, "synth").outputs["corpus"])

    else:

        @dsl.pipeline(name=NAME, description="Train and compare taggers on a dataset of your own.")
        def training(params: str = settings, root: str = params.dataset.root) -> None:
            dataset = dsl.importer(artifact_uri=root, artifact_class=dsl.Dataset, reimport=True)
            study.tasks(params, dataset.output)

    return training


class _Study:
    """The tasks from the catalog to the registry."""

    def __init__(self, settings: Params, on_this_machine: bool) -> None:
        self.settings, self.grid, self.on_this_machine = settings, settings.train, on_this_machine

    def tasks(self, params: Any, root: Any) -> None:
        """Both arguments are kfp's placeholders."""
        listed = self.placed(catalog(params=params, root=root), "catalog")
        stored = self.placed(preprocess(params=params, root=root, catalog=listed.output), "preprocess")
        validated = self.placed(validate(params=params, catalog=listed.output, store=stored.output), "validate")
        validation = validated.outputs["validation"]
        divided = self.placed(partition(params=params, catalog=listed.output, validation=validation), "partition")
        data = {"catalog": listed.output, "partition": divided.output}

        loops = {"": self.loop("front-end", self.grid.models, params, data | {"inputs": stored.output})}
        if self.grid.baselines:
            described = describe(params=params, partition=divided.output, store=stored.output)
            self.placed(described, "describe")
            inputs = data | {"inputs": described.output}
            loops["baseline_"] = self.loop("baseline", self.grid.baselines, params, inputs)

        compared = compare(params=params, **data, validation=validation, **_gathered(loops))
        self.placed(compared, "compare")
        self.placed(register(params=params, store=stored.output, **data, **_gathered(loops)), "register")

    def loop(self, kind: str, models: Sequence[str], params: Any, data: dict[str, Any]) -> dict[str, Any]:
        """A loop over model x size x seed that trains and evaluates; its outputs that compare and register take."""
        cells = [
            {"model": model, "size": str(size), "seed": str(seed)}
            for model in models
            for size in self.grid.sizes
            for seed in self.grid.seeds
        ]
        at_once = 1 if self.on_this_machine else self.settings.kubernetes.parallel
        with_gpus = kind != "baseline"
        with dsl.ParallelFor(cells, name=f"{kind}s", parallelism=at_once) as cell:
            trained = train(params=params, model=cell.model, size=cell.size, seed=cell.seed, **data)
            self.placed(trained, "train", with_gpus).set_display_name(f"train {kind}")
            evaluated = evaluate(params=params, run=trained.output, **data)
            self.placed(evaluated, "evaluate", with_gpus).set_display_name(f"evaluate {kind}")
        return {"runs": trained.output, "results": evaluated.outputs["results"]}

    def placed(self, task: Any, stage: str, with_gpus: bool = True) -> Any:
        """The task with what it gets on a cluster, where the pipeline is for one."""
        return task if self.on_this_machine else on_cluster(task, stage, self.settings.kubernetes, with_gpus)


def _gathered(loops: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The outputs of the loops as lists. For one task each: the compiler changes a Collected while it compiles."""
    return {prefix + name: dsl.Collected(out) for prefix, outputs in loops.items() for name, out in outputs.items()}
