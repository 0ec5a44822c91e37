"""Trainings that start from another network: its weights, rates of head and body, norms, and what does not fit."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from encoders import write_encoder
from sounds import TRAINING, VALIDATION, Sounds, architecture, make_sounds, settings
from tagscale.audio.logmel import LogMel
from tagscale.audio.patches import SpacedPatches
from tagscale.models.architecture import architecture_of
from tagscale.models.build import build
from tagscale.models.spec import NETWORKS
from tagscale.params.load import load
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, sha256_of, write_json
from tagscale.training import checkpoint
from tagscale.training.encoders import PLACE
from tagscale.training.fit import VALIDATION_PATCHES, Fitted, fit
from tagscale.training.recipe import optimizer_of
from tagscale.training.start import Start, _without_output, start_at_probe, start_from_checkpoint, start_from_encoder

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture(scope="module")
def sounds() -> Sounds:
    return make_sounds()


@pytest.fixture(scope="module")
def network(sounds: Sounds, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a network for two other tags, with statistics of its own."""
    folder = tmp_path_factory.mktemp("runs") / "spectrogram-all-0"
    described = replace(architecture(), tags=("a", "b"), kinds=("classification",) * 2, patch_seconds=2.0)
    torch.manual_seed(5)
    model = build(described).train()
    for layer in model.modules():
        if isinstance(layer, LogMel):
            layer.fit_normalisation([torch.rand(4, 32_000) - 0.5])
    for _ in range(3):
        model(torch.rand(4, 32_000) - 0.5)
    checkpoint.write(folder, model, described)
    return folder


def start_of(folder: Path) -> Start:
    return start_from_checkpoint(folder, architecture(), str(folder))


def fitted(sounds: Sounds, start: Start | None, **different: Any) -> Fitted:
    course = settings(max_steps=3, validate_every=3, **different)
    return fit(architecture(), sounds, sounds.part(TRAINING), sounds.part(VALIDATION), course, 0, start=start)


