"""The metadata of artifacts: what Kubeflow's page of an artifact answers, and what its store refuses."""

import ast
import json
from collections.abc import Iterator
from typing import Any

from conformance.kit import Elsewhere, Installation, Planted, Rule

STORE = "Kubeflow Pipelines 2.17.0: backend/src/v2/metadata/converter.go"
NUMBERS = ("Metrics", "ClassificationMetrics")  # artifacts whose metadata are the numbers that they show
OWN = {"display_name", "store_session_info", "_kfp_workspace"}  # metadata/client.go, metadata/converter.go


def faults_of(text: str) -> Iterator[str]:
    """What is wrong with the metadata of an artifact, as the JSON that a task leaves for the launcher."""

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        content = json.loads(text, parse_constant=constant)
    except ValueError as error:
        yield str(error)
        return
    if not content.get("hash"):
        yield "the artifact's hash is missing"
    for name, value in content.items():
        if name in OWN:
            yield f"{name}: Kubeflow keeps something else under this key"
        if value is None:
            yield f"{name}: the launcher fails the task for a null"
        elif not isinstance(value, str | int | float):
            yield f"{name}: the page shows text and numbers, found {value!r}"


def executors(installation: Installation) -> Iterator[tuple[dict[str, Any], ast.FunctionDef]]:
    """The container of every task, and its function."""
    for specification, *_ in installation.pipelines.values():
        for executor in specification["deploymentSpec"]["executors"].values():
            container = executor["container"]
            functions = ast.parse(container["command"][-1]).body
            yield container, next(one for one in functions if isinstance(one, ast.FunctionDef))


def _described(function: ast.FunctionDef) -> set[str]:
    """The artifacts of a task that get metadata: each is named in a call of `describe`, or in a loop around it."""
    names = set()
    for loop in ast.walk(function):
        calls = [one for one in ast.walk(loop) if isinstance(one, ast.Call) and one.args]
        given = {ast.unparse(one.args[0]) for one in calls if ast.unparse(one.func).split(".")[-1] == "describe"}
        if isinstance(loop, ast.For) and isinstance(loop.iter, ast.Tuple) and ast.unparse(loop.target) in given:
            given |= {ast.unparse(one) for one in loop.iter.elts}
        names |= given
    return names


def _check(installation: Installation) -> Iterator[str]:
    for _, function in executors(installation):
        for argument in function.args.args:
            kind = ast.unparse(argument.annotation) if argument.annotation else ""
            shown = kind.startswith("Output[") and kind.removeprefix("Output[").removesuffix("]") not in NUMBERS
            if shown and argument.arg not in _described(function):
                yield f"{function.name}: its artifact {argument.arg} has no metadata"


def _undescribed(installation: Installation) -> None:
    for container, function in executors(installation):
        if function.name == "train":
            lines = container["command"][-1].splitlines(keepends=True)
            container["command"][-1] = "".join(line for line in lines if "describe(run," not in line)


METADATA = Rule("every artifact of a task has metadata", STORE, _check)
RULES = [METADATA]
PLANTED = [
    Planted("a training's artifact says nothing of itself", METADATA, _undescribed, "train: its artifact run has no"),
]
TESTS = "tests/cluster/test_metadata.py"
ELSEWHERE = [
    Elsewhere(
        "a null, a NaN or an infinity in an artifact's metadata", STORE, f"{TESTS}::test_what_has_no_value_is_left_out"
    ),
    Elsewhere(
        "an artifact without its hash, or with a key of Kubeflow's own",
        "Kubeflow Pipelines 2.17.0: backend/src/v2/metadata/client.go",
        f"{TESTS}::test_what_cannot_be_metadata",
    ),
    Elsewhere(
        "metadata of a whole study that the store refuses",
        STORE,
        "tests/test_orchestrators.py::test_every_artifact_says_what_it_is",
    ),
]
