"""params.yaml keeps its layout, whoever changes a setting in it: a preset, or DVC for an experiment."""

import shutil
from difflib import ndiff
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from tagscale.cli.settings import rewrite
from tagscale.params.blocks import WantedPrecision
from tagscale.params.load import laid_over, load, read_yaml

ROOT = Path(__file__).parents[2]


def changed_by_dvc(file: Path, *settings: str) -> list[str]:
    """The lines that `dvc exp run --set-param` takes away and puts in."""
    before = file.read_text().splitlines()
    apply_overrides(file, list(settings))
    return [line for line in ndiff(before, file.read_text().splitlines()) if line[0] in "-+"]


def test_an_experiment_changes_the_lines_of_its_settings_alone(tmp_path: Path) -> None:
    file = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    changed = changed_by_dvc(
        file, "train.batch=9", "train.sizes=[50,all]", "model.crnn.width=0.5", "dataset.version=a@b"
    )
    assert [line.partition("#")[0].rstrip() for line in changed] == [
        "-   version:",
        "+   version: a@b",
        "-   crnn: {width: 1.0, dropout: 0.3, patch_seconds: null}",
        "+   crnn: {width: 0.5, dropout: 0.3, patch_seconds: null}",
        "-   - 200",
        "-   batch: 32",
        "+   batch: 9",
    ]


@pytest.mark.parametrize("preset", ["own", "table-2"])
def test_a_preset_leaves_the_layout_that_dvc_writes(tmp_path: Path, preset: str) -> None:
    file, changes = Path(shutil.copy(ROOT / "params.yaml", tmp_path)), read_yaml(ROOT / "presets" / f"{preset}.yaml")
    rewrite(file, changes)
    assert yaml.safe_load(file.read_text()) == laid_over(read_yaml(ROOT / "params.yaml"), changes)
    assert len(changed_by_dvc(file, "train.batch=9")) == 2, "one line, before and after"


def test_a_list_is_emptied_on_its_own_lines(tmp_path: Path) -> None:
    """Also one above null, with a comment beside its key."""
    file = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    rewrite(file, {"registry": {"gate": {"floor": []}}})
    lines = ndiff((ROOT / "params.yaml").read_text().splitlines(), file.read_text().splitlines())
    changed = [line.partition("#")[0].rstrip() for line in lines if line[0] in "-+"]
    assert changed == ["-     floor:", "+     floor: []", "-     - baseline", "-     - constant"]


def test_a_block_takes_the_place_of_a_word(tmp_path: Path) -> None:
    """As a wanted precision does of `f1`, and a word of the block again."""
    file, before = Path(shutil.copy(ROOT / "params.yaml", tmp_path)), (ROOT / "params.yaml").read_text()
    changes = rewrite(file, {"evaluate": {"thresholds": {"precision": 0.8}}})
    assert changes == [("evaluate.thresholds", "f1", {"precision": 0.8})]
    assert load(file).evaluate.thresholds == WantedPrecision(precision=0.8)
    changed = [line for line in ndiff(before.splitlines(), file.read_text().splitlines()) if line[0] in "-+"]
    assert [line.split("#")[0].split() for line in changed] == [
        ["-", "thresholds:", "f1"],
        ["+", "thresholds:", "{precision:", "0.8}"],
    ]
    rewrite(file, {"evaluate": {"thresholds": "f1"}})
    assert yaml.safe_load(file.read_text()) == yaml.safe_load(before)