def norms_of(model: nn.Module) -> dict[str, Tensor]:
    norms = {name for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    return {key: value for key, value in model.state_dict().items() if key.rpartition(".")[0] in norms}


def test_a_training_begins_with_every_weight_but_the_outputs(sounds: Sounds, network: Path) -> None:
    """A rate of almost nothing shows where it began. Log-mel statistics are those of the start, too."""
    start = start_of(network)
    assert start.sha256 == sha256_of(network / checkpoint.WEIGHTS)
    model = fitted(sounds, start, learning_rate=1e-12).model
    theirs = checkpoint.load(network)[0].state_dict()
    outputs = {"backend.output.weight", "backend.output.bias"}
    assert set(start.weights) == set(theirs) - outputs
    for key, value in model.state_dict().items():
        if key not in outputs:
            torch.testing.assert_close(value, theirs[key], atol=1e-6, rtol=0, msg=key)
    assert model.output.out_features == 3
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("model", NETWORKS)
def test_only_last_layers_begin_anew(model: str) -> None:
    """Of a model of parts each part has one."""
    described = architecture_of(load(PARAMS), model, ["a", "b"], ["classification"] * 2)
    width = {"width": 0.25} if "width" in described.capacity else {}
    built: Any = build(replace(described, capacity=described.capacity | width))
    last = {id(part.output.weight) for part in [built, *getattr(built, "parts", [])]}
    names = {name for name, parameter in built.named_parameters() if id(parameter) in last}
    left_out = set(built.state_dict()) - set(_without_output(built.state_dict()))
    assert left_out == names | {name.removesuffix("weight") + "bias" for name in names}


def test_the_output_begins_as_a_probe(sounds: Sounds, network: Path) -> None:
    """Its mean logits are nearer to the labels than mean labels are."""
    model, _ = checkpoint.load(network)
    model.backend.output = nn.Linear(model.output.in_features, 3)  # type: ignore[union-attr]
    parts = [
        SpacedPatches(sounds, part.tracks, part.labels, 24_000, VALIDATION_PATCHES)
        for part in (sounds.part(TRAINING), sounds.part(VALIDATION))
    ]
    start_at_probe(model, *parts, architecture().kinds, "none")
    waves = torch.stack([torch.from_numpy(sounds.recordings[track]) for track in sounds.tracks[VALIDATION]])
    labels = torch.from_numpy(sounds.labels[VALIDATION])
    with torch.no_grad():
        scores = model(waves.float() / (32768 if waves.dtype == torch.int16 else 1)).sigmoid()
    errors = (scores - labels).square().mean(dim=0)
    assert (errors[:2] < 0.2).all(), "tones and clicks; of their mean it is 0.25"


def test_the_body_has_a_rate_of_its_own(sounds: Sounds, network: Path) -> None:
    """Adam's first step is as long as its rate."""
    start = start_of(network)
    course = settings(max_steps=1, validate_every=1, schedule="constant", ema=None, learning_rate=0.01, body_rate=0.02)
    model = fit(architecture(), sounds, sounds.part(TRAINING), sounds.part(VALIDATION), course, 0, start=start).model
    weights = model.state_dict()
    moved = max(float((weights[key] - value).abs().max()) for key, value in start.weights.items() if value.ndim)
    assert moved == pytest.approx(0.01 * 0.02, rel=0.02)


def test_groups_of_the_optimiser() -> None:
    model = build(architecture())
    groups = optimizer_of(model, settings(), body_rate=0.1).param_groups
    assert [(group["share"], group["weight_decay"]) for group in groups] == [(1, 1e-5), (1, 0), (0.1, 1e-5), (0.1, 0)]
    assert [id(parameter) for group in groups[:2] for parameter in group["params"]] == [
        id(parameter) for parameter in model.output.parameters()
    ]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert [group["share"] for group in optimizer_of(model, settings()).param_groups] == [1, 1], "no start, one rate"


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_norms_stay_and_others_learn(sounds: Sounds, network: Path, frozen: bool) -> None:
    start = start_of(network)
    model = fitted(sounds, start, freeze_norms=frozen, ema=None).model
    before, after = start.weights, norms_of(model)
    same = {key for key, value in after.items() if torch.equal(value, before[key])}
    assert same == (set(after) if frozen else set())
    kernel = next(key for key, value in model.named_parameters() if value.ndim > 2)
    assert not torch.equal(model.state_dict()[kernel], before[kernel]), "the body learns"


def test_without_a_start_norms_learn(sounds: Sounds) -> None:
    model = fitted(sounds, None, freeze_norms=True, ema=None).model
    untouched = build(architecture())
    assert not any(torch.equal(value, norms_of(untouched)[key]) for key, value in norms_of(model).items())


def test_of_a_model_of_parts_every_last_layer_begins_anew(sounds: Sounds) -> None:
    """Each part is trained from its own start, then the head from its own."""
    capacity = {"width": 0.125, "frames": [18, 27], "units": 8, "dropout": 0.2}
    described = replace(architecture(), model="multiscale", capacity=capacity)
    torch.manual_seed(7)
    start = Start(_without_output(build(described).state_dict()), "0" * 64)
    course = settings(max_steps=1, validate_every=1, learning_rate=1e-12)
    model = fit(described, sounds, sounds.part(TRAINING), sounds.part(VALIDATION), course, 0, start=start).model
    for key, value in model.state_dict().items():
        if key in start.weights:
            torch.testing.assert_close(value, start.weights[key], atol=1e-6, rtol=0, msg=key)
    assert len(model.state_dict()) == len(start.weights) + 3 * 2, "of two parts and the head"


# --- what does not fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "waveform"}, "model 'spectrogram', expected 'waveform'"),
        ({"capacity": {"width": 0.125, "filters": 16}}, r"capacity\.filters 8, expected 16; capacity\.width 0\.0625"),
        ({"capacity": {"pooling": "attention"}}, r"capacity\.pooling 'max_mean', expected 'attention'"),
    ],
)
def test_another_architecture_is_named_key_by_key(network: Path, changes: dict[str, Any], message: str) -> None:
    wanted = architecture()
    capacity = wanted.capacity | changes.pop("capacity", {})
    if changes:
        capacity = architecture("waveform").capacity
    with pytest.raises(TagscaleError, match=rf"train\.start_from: champion: {message}.* same model and capacity"):
        start_from_checkpoint(network, replace(wanted, capacity=capacity, **changes), "champion")


