"""params.yaml is read strictly: every mistake is named by its key, with what to do."""

from pathlib import Path
from typing import Any

import pytest

from tagscale.errors import TagscaleError
from tagscale.params import laid_over, load, parse, read_yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture
def content() -> dict[str, Any]:
    return read_yaml(ROOT / "params.yaml")


def test_the_shipped_settings_are_valid() -> None:
    params = load(ROOT / "params.yaml")
    assert params.partition.train + params.partition.valid + params.partition.test == pytest.approx(1)


@pytest.mark.parametrize("preset", sorted((ROOT / "presets").glob("[!_]*[!s].yaml")), ids=lambda path: path.stem)
def test_every_shipped_preset_is_valid_and_states_only_differences(preset: Path, content: dict[str, Any]) -> None:
    load(ROOT / "params.yaml", preset)
    for block, values in read_yaml(preset).items():
        for key, value in values.items():
            assert content[block][key] != value, f"{preset.name}: {block}.{key} says what params.yaml says"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"train": {"btach": 16}}, r"train\.btach: unknown key; did you mean `batch`\?"),
        ({"trian": {}}, r"trian: unknown key; did you mean `train`\?"),
        ({"model": {"waveform": {"colour": 1}}}, r"model\.waveform\.colour: unknown key; known here: layers, width\."),
        ({"train": {"batch": "many"}}, r"train\.batch: .*valid integer.*'many'"),
        ({"train": {"loss": "hinge"}}, r"train\.loss: .*'cross_entropy' or 'mse'.*'hinge'"),
        ({"train": {"sizes": []}}, r"train\.sizes"),
        ({"partition": {"train": 0.5}}, r"partition: .*must add up to 1, not 0\.7"),
        ({"synth": {"label_noise": 2}}, r"synth\.label_noise: .*less than or equal to 0\.5"),
        ({"dataset": {"name": "my songs"}}, r"dataset\.name"),
    ],
)
def test_a_mistake_is_named_by_its_key(content: dict[str, Any], change: dict[str, Any], expected: str) -> None:
    with pytest.raises(TagscaleError, match=expected):
        parse(laid_over(content, change), origin="params.yaml")


def test_a_missing_key_is_named(content: dict[str, Any]) -> None:
    del content["train"]["patience"]
    with pytest.raises(TagscaleError, match=r"my\.yaml: 1 setting\(s\) to mend:\n  train\.patience: missing"):
        parse(content, origin="my.yaml")


def test_all_mistakes_are_named_at_once(content: dict[str, Any]) -> None:
    content["train"]["batch"] = 0
    content["evaluate"]["hop"] = 1
    with pytest.raises(TagscaleError, match=r"(?s)2 setting\(s\).*train\.batch.*evaluate\.hop"):
        parse(content)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match=r"nowhere\.yaml: no such file"):
        load(tmp_path / "nowhere.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("train: [1, 2")
    with pytest.raises(TagscaleError, match=r"broken\.yaml: not valid YAML"):
        load(broken)
    broken.write_text("- just\n- a list\n")
    with pytest.raises(TagscaleError, match=r"expected blocks of `key: value`, found list"):
        load(broken)


def test_reading_never_executes_what_the_file_says(tmp_path: Path) -> None:
    hostile = tmp_path / "params.yaml"
    hostile.write_text("train: !!python/object/apply:os.system ['touch executed']\n")
    with pytest.raises(TagscaleError, match="not valid YAML"):
        load(hostile)
    assert not (tmp_path / "executed").exists()
