"""From a name in train.models to the description of the model that it means."""

from collections.abc import Sequence

from tagscale import SAMPLE_RATE
from tagscale.models.build import Architecture, class_of
from tagscale.models.spec import NETWORKS, base_model
from tagscale.params.blocks import FineTuningParams
from tagscale.params.load import Params


def architecture_of(params: Params, name: str, tags: Sequence[str], kinds: Sequence[str]) -> Architecture:
    """The model, its capacity and its patch length, as params.yaml says them.

    A front-end of the paper gets the shared back-end; a named capacity may replace single keys of it. Any other model
    hears patches of its own length, where its block or its publication states one.
    """
    model = base_model(name)
    block = {key: value for key, value in getattr(params.model, name).model_dump().items() if value is not None}
    seconds = block.pop("patch_seconds", None)
    stated = params.model.backend.model_dump() | block if NETWORKS[model].shares_backend else block
    capacity = {key: value for key, value in stated.items() if key not in FineTuningParams.model_fields}
    if seconds is None:
        natural = class_of(model).natural(**capacity)
        seconds = natural / SAMPLE_RATE if natural else params.train.patch_seconds
    return Architecture(model, capacity, tuple(tags), tuple(kinds), seconds)
