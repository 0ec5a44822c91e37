"""Every component hands its stage exactly what the stage's run() takes."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from tagscale.params.stage_names import STAGES

FOR_THE_UI = {"metrics", "report", "curve", "verdict"}  # shown by Kubeflow beside the stage's own output
OF_THE_KEPT = {"key", "code", "content", "again"}  # what decides a result that is kept; make it all the same
OF_THE_CLUSTER = {"settings", "number", "of", "image"}  # params.yaml as a file; which slice; the pods' image
# Processes, slices, models; side files of the command line; what an earlier or an ended run left
OF_THE_MACHINE = {"workers", "shard", "timings", "docs", "previous", "unfinished", "models"}
ON_THE_VOLUME = {"params", "root", "corpus"}
MORE_RUNS = {"ensembles"}  # one artifact with runs and results in it
AROUND = ("begin", "end", "merge", "plan", "tag", "join", "watch")  # components that are no stages


@pytest.mark.parametrize("stage", STAGES)
def test_inputs_and_outputs_are_the_arguments_of_the_stage(stage):
    component = getattr(importlib.import_module(f"components.{stage}"), stage)
    run = importlib.import_module(f"tagscale.stages.{stage}").run
    spec = component.component_spec
    passed = {*spec.inputs, *(spec.outputs or {})} - FOR_THE_UI - OF_THE_KEPT - OF_THE_CLUSTER - {"Output"}
    passed = {re.sub("^(probe|baseline)_", "", name) for name in passed}  # their runs arrive in lists of their own
    beside = OF_THE_MACHINE | ON_THE_VOLUME | MORE_RUNS
    assert passed - beside == set(inspect.signature(run).parameters) - beside
    assert "settings" in spec.inputs


@pytest.mark.parametrize("name", [*STAGES, *AROUND])
def test_one_short_module_for_each_component(name):
    module = importlib.import_module(f"components.{name}")
    assert len(inspect.getsource(module).splitlines()) <= 60


def test_there_are_no_other_components():
    found = {path.stem for path in Path(importlib.import_module("components").__file__).parent.glob("[!_]*.py")}
    assert found == {*STAGES, *AROUND, "image"}
