"""What decides the result of a task, beside its data, and so the key under which the result is kept on the volume.

These are the settings and the code that dvc.yaml names for the stage. So a change of either runs the same stages on a
cluster as `dvc repro` does here.
"""

from functools import cache
from pathlib import Path
from typing import Any

from tagscale.params.load import Params
from tagscale.runtime.identity import hash_of
from tagscale.runtime.yaml_text import parse_yaml

DVC = Path(__file__).parents[1] / "dvc.yaml"
CODE = "src/tagscale/"


def key_of(params: Params, stage: str, model: str = "") -> str:
    """Hash of the settings that a stage of dvc.yaml reads.

    Args:
        model: a name of train.models, for the stages whose settings depend on it.
    """
    content = params.model_dump()
    names = [name.replace("${item.model}", model) for name in _stages()[stage].get("params", [])]
    return hash_of({name: _value(content, name) for name in names})


def code_of(stage: str) -> str:
    """The folders and modules below src/tagscale that a stage of dvc.yaml runs, with spaces between them.

    Their contents are hashed where the task runs, since the image may be of another commit.
    """
    paths = [dep.removeprefix(CODE) for dep in _stages()[stage]["deps"] if dep.startswith(CODE)]
    return " ".join(sorted(paths))


def _value(content: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        content = content[part]
    return content


@cache
def _stages() -> dict[str, Any]:
    stages: dict[str, Any] = parse_yaml(DVC.read_text(encoding="utf-8"), str(DVC))["stages"]
    return stages
