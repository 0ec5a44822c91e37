"""Checkpoints: weights as safetensors, and a JSON that describes their model. Loading one executes no code.

Files of a checkpoint's folder: model.json (format, architecture, SHA-256 of the weights) and weights.safetensors.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tagscale.models.build import Architecture, build
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing, sha256_of, write_json

FORMAT = 1
DESCRIPTION, WEIGHTS = "model.json", "weights.safetensors"
AGAIN = "Train the run again, or fetch the whole folder again."


def save(folder: Path, model: nn.Module, architecture: Architecture) -> None:
    """Write the checkpoint as a folder of its own; an earlier one is replaced."""
    with replacing(folder) as fresh:
        fresh.mkdir()
        write(fresh, model, architecture)


def write(folder: Path, model: nn.Module, architecture: Architecture) -> None:
    """Write the checkpoint's two files into a folder; equal weights give equal bytes."""
    weights = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    description = {"format": FORMAT, "architecture": architecture.as_dict(), "sha256": sha256_of(folder / WEIGHTS)}
    write_json(folder / DESCRIPTION, description)


def load(folder: Path) -> tuple[nn.Module, Architecture]:
    """The model, on the CPU and ready to predict, and its description.

    Raises:
        TagscaleError: a file is missing, damaged or edited, or the weights do not fit the description. Names the
            file and, where there is one, the key.
    """
    folder = Path(folder)
    architecture, expected = _description(folder / DESCRIPTION)
    try:
        model = build(architecture)
    except (TypeError, ValueError, RuntimeError, TagscaleError) as error:
        raise TagscaleError(f"{folder / DESCRIPTION}: no model can be built from it: {error} {AGAIN}") from None
    weights = _weights(folder / WEIGHTS, expected)
    _check_fit(folder / WEIGHTS, weights, model.state_dict())
    model.load_state_dict(weights)
    return model.eval(), architecture


def _description(path: Path) -> tuple[Architecture, str]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = content["format"]
        if found != FORMAT:
            raise TagscaleError(f"format {found!r}, expected {FORMAT}.")
        return Architecture.from_dict(content["architecture"]), content["sha256"]
    except FileNotFoundError:
        raise TagscaleError(f"{path}: no such file, so {path.parent} holds no checkpoint. {AGAIN}") from None
    except KeyError as error:
        raise TagscaleError(f"{path}: key {error} is missing. {AGAIN}") from None
    except (ValueError, TypeError, TagscaleError) as error:
        raise TagscaleError(f"{path}: {error} {AGAIN}") from None


def _weights(path: Path, expected: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise TagscaleError(f"{path}: no such file. {AGAIN}")
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise TagscaleError(f"{path}: not a whole safetensors file: {error}. {AGAIN}") from None
    found = sha256_of(path)
    if found != expected:
        raise TagscaleError(
            f"{path}: SHA-256 {found[:12]}…, but `sha256` in {path.parent / DESCRIPTION} says {str(expected)[:12]}…: "
            f"one of the two files belongs to another run, or was changed. {AGAIN}"
        )
    return weights


def _check_fit(path: Path, found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Name the first key that is missing, unknown or of another shape than the description asks for."""
    for key in sorted(expected.keys() | found.keys()):
        if key not in found:
            raise TagscaleError(f"{path}: weight `{key}`, which {DESCRIPTION} asks for, is missing. {AGAIN}")
        if key not in expected:
            raise TagscaleError(f"{path}: weight `{key}` is not one of the model in {DESCRIPTION}. {AGAIN}")
        if found[key].shape != expected[key].shape:
            raise TagscaleError(
                f"{path}: weight `{key}` has shape {tuple(found[key].shape)}, but {DESCRIPTION} asks for "
                f"{tuple(expected[key].shape)}. {AGAIN}"
            )
        if found[key].is_floating_point() and not torch.isfinite(found[key]).all():
            raise TagscaleError(f"{path}: weight `{key}` holds values that are not numbers. {AGAIN}")
