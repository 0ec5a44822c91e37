"""The pipelines: data, training, study and retrain, each a choice of the same tasks.

All end with a task that tells MLflow how they ended, whatever happened. Settings are fixed when a pipeline is built,
since they decide the graph and the keys of the cache: to change them, compile again.
"""

from dataclasses import dataclass
from typing import Any

from kfp import dsl

from pipelines.cluster import check_devices
from pipelines.tasks import Tasks
from tagscale.models.spec import BASELINE
from tagscale.params.load import Params, parse
from tagscale.runtime.errors import TagscaleError


@dataclass(frozen=True)
class Definition:
    """What a pipeline does.

    Attributes:
        about: for people.
        one_cell: it trains one model, not the whole grid.
        trains, compares, registers: the parts that it has, beside those that prepare the data.
    """

    about: str
    one_cell: bool = False
    trains: bool = True
    compares: bool = False
    registers: bool = False


PIPELINES = {
    "data": Definition("Decode, check and divide a dataset, and note its version.", trains=False),
    "training": Definition("Train one model and evaluate it.", one_cell=True),
    "study": Definition(
        "Train models at growing sizes, compare them, register the best.", compares=True, registers=True
    ),
    "retrain": Definition(
        "Take the dataset as it is now, train one model and register it if it passes the gate.",
        one_cell=True,
        registers=True,
    ),
}


def server_name(name: str) -> str:
    """What a pipeline is called on a server."""
    return f"tagscale-{name}"


def pipeline(name: str, params: Params, on_this_machine: bool = False) -> Any:
    """The pipeline of these settings, for kfp's compiler or for a run on this machine.

    Args:
        name: one of PIPELINES.
        params: settings; those of a pipeline of one cell should be narrowed to it (`one_cell`).
        on_this_machine: one task after the other, without what the block `kubernetes` gives tasks on a cluster.
    Raises:
        TagscaleError: no pipeline of this name; more devices are wanted than tasks get, or than the study may use.
    """
    definition = defined(name)
    params = one_cell(params) if definition.one_cell else params
    if not on_this_machine and definition.trains:
        check_devices(params)
    tasks = Tasks(params, name, on_this_machine)

    @dsl.pipeline(name=name, description=definition.about)
    def parts() -> None:
        tasks.begin()
        tasks.data()
        if definition.trains:
            tasks.cells()
        if definition.compares:
            tasks.compare()
        if definition.registers:
            tasks.register()

    # A pipeline within the pipeline: directly in an exit handler, kfp 2.17 compiles loops over more than one value
    # into a graph that takes them from outside, where nobody gives them.
    @dsl.pipeline(name=server_name(name), description=definition.about)
    def with_end() -> None:
        with dsl.ExitHandler(tasks.end(), name=name):
            parts().set_caching_options(False)  # its tasks say it for themselves

    return with_end


def defined(name: str) -> Definition:
    """Raises TagscaleError for a pipeline that does not exist."""
    if name not in PIPELINES:
        raise TagscaleError(f"no pipeline {name!r}; there are: {', '.join(PIPELINES)}.")
    return PIPELINES[name]


def one_cell(params: Params, model: str | None = None, size: str | None = None, seed: int | None = None) -> Params:
    """Settings whose grid is one training; what is not given is the first model, the largest size, the first seed.

    Raises:
        TagscaleError: no such model, or a size that is neither a number nor `all`.
    """
    grid = params.train
    model = model or grid.models[0]
    if size is not None and size != "all" and not size.isdigit():
        raise TagscaleError(f"--size {size}: expected a number of training tracks, or all.")
    chosen = grid.sizes[-1] if size is None else size if size == "all" else int(size)
    narrow = {"sizes": [chosen], "seeds": [grid.seeds[0] if seed is None else seed]}
    if model == BASELINE:
        raise TagscaleError(f"--model {model}: the baseline is trained by the pipeline study; expected a front-end.")
    narrow |= {"models": [model], "baselines": []}
    content = params.model_dump()
    return parse(content | {"train": content["train"] | narrow}, origin=f"--model {model}")
