"""Runs of pipelines: how they are told apart, and what reaches their loops."""

from collections.abc import Iterator
from typing import Any

from conformance.kit import Elsewhere, Installation, Planted, Rule

UUID, NAME = "{{$.pipeline_job_uuid}}", "{{$.pipeline_job_name}}"
RESOLVED = "Kubeflow Pipelines 2.17.0: backend/src/v2/driver/resolve.go"
TESTS = "tests/cluster/test_pipeline.py"


def _tasks(installation: Installation) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Pipeline, name and specification of every task, at any depth."""
    for pipeline, (specification, *_) in installation.pipelines.items():
        for part in (specification["root"], *specification["components"].values()):
            for name, task in part.get("dag", {}).get("tasks", {}).items():
                yield pipeline, name, task


def _identified(installation: Installation) -> Iterator[str]:
    for pipeline, name, task in _tasks(installation):
        given = task.get("inputs", {}).get("parameters", {}).get("pipeline_run")
        constant = given and given["runtimeValue"]["constant"]
        if constant == NAME:
            yield f"{pipeline}, {name}: pipeline_run is the run's display name, which another run may have as well"
        elif given and constant != UUID:
            yield f"{pipeline}, {name}: the driver replaces a placeholder that is the whole value, found {constant}"


def _in_loops(installation: Installation) -> Iterator[str]:
    for pipeline, name, task in _tasks(installation):
        if "parameterIterator" in task:
            for parameter, source in task.get("inputs", {}).get("parameters", {}).items():
                if "taskOutputParameter" in source:
                    yield f"{pipeline}, {name}: on this machine {parameter} is the loop's item"


def _display_name(installation: Installation) -> None:
    for _, name, task in _tasks(installation):
        if name == "begin":
            task["inputs"]["parameters"]["pipeline_run"]["runtimeValue"]["constant"] = NAME


def _part_of_a_text(installation: Installation) -> None:
    for _, name, task in _tasks(installation):
        if name == "end":
            task["inputs"]["parameters"]["pipeline_run"]["runtimeValue"]["constant"] = f"run {UUID}"


def _into_a_loop(installation: Installation) -> None:
    for _, _, task in _tasks(installation):
        if "parameterIterator" in task:
            source = {"taskOutputParameter": {"producerTask": "partition", "outputParameterKey": "Output"}}
            task.setdefault("inputs", {}).setdefault("parameters", {})["pipelinechannel--partition-Output"] = source


IDENTIFIED = Rule("a pipeline's run is known by Kubeflow's identifier", RESOLVED, _identified)
IN_LOOPS = Rule(
    "a loop takes no parameter that a task outside of it returns",
    "kfp 2.17.0: kfp/local/orchestrator/task_spec_utils.py",
    _in_loops,
)
RULES = [IDENTIFIED, IN_LOOPS]
PLANTED = [
    Planted("a pipeline's run is known by its display name", IDENTIFIED, _display_name, "begin: pipeline_run is the"),
    Planted("a placeholder within a text, which nobody replaces", IDENTIFIED, _part_of_a_text, "is the whole value"),
    Planted("a hash of the data reaches a loop as a parameter", IN_LOOPS, _into_a_loop, "is the loop's item"),
]
ELSEWHERE = [
    Elsewhere(
        "the end of a pipeline fails the running trainings of another",
        RESOLVED,
        f"{TESTS}::test_a_pipeline_ends_the_trainings_that_it_lost_and_no_others",
    ),
    Elsewhere(
        "the end of a pipeline fails the runs that Kubeflow's plugin has open",
        "Kubeflow Pipelines 2.17.0: backend/src/apiserver/plugins/mlflow/run_start.go",
        f"{TESTS}::test_the_runs_of_kubeflows_plugin_are_left_to_it",
    ),
    Elsewhere(
        "the plugin's run lies in another experiment, whose page shows none of the trainings",
        "Kubeflow Pipelines 2.17.0: backend/src/apiserver/plugins/mlflow/config.go",
        f"{TESTS}::test_a_run_of_kubeflows_plugin_that_cannot_be_taken",
    ),
    Elsewhere(
        "a server without plugins refuses a run that names one",
        "Kubeflow Pipelines 2.16.0: backend/src/apiserver/common/utils.go",
        "tests/pipelines/client/test_submit.py::test_a_server_without_plugins_gets_the_run_without_them",
    ),
    Elsewhere(
        "a schedule that names a plugin loses the arguments of its runs",
        "Kubeflow Pipelines 2.17.0: backend/src/apiserver/template/v2_template.go",
        "tests/pipelines/client/test_recurring.py::test_schedules",
    ),
]
