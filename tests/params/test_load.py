"""params.yaml is read strictly: every mistake is named by its key, with what to do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tagscale.models.architecture import architecture_of
from tagscale.models.build import build, parameter_count
from tagscale.models.spec import NETWORKS
from tagscale.params.load import laid_over, load, parse, read_yaml
from tagscale.runtime.errors import TagscaleError

ROOT = Path(__file__).parents[2]


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
            assert content[block].get(key) != value, f"{preset.name}: {block}.{key} says what params.yaml says"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"train": {"btach": 16}}, r"train\.btach: unknown key; did you mean `batch`\?"),
        ({"trian": {}}, r"trian: unknown key; did you mean `train`\?"),
        ({"model": {"waveform": {"colour": 1}}}, r"model\.waveform\.colour: unknown key; known here: layers, width\."),
        ({"model": {"wavefrom": {"layers": 7}}}, r"model\.wavefrom: unknown key; did you mean `waveform`\?"),
        ({"model": {"waveform-x4": {"layers": 7, "wdth": 4}}}, r"model\.waveform-x4\.wdth: unknown key; .*`width`"),
        ({"model": {"waveform-x4": {"layers": 7}}}, r"model\.waveform-x4\.width: missing"),
        ({"train": {"models": ["wave"]}}, r"train\.models: no block model\.wave says what 'wave' is; .*waveform"),
        ({"train": {"batch": "many"}}, r"train\.batch: .*valid integer.*'many'"),
        ({"train": {"loss": "hinge"}}, r"train\.loss: .*'cross_entropy' or 'mse'.*'hinge'"),
        ({"train": {"sizes": []}}, r"train\.sizes"),
        ({"train": {"sizes": [50, 0]}}, r"train\.sizes\.1: expected a number of tracks from 1 up, or `all`, found 0\."),
        ({"train": {"sizes": ["al"]}}, r"train\.sizes\.0: expected a number .*, found 'al'\."),
        ({"train": {"sizes": [True]}}, r"train\.sizes: true or false, where a number or a text is expected"),
        ({"train": {"sizes": [5, "all", "5"]}}, r"train\.sizes: 5 more than once; name each once"),
        ({"train": {"seeds": [0, 1, 0]}}, r"train\.seeds: 0 more than once"),
        ({"evaluate": {"thresholds": "F1"}}, r"evaluate\.thresholds: expected f1, or {precision: P} .*, found 'F1'\."),
        (
            {"evaluate": {"thresholds": {"recall": 0.5}}},
            r"evaluate\.thresholds: expected f1, .*, found {'recall': 0\.5}",
        ),
        ({"train": {"seeds": [-1]}}, r"train\.seeds\.0: .*greater than or equal to 0, found -1"),
        ({"train": {"seeds": [1 << 32]}}, r"train\.seeds\.0: .*less than 4294967296"),
        ({"train": {"models": [], "baselines": []}}, r"train: no model to train; name one at least in models, probes"),
        ({"train": {"models": ["waveform", "waveform"]}}, r"train\.models: 'waveform' more than once"),
        ({"train": {"baselines": ["descriptors", "descriptors"]}}, r"train\.baselines: 'descriptors' more than once"),
        ({"train": {"members": ["spectrogram"]}}, r"train\.members: .*at least 2 items.*, found \['spectrogram'\]"),
        ({"train": {"members": ["spectrogram"] * 2}}, r"train\.members: 'spectrogram' more than once"),
        (
            {"train": {"members": ["spectrogram", "vgg"]}},
            r"train: members: 'vgg' is not in the study, which trains wave",
        ),
        ({"train": {"batch": True}}, r"train\.batch: true or false, where a number or a text is expected, found True"),
        ({"train": {"learning_rate": float("nan")}}, r"train\.learning_rate: .*finite number, found nan"),
        ({"evaluate": {"hop_seconds": float("inf")}}, r"evaluate\.hop_seconds: .*finite number, found inf"),
        ({"model": {"vgg": {"filters": [True, 1, 1, 1]}}}, r"model\.vgg\.filters: true or false"),
        ({"model": {"waveform-x2": {"layers": 7, "width": False}}}, r"model\.waveform-x2\.width: true or false"),
        ({"kubernetes": {"tasks": {"train": {"cpu": True}}}}, r"kubernetes\.tasks\.train\.cpu: true or false"),
        ({"tracking": {"experiment": "two\nlines"}}, r"tracking\.experiment: expected text of one line"),
        (
            {"tracking": {"experiment": "x" * 300}},
            r"tracking\.experiment: .*256 characters, found .* \(302 characters\)",
        ),
        ({"registry": {"name": "team/tagger"}}, r"registry\.name: expected letters, digits, .*, found 'team/tagger'"),
        ({"dataset": {"root": ""}}, r"dataset\.root"),
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


def test_a_key_that_stands_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    doubled = text.replace("\n  batch: 32 ", "\n  batch: 32\n  batch: 16 ")
    (tmp_path / "params.yaml").write_text(doubled)
    line = text[: text.index("  batch: 32 ")].count("\n") + 1
    expected = rf"params\.yaml, line {line + 1}: `train\.batch` stands here again; line {line} has it already"
    with pytest.raises(TagscaleError, match=expected):
        load(tmp_path / "params.yaml")
    with pytest.raises(TagscaleError, match=expected):
        load(ROOT / "params.yaml", tmp_path / "params.yaml")


def test_reading_never_executes_what_the_file_says(tmp_path: Path) -> None:
    hostile = tmp_path / "params.yaml"
    hostile.write_text("train: !!python/object/apply:os.system ['touch executed']\n")
    with pytest.raises(TagscaleError, match="not valid YAML"):
        load(hostile)
    assert not (tmp_path / "executed").exists()


def test_every_key_of_every_capacity_is_stated(content: dict[str, Any]) -> None:
    """A key may be missing from an old checkpoint, never from params.yaml."""
    for name, entry in NETWORKS.items():
        for key in entry.capacity.model_fields:
            block = name if key in content["model"][name] else "backend"
            value = content["model"][block].pop(key)
            with pytest.raises(TagscaleError, match=rf"1 setting\(s\) to mend:\n  model\.{block}\.{key}: missing"):
                parse(content)
            content["model"][block][key] = value


def test_every_model_is_built_from_its_block(content: dict[str, Any]) -> None:
    params = parse(content)
    for name, entry in NETWORKS.items():
        architecture = architecture_of(params, name, ["jazz"], ["classification"])
        assert set(architecture.capacity) == set(entry.capacity.model_fields), name
        width = {"width": 0.25} if "width" in architecture.capacity else {}
        narrow = replace(architecture, capacity=architecture.capacity | width)
        assert build(narrow).output.out_features == 1, name


def test_a_named_capacity_is_a_model_of_its_own(content: dict[str, Any]) -> None:
    changed = laid_over(content, {"model": {"waveform-x4": {"layers": 7, "width": 4, "units": 100}}})
    params = parse(laid_over(changed, {"train": {"models": ["waveform", "waveform-x4"]}}))
    described = [architecture_of(params, name, ["jazz"], ["classification"]) for name in params.train.models]
    assert [architecture.model for architecture in described] == ["waveform", "waveform"]
    backend = {"filters": 64, "dropout": 0.2, "pooling": "max_mean", "layers": 7}
    assert described[0].capacity == backend | {"width": 0.25, "units": 200}
    assert described[1].capacity == backend | {"width": 4, "units": 100}


def test_a_model_hears_patches_of_its_own_length(content: dict[str, Any]) -> None:
    def seconds(name: str, **block: Any) -> float:
        params = parse(laid_over(content, {"model": {name: block}}))
        return architecture_of(params, name, ["jazz"], ["classification"]).patch_seconds

    assert seconds("samplecnn") == 59_049 / 16_000
    assert seconds("samplecnn", patch_seconds=5) == 5
    assert seconds("transformer") == content["train"]["patch_seconds"]
    assert seconds("dieleman") == 10
    assert seconds("dieleman", frames=9) == 3


def test_the_published_vgg_trains_from_its_preset() -> None:
    preset = read_yaml(ROOT / "presets" / "table-3.yaml")
    content = laid_over(read_yaml(ROOT / "params.yaml"), preset)
    full = architecture_of(parse(content), "vgg-published", ["tag"] * 50, ["classification"] * 50)
    assert parameter_count(build(full)) == 17_359_282
    assert full.patch_seconds == 20.48

    narrow = parse(laid_over(content, {"model": {"vgg-published": {"width": 1 / 16, "dropout": 0.0}}}))
    torch.manual_seed(0)
    model = build(architecture_of(narrow, "vgg-published", ["loud", "quiet"], ["classification"] * 2))
    labels = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(2, 1)
    waves = torch.randn(4, full.patch_samples) * (0.001 + 0.3 * labels[:, :1])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(20):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(waves), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert sum(losses[-5:]) / 5 < 0.5 * losses[0], losses


@pytest.mark.parametrize("preset", ["basic", "table-1", "table-2", "table-3", "table-4"])
def test_the_papers_presets_have_the_papers_recipe(preset: str) -> None:
    """Section 4, "Parameters": Adam at 0.001 on batches of 32; nothing beside it but the later code's halving."""
    train = load(ROOT / "params.yaml", ROOT / "presets" / f"{preset}.yaml").train
    assert (train.optimizer, train.learning_rate, train.schedule, train.batch) == ("adam", 0.001, "halving", 32)
    assert (train.max_steps, train.patience, train.validate_every) == ("600 epochs", "150 epochs", "1 epoch")
    assert (train.min_steps, train.ema, train.keep) == (0, None, "best")
    assert (train.label_smoothing, train.clip_norm, train.accumulate) == (0, None, 1)
    assert not any(train.augment.model_dump().values())


@pytest.mark.parametrize("value", ["600", "epochs", "1.5 epochs", -3, 2.5, 0, "0 epochs", True])
def test_a_budget_is_steps_or_epochs(value: object) -> None:
    content = read_yaml(ROOT / "params.yaml")
    content["train"]["max_steps"] = value
    with pytest.raises(TagscaleError, match=r"train\.max_steps: .*(`600 epochs`|at least 1|true or false)"):
        parse(content)
