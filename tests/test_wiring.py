"""dvc.yaml says of each stage exactly what the stage does: the settings it reads, the code it runs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from recorder import leaves
from tagscale.params.load import CAPACITIES, Params, load
from tagscale.params.stage_names import STAGES as NAMES

ROOT = Path(__file__).parents[1]
ONLY_NAMES = {"dataset.version"}  # a name for data whose content decides: with a new one no training runs again
SPEED_ALONE = {"train.compile", "train.workers", "train.devices", "train.nodes"}  # results do not depend on them
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def declared(stage: str, model: str = "") -> set[str]:
    """Settings that dvc.yaml declares for a stage, as dotted names of single keys."""
    params = load(ROOT / "params.yaml")
    names = [name.replace("${item.model}", model) for name in STAGES[stage].get("params", [])]
    return {key for name in names for key in leaves(params) if key == name or key.startswith(f"{name}.")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage", [*(name for name in STAGES if name != "train"), "train@waveform", "train@spectrogram"]
)
def test_a_stage_reads_exactly_the_settings_that_it_declares(tiny_study: Any, stage: str) -> None:
    name, _, model = stage.partition("@")
    read = tiny_study.keys_read[stage]
    assert read - declared(name, model) - ONLY_NAMES - SPEED_ALONE == set(), (
        "read, but a change would not run the stage again"
    )
    assert declared(name, model) - read == set(), "declared, but never read: a change would run the stage for nothing"


def test_every_setting_belongs_to_a_stage() -> None:
    used = {key for stage in STAGES for model in CAPACITIES for key in declared(stage, model)}
    where = {key for key in leaves(load(ROOT / "params.yaml")) if key.startswith("kubernetes.")}
    assert leaves(load(ROOT / "params.yaml")) == used | SPEED_ALONE | where


def test_stages_have_their_names() -> None:
    assert {name.partition("_")[0] for name in STAGES} == set(NAMES)  # train_baseline is the stage train


def test_every_dependency_on_code_exists() -> None:
    paths = [dep for stage in STAGES.values() for dep in stage.get("deps", []) if dep.startswith("src/")]
    assert paths
    for path in paths:
        assert (ROOT / path).exists(), path


def test_every_input_is_the_output_of_an_earlier_stage() -> None:
    made: set[str] = set()
    for name, stage in STAGES.items():
        for dep in stage.get("deps", []):
            path = dep.replace("${dataset.root}", "data/corpus")
            if not path.startswith(("src/", "presets")):
                known = any(path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/") for out in made)
                assert known, f"{name} depends on {path}, which no stage above it writes"
        outs = [next(iter(out)) if isinstance(out, dict) else out for out in stage["outs"]]
        made |= set(outs)


def test_commands_are_those_of_the_command_line() -> None:
    from tagscale.cli import app

    known = {command.callback.__name__ for command in app.registered_commands if command.callback}
    for name, stage in STAGES.items():
        command = re.match(r"tagscale (\w+)", stage["cmd"])
        assert command, name
        assert command[1] in known, stage["cmd"]


def test_every_block_of_the_settings_is_explained() -> None:
    text = (ROOT / "params.yaml").read_text()
    for block in Params.model_fields:
        assert re.search(rf"^{block}:", text, re.MULTILINE)