def test_another_dropout_fits(network: Path) -> None:
    wanted = replace(architecture(), capacity=architecture().capacity | {"dropout": 0.5})
    assert start_from_checkpoint(network, wanted, "champion").weights


def test_another_sample_rate(network: Path, tmp_path: Path) -> None:
    content = read_json(network / checkpoint.DESCRIPTION)
    content["architecture"]["sample_rate"] = 22_050
    write_json(tmp_path / checkpoint.DESCRIPTION, content)
    with pytest.raises(TagscaleError, match=r"train\.start_from: runs/x: sample_rate 22050, expected 16000"):
        start_from_checkpoint(tmp_path, architecture(), "runs/x")


def damaged() -> Iterator[tuple[str, Any, str]]:
    yield "description", lambda folder: (folder / checkpoint.DESCRIPTION).write_text("{"), r"model\.json"
    yield "weights", lambda folder: (folder / checkpoint.WEIGHTS).write_bytes(b"no"), r"weights\.safetensors"
    yield "no weights", lambda folder: (folder / checkpoint.WEIGHTS).unlink(), r"weights\.safetensors"


@pytest.mark.parametrize(("case", "damage", "message"), damaged())
def test_a_damaged_start(network: Path, tmp_path: Path, case: str, damage: Any, message: str) -> None:
    folder = tmp_path / "spectrogram-all-0"
    model, described = checkpoint.load(network)
    checkpoint.write(folder, model, described)
    damage(folder)
    with pytest.raises(TagscaleError, match=f"{message}.*tagscale train --model spectrogram --size all --seed 0"):
        start_of(folder)


def test_what_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "trees").mkdir()
    (tmp_path / "folds" / "fold-1").mkdir(parents=True)
    for name, message in {
        "nowhere": "no such folder; expected the folder of a trained network",
        "trees": r"it has no model\.json, so it is no network",
        "folds": r"a run of 1 models, one a fold; name the folder of one of them \(.*folds/fold-1\)",
        "msd_musicnn": "a published encoder is what the model `finetune` starts from",
        "msd-vgg": "a published encoder is what the model `finetune` starts from",
    }.items():
        with pytest.raises(TagscaleError, match=rf"train\.start_from: {name}: {message}"):
            start_from_checkpoint(tmp_path / name, architecture(), name)


# --- published encoders -----------------------------------------------------------------------------------------


def test_an_imported_encoder_is_no_start_of_another_model(tmp_path: Path) -> None:
    write_encoder(tmp_path, "msd_vgg")
    with pytest.raises(TagscaleError, match="models:/msd-vgg/1: a published encoder is what the model `finetune`"):
        start_from_checkpoint(tmp_path / "msd_vgg", architecture(), "models:/msd-vgg/1")


def test_the_start_of_finetune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network, with the weights of the encoder, hears what the encoder hears."""
    write_encoder(tmp_path, "msd_vgg")
    monkeypatch.setenv(PLACE, str(tmp_path))
    wanted = replace(architecture(), model="finetune", capacity={"encoder": "msd_vgg"}, patch_seconds=3.0)
    start = start_from_encoder("msd_vgg")
    assert start.sha256 == sha256_of(tmp_path / "msd_vgg" / checkpoint.WEIGHTS)
    model = build(wanted)
    missing, unexpected = model.load_state_dict(start.weights, strict=False)
    assert (set(missing), unexpected) == ({"output.weight", "output.bias"}, [])
    wave = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (1, 48_000))).float()
    with torch.no_grad():
        ours, theirs = (one.eval().encode(wave) for one in (model, checkpoint.load(tmp_path / "msd_vgg")[0]))
    torch.testing.assert_close(ours, theirs)
    assert {parameter.requires_grad for parameter in model.parameters()} == {True}
