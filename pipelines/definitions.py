"""Which pipelines there are: data, training, study, retrain, tag and watch."""

from dataclasses import dataclass

from tagscale.models.spec import GROUPS, group_of
from tagscale.params.load import Params, parse
from tagscale.runtime.errors import TagscaleError


@dataclass(frozen=True)
class Definition:
    """What a pipeline does beside preparing the data, or in place of that.

    Attributes:
        about: its description.
        one_cell: it trains one cell of the grid, not the whole.
        trains, compares, registers: the further parts that it has.
        tags: it has none of the data's tasks, and tags a catalogue with a registered version.
        watches: it does the rest only where what was tagged drifts from the version's own data.
    """

    about: str
    one_cell: bool = False
    trains: bool = True
    compares: bool = False
    registers: bool = False
    tags: bool = False
    watches: bool = False


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
    "watch": Definition(
        "Compare what was tagged with the version's own data; where it drifts, do what retrain does.",
        one_cell=True,
        registers=True,
        watches=True,
    ),
    "tag": Definition("Tag a catalogue with a registered version, in shards.", trains=False, tags=True),
}


def server_name(name: str) -> str:
    """The pipeline's name on a server."""
    return f"tagscale-{name}"


def defined(name: str) -> Definition:
    """Raises TagscaleError for a pipeline that does not exist."""
    if name not in PIPELINES:
        raise TagscaleError(f"no pipeline {name!r}; there are: {', '.join(PIPELINES)}.")
    return PIPELINES[name]


def one_cell(params: Params, model: str | None = None, size: str | None = None, seed: int | None = None) -> Params:
    """Settings whose grid is one training, by default of the first model, the largest size and the first seed.

    The gate's floor keeps what needs no other training: the constant. The baseline stood below the champion already.

    Raises:
        TagscaleError: no such model, or a size that is neither a number nor `all`.
    """
    grid = params.train
    model = model or next(iter(grid.models), grid.everyone[0])
    if size is not None and size != "all" and not size.isdigit():
        raise TagscaleError(f"--size {size}: expected a number of training tracks, or all.")
    chosen = grid.sizes[-1] if size is None else size if size == "all" else int(size)
    narrow = {"sizes": [chosen], "seeds": [grid.seeds[0] if seed is None else seed]}
    if group_of(model) != "models":
        raise TagscaleError(
            f"--model {model}: a name of train.{group_of(model)} is trained by the pipeline study; expected one that "
            "train.models may hold."
        )
    narrow |= {group: [] for group in GROUPS} | {"models": [model]}
    content = params.model_dump()
    gate = content["registry"]["gate"]
    gate["floor"] = [name for name in gate["floor"] if name in ("constant", model)]
    return parse(content | {"train": content["train"] | narrow}, origin=f"--model {model}")
