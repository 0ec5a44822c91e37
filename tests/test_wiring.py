"""dvc.yaml says of each stage exactly what the stage does: the settings it reads, the code it runs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from recorder import leaves
from sources import imported
from tagscale.models.spec import NETWORKS
from tagscale.params.load import Params, load
from tagscale.params.stage_names import STAGES as NAMES

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tagscale"
# Names of what a result is kept under: with a new one no training runs again.
ONLY_NAMES = {"dataset.version", "tracking.experiment"}
SPEED_ALONE = {"train.compile", "train.workers", "train.devices", "train.nodes"}  # results do not depend on them
UNDER_ANOTHER = {"registry.gate.reasons"}  # read where registry.gate.rule is non_inferior
REFUSED_EARLY = {"train.sizes", "registry.metric"}  # read by every command that would reach their refusal too late
# Folders that decide no result: how files are written and settings parsed, where numbers are sent.
NEUTRAL = {"runtime", "params", "tracking"}
# They describe the models for everybody; a stage that needs no network depends on them alone.
DESCRIPTIONS = {"models/spec.py", "models/paper.py"}
# Stages that name the settings of their model; the tiny study has these.
MODELS_OF = {"train": ["@waveform", "@spectrogram"], "encode": ["@probe"], "train_probe": ["@probe"]}
STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def declared(stage: str, model: str = "") -> set[str]:
    """Settings that dvc.yaml declares for a stage, as dotted names of single keys."""
    params = load(ROOT / "params.yaml")
    names = [name.replace("${item.model}", model) for name in STAGES[stage].get("params", [])]
    return {key for name in names for key in leaves(params) if key == name or key.startswith(f"{name}.")}


@pytest.mark.slow
@pytest.mark.parametrize("stage", [f"{name}{model}" for name in STAGES for model in MODELS_OF.get(name, [""])])
def test_a_stage_reads_exactly_the_settings_that_it_declares(tiny_study: Any, stage: str) -> None:
    name, _, model = stage.partition("@")
    read = tiny_study.keys_read[stage]
    assert read - declared(name, model) - ONLY_NAMES - SPEED_ALONE - REFUSED_EARLY == set(), (
        "read, but a change would not run the stage again"
    )
    assert declared(name, model) - read - UNDER_ANOTHER == set(), (
        "declared, but never read: a change would run the stage for nothing"
    )


def test_every_setting_belongs_to_a_stage() -> None:
    used = {key for stage in STAGES for model in NETWORKS for key in declared(stage, model)}
    where = {key for key in leaves(load(ROOT / "params.yaml")) if key.startswith("kubernetes.")}
    assert leaves(load(ROOT / "params.yaml")) == used | SPEED_ALONE | where


def test_stages_have_their_names() -> None:
    assert {name.partition("_")[0] for name in STAGES} == set(NAMES)  # train_baseline is the stage train


def code_of(stage: str) -> set[str]:
    """What dvc.yaml says that a stage's code is, relative to src/tagscale: folders, and modules of stages/."""
    deps = [dep for dep in STAGES[stage]["deps"] if dep.startswith("src/")]
    return {Path(dep).relative_to("src/tagscale").as_posix() for dep in deps}


def reached_by(stage: str) -> set[str]:
    """What a stage's code really is: its own module in stages/, and all that this imports, now or in a function."""
    own = stage if (SOURCE / "stages" / f"{stage}.py").exists() else stage.partition("_")[0]
    reached: set[Path] = set()
    pending = [SOURCE / "stages" / f"{own}.py"]
    while pending:
        path = pending.pop()
        if path not in reached and path.relative_to(SOURCE).parts[0] not in NEUTRAL:
            reached.add(path)
            pending += [file for name in imported(path) for file in files_of(name)]
    units = {unit_of(path.relative_to(SOURCE)) for path in reached if path.name != "__init__.py"}
    return units - DESCRIPTIONS if "models" in units else units


def unit_of(path: Path) -> str:
    """What dvc.yaml names for a module: its folder, or the module itself."""
    return path.as_posix() if path.parts[0] == "stages" or path.as_posix() in DESCRIPTIONS else path.parts[0]


def files_of(name: str) -> list[Path]:
    """The module of a dotted name, or of the name that it is imported from."""
    if not name.startswith("tagscale."):
        return []
    path = SOURCE.joinpath(*name.split(".")[1:])
    candidates = [path.with_suffix(".py"), path / "__init__.py", path.parent.with_suffix(".py")]
    return [file for file in candidates if file.exists()][:1]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_that_it_reaches(stage: str) -> None:
    reached = reached_by(stage)
    assert reached - code_of(stage) == set(), "reached, but a change would not run the stage again"
    assert code_of(stage) - reached == set(), "declared, but never reached: a change would run the stage for nothing"


def test_reaching_goes_through_functions_and_other_modules() -> None:
    assert {"models", "training", "audio", "store", "stages/train.py"} <= reached_by("train")
    assert reached_by("synth") == {"synth", "stages/synth.py"}


def test_code_is_named_by_folders_and_stages() -> None:
    for stage in STAGES:
        for path in code_of(stage):
            known = (SOURCE / path).is_dir() or path.startswith("stages/") or path in DESCRIPTIONS
            assert known, f"{stage}: {path} is no folder"
            assert (SOURCE / path).exists(), path


def test_every_input_is_the_output_of_an_earlier_stage() -> None:
    made: set[str] = set()
    for name, stage in STAGES.items():
        for dep in stage.get("deps", []):
            path = dep.replace("${dataset.root}", "data/corpus")
            if not path.startswith(("src/", "presets", "pretrained")):
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
