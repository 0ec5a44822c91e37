"""The compiled pipelines equal those in golden/, so that a review shows every change of what a cluster gets.

Where a change is intended, renew the files:

    python -m pipelines compile --output tests/pipelines/golden
"""

import difflib
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec
from pipelines.definitions import PIPELINES
from pipelines.package import compiled_text

from tagscale.params.load import load

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
RENEW = "python -m pipelines compile --output tests/pipelines/golden"


def test_every_pipeline_has_a_golden_file():
    assert {file.name for file in GOLDEN.iterdir()} == {f"{name}.yaml" for name in PIPELINES}


@pytest.mark.parametrize("name", PIPELINES)
def test_compiles_to_the_golden_file(name):
    golden = (GOLDEN / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    now = compiled_text(name, load(ROOT / "params.yaml")).splitlines()
    changes = list(difflib.unified_diff(golden, now, f"golden/{name}.yaml", "compiled now", lineterm="", n=1))
    assert not changes, "\n".join([*changes[:60], f"Where this is intended: {RENEW}"])


@pytest.mark.parametrize("name", PIPELINES)
def test_parses_into_the_specs(name):
    pipeline, *platforms = yaml.load_all((GOLDEN / f"{name}.yaml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    spec = json_format.ParseDict(pipeline, PipelineSpec(), ignore_unknown_fields=False)
    assert spec.pipeline_info.name == f"tagscale-{name}"
    for platform in platforms:
        json_format.ParseDict(platform, PlatformSpec(), ignore_unknown_fields=False)
