"""The part of a task's cache key that comes from the settings, as one short hash.

It covers the settings that dvc.yaml names for the stage, so a change of settings runs the same stages on a cluster as
`dvc repro` does here.
"""

from functools import cache
from pathlib import Path
from typing import Any

from tagscale.params.load import Params
from tagscale.runtime.identity import hash_of
from tagscale.runtime.yaml_text import parse_yaml

DVC = Path(__file__).parents[1] / "dvc.yaml"


def key_of(params: Params, stage: str, model: str = "") -> str:
    """Hash of the settings that a stage of dvc.yaml reads.

    Args:
        model: a name of train.models, for the stages whose settings depend on it.
    """
    content = params.model_dump()
    names = [name.replace("${item.model}", model) for name in _stages()[stage].get("params", [])]
    return hash_of({name: _value(content, name) for name in names})


def _value(content: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        content = content[part]
    return content


@cache
def _stages() -> dict[str, Any]:
    stages: dict[str, Any] = parse_yaml(DVC.read_text(encoding="utf-8"), str(DVC))["stages"]
    return stages
