"""Checkpoints come back as they were; damaged and edited ones are refused with the file and the key."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sounds import architecture
from tagscale.models.build import build
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import sha256_of
from tagscale.training import checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    checkpoint.write(tmp_path / "run", build(architecture("waveform")), architecture("waveform"))
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["waveform", "spectrogram"])
def test_a_model_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    model = build(architecture(name))
    for tensor in model.state_dict().values():  # running statistics among them
        if tensor.is_floating_point():
            tensor.add_(0.25)
    checkpoint.write(tmp_path / "run", model, architecture(name))
    loaded, description = checkpoint.load(tmp_path / "run")
    assert description == architecture(name)
    assert not loaded.training
    wave = torch.randn(2, description.patch_samples)
    with torch.inference_mode():
        assert torch.equal(model.eval()(wave), loaded(wave))


def test_the_same_weights_give_the_same_files(folder: Path, tmp_path: Path) -> None:
    model, description = checkpoint.load(folder)
    checkpoint.write(tmp_path / "again", model, description)
    for file in ("model.json", "weights.safetensors"):
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()


def change_json(folder: Path, change: Callable[[dict], object]) -> None:
    content = json.loads((folder / "model.json").read_text())
    change(content)
    (folder / "model.json").write_text(json.dumps(content))


def change_weights(folder: Path, change: Callable[[dict], object]) -> None:
    """Another safetensors file with a fitting digest: what an edited pair of files looks like."""
    weights = load_file(folder / "weights.safetensors")
    change(weights)
    save_file(weights, folder / "weights.safetensors")
    change_json(folder, lambda content: content.update(sha256=sha256_of(folder / "weights.safetensors")))


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(content)


KEY = "backend.output.weight"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no description": (lambda f: (f / "model.json").unlink(), r"model\.json: no such file"),
    "no weights": (lambda f: (f / "weights.safetensors").unlink(), r"weights\.safetensors: no such file"),
    "not JSON": (lambda f: (f / "model.json").write_text("{"), r"model\.json: "),
    "JSON of something else": (lambda f: (f / "model.json").write_text("[1]"), r"model\.json: "),
    "another format": (lambda f: change_json(f, lambda c: c.update(format=9)), "format 9, expected 1"),
    "no architecture": (lambda f: change_json(f, lambda c: c.pop("architecture")), "key 'architecture' is missing"),
    "an unknown key": (lambda f: change_json(f, lambda c: c["architecture"].update(code="x")), "unknown keys.*code"),
    "an unknown model": (
        lambda f: change_json(f, lambda c: c["architecture"].update(model="os")),
        "Unknown model 'os'",
    ),
    "another capacity": (
        lambda f: change_json(f, lambda c: c["architecture"]["capacity"].update(filters=9)),
        r"weight `backend\.conv1\.bias` has shape \(8,\), but model.json asks for \(9,\)",
    ),
    "a truncated file": (
        lambda f: (f / "weights.safetensors").write_bytes((f / "weights.safetensors").read_bytes()[:500]),
        "not a whole safetensors file",
    ),
    "a flipped bit": (flip_a_bit, "SHA-256"),
    "a weight too few": (lambda f: change_weights(f, lambda w: w.pop(KEY)), f"`{KEY}`.* is missing"),
    "a weight too many": (
        lambda f: change_weights(f, lambda w: w.update(extra=torch.ones(1))),
        "`extra` is not one of",
    ),
    "not a number": (lambda f: change_weights(f, lambda w: w[KEY].fill_(float("nan"))), f"`{KEY}` holds values"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_refused(folder: Path, damage: str) -> None:
    harm, message = DAMAGE[damage]
    harm(folder)
    with pytest.raises(TagscaleError, match=message) as error:
        checkpoint.load(folder)
    assert str(folder) in str(error.value)
