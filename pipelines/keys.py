"""What decides the result of a task, as one short hash: the part of the cache's key that comes from the settings.

dvc.yaml says of each stage which settings it reads; the same words decide here, so a task on a cluster runs again
after the changes after which `dvc repro` would.
"""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tagscale.params.load import Params
from tagscale.runtime.identity import hash_of

DVC = Path(__file__).parents[1] / "dvc.yaml"


def key_of(params: Params, stage: str, model: str = "") -> str:
    """Hash of the settings that a stage of dvc.yaml reads.

    Args:
        model: a name of train.models, for the stages whose settings depend on it
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
    stages: dict[str, Any] = yaml.safe_load(DVC.read_text(encoding="utf-8"))["stages"]
    return stages
