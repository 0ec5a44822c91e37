"""Which stage trains a model: each list of `train` in params.yaml has its own (`tagscale.models.spec.GROUPS`)."""

from collections.abc import Callable
from importlib import import_module

from tagscale.models.spec import stage_of


def training_of(model: str) -> Callable[..., None]:
    """The `run` of the stage that trains this model: all of them take the same arguments."""
    run: Callable[..., None] = import_module(f"tagscale.stages.{stage_of('train', model)}").run
    return run
