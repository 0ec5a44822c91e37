"""From a name in train.models to the description of the model that it means."""

from collections.abc import Sequence

from tagscale import SAMPLE_RATE
from tagscale.models.backend import FrontEndTagger
from tagscale.models.build import MODELS, Architecture
from tagscale.params.load import Params, base_model


def architecture_of(params: Params, name: str, tags: Sequence[str], kinds: Sequence[str]) -> Architecture:
    """The model, its capacity and its patch length, as params.yaml says them.

    A front-end of the paper gets the shared back-end, with what a named capacity says of its own. Any other model
    hears patches of its own length, where its block or its publication states one.
    """
    model = base_model(name)
    block = {key: value for key, value in getattr(params.model, name).model_dump().items() if value is not None}
    seconds = block.pop("patch_seconds", None)
    shared = issubclass(MODELS[model], FrontEndTagger)
    capacity = params.model.backend.model_dump() | block if shared else block
    if seconds is None:
        natural = MODELS[model].natural(**capacity)
        seconds = natural / SAMPLE_RATE if natural else params.train.patch_seconds
    return Architecture(model, capacity, tuple(tags), tuple(kinds), seconds)
