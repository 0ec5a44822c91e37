"""Every component hands its stage exactly what the stage's run() takes."""

import importlib
import inspect

import pytest

from tagscale.stage_names import STAGES

FOR_THE_UI = {"metrics", "report"}  # shown by Kubeflow beside the stage's own output
# Processes, slices; side files of the command line; what an earlier or an ended run left
OF_THE_MACHINE = {"workers", "shard", "timings", "docs", "previous", "unfinished"}


@pytest.mark.parametrize("stage", STAGES)
def test_inputs_and_outputs_are_the_arguments_of_the_stage(stage):
    component = getattr(importlib.import_module(f"components.{stage}"), stage)
    run = importlib.import_module(f"tagscale.stages.{stage}").run
    spec = component.component_spec
    passed = {*spec.inputs, *spec.outputs} - FOR_THE_UI
    passed = {name.removeprefix("baseline_") for name in passed}  # the baselines' runs arrive in lists of their own
    assert passed - OF_THE_MACHINE == set(inspect.signature(run).parameters) - OF_THE_MACHINE


@pytest.mark.parametrize("stage", STAGES)
def test_one_short_module_for_each_component(stage):
    module = importlib.import_module(f"components.{stage}")
    assert len(inspect.getsource(module).splitlines()) <= 60
