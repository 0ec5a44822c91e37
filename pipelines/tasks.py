"""The tasks of every pipeline: the graph of dvc.yaml, from the catalog to the registry.

Which tasks there are is decided when a pipeline is built: the corpus is composed or lies on the volume
(`dataset.source`), the store is decoded by one task or in slices (`kubernetes.shards`), and the cells of the grid are
the items of two loops, one over the front-ends, which read the store, and one over the baselines, which read the
descriptors: so front-ends do not wait for descriptors. Loops instead of a task for every cell because `dsl.Collected`
over a loop is the one way that kfp has to hand any number of artifacts to one task, and compare and register take all.
"""

from collections.abc import Sequence
from typing import Any

from components.begin import begin
from components.catalog import catalog
from components.compare import compare
from components.describe import describe
from components.end import end
from components.evaluate import evaluate
from components.image import IMAGE
from components.merge import merge
from components.partition import partition
from components.preprocess import preprocess
from components.register import register
from components.synth import synth
from components.train import train
from components.validate import validate
from kfp import dsl

from pipelines.cluster import on_cluster
from pipelines.keys import key_of
from tagscale.params.load import Params


class Tasks:
    """Makes the tasks of one pipeline, each with what it gets on a cluster.

    Args:
        params: settings, fixed when the pipeline is built.
        pipeline: its name.
        on_this_machine: one task after the other, without what the block `kubernetes` gives tasks on a cluster.
    """

    def __init__(self, params: Params, pipeline: str, on_this_machine: bool) -> None:
        self.params, self.grid, self.on_this_machine = params, params.train, on_this_machine
        self.about = {
            "params": params.model_dump_json(),
            "pipeline": pipeline,
            "pipeline_run": dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        }

    def begin(self) -> None:
        """The first task; every other one takes the settings from it."""
        self.settings = self.placed(begin(**self.about), "begin").output

    def end(self) -> Any:
        """The task of an exit handler."""
        return self.placed(end(**self.about), "end")

    def data(self) -> None:
        """From the dataset to its parts, and the baselines' descriptors."""
        root = {}
        if self.params.dataset.source == "synth":
            root = {"root": self.placed(synth(settings=self.settings), "synth").output}
        listed = self.placed(catalog(settings=self.settings, **root), "catalog")
        self.store = self.stored(listed.output)
        validated = self.placed(validate(settings=self.settings, catalog=listed.output, store=self.store), "validate")
        self.validation = validated.outputs["validation"]
        divided = partition(settings=self.settings, catalog=listed.output, validation=self.validation)
        self.placed(divided, "partition")
        self.content = divided.outputs["Output"]
        self.tables = {"catalog": listed.output, "partition": divided.outputs["partition"]}
        if self.grid.baselines:
            described = describe(
                settings=self.settings, content=self.content, partition=self.tables["partition"], store=self.store
            )
            self.descriptors = self.placed(described, "describe").output

    def stored(self, listed: Any) -> Any:
        """The address of the store, decoded by one task or by several and joined."""
        shards = self.params.kubernetes.shards
        if shards == 1:
            return self.placed(preprocess(settings=self.settings, catalog=listed), "preprocess").output
        slices = [{"number": str(number), "of": str(shards)} for number in range(1, shards + 1)]
        with dsl.ParallelFor(slices, name="slices", parallelism=1 if self.on_this_machine else None) as part:
            decoded = preprocess(settings=self.settings, catalog=listed, number=part.number, of=part.of)
            self.placed(decoded, "preprocess")
        joined = merge(settings=self.settings, slices=dsl.Collected(decoded.output))
        return self.placed(joined, "merge").output

    def cells(self) -> None:
        """Train and evaluate the whole grid."""
        self.loops = {}
        if self.grid.models:
            self.loops[""] = self.loop("front-end", self.grid.models, self.store)
        if self.grid.baselines:
            self.loops["baseline_"] = self.loop("baseline", self.grid.baselines, self.descriptors)

    def compare(self) -> None:
        compared = compare(settings=self.settings, **self.tables, validation=self.validation, **_gathered(self.loops))
        self.placed(compared, "compare")

    def register(self) -> None:
        registered = register(settings=self.settings, store=self.store, **self.tables, **_gathered(self.loops))
        self.placed(registered, "register")

    def loop(self, kind: str, models: Sequence[str], inputs: Any) -> dict[str, Any]:
        """A loop over model x size x seed that trains and evaluates; its outputs that compare and register take."""
        suffix = "_baseline" if kind == "baseline" else ""
        cells = [
            {
                "model": model,
                "size": str(size),
                "seed": str(seed),
                "train": key_of(self.params, f"train{suffix}", model),
                "evaluate": key_of(self.params, f"evaluate{suffix}", model),
            }
            for model in models
            for size in self.grid.sizes
            for seed in self.grid.seeds
        ]
        at_once = 1 if self.on_this_machine else self.params.kubernetes.parallel
        with_gpus = kind != "baseline"
        data = {"settings": self.settings, **self.tables, "inputs": inputs}
        with dsl.ParallelFor(cells, name=f"{kind}s", parallelism=at_once) as cell:
            trained = train(
                model=cell.model,
                size=cell.size,
                seed=cell.seed,
                key=cell.train,
                content=self.content,
                image=IMAGE,
                **data,
            )
            follows = with_gpus and self.params.train.nodes > 1  # the pods of a TrainJob train
            self.placed(trained, "train", with_gpus, follows).set_display_name(f"train {kind}")
            run, content = trained.outputs["run"], trained.outputs["Output"]
            evaluated = evaluate(run=run, key=cell.evaluate, content=content, **data)
            self.placed(evaluated, "evaluate", with_gpus).set_display_name(f"evaluate {kind}")
        return {"runs": run, "results": evaluated.outputs["results"]}

    def placed(self, task: Any, stage: str, with_gpus: bool = True, follows: bool = False) -> Any:
        """The task with what it gets on a cluster, where the pipeline is for one."""
        return task if self.on_this_machine else on_cluster(task, stage, self.params.kubernetes, with_gpus, follows)


def _gathered(loops: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The outputs of the loops as lists. For one task each: the compiler changes a Collected while it compiles."""
    return {prefix + name: dsl.Collected(out) for prefix, outputs in loops.items() for name, out in outputs.items()}
