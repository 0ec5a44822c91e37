"""Checkpoints: weights as safetensors, and a JSON that describes their model. Loading one executes no code.

Files of a checkpoint's folder: model.json (format, architecture, SHA-256 of the weights) and weights.safetensors.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic_core import from_json
from safetensors import SafetensorError
from safetensors.torch import load as load_weights
from safetensors.torch import save_file
from torch import Tensor, nn

from tagscale.models.build import Architecture, build
from tagscale.models.tagger import Tagger
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import sha256_of, write_json
from tagscale.runtime.identity import command_of
from tagscale.runtime.reading import Damaged, content_of

FORMAT = 1
DESCRIPTION, WEIGHTS = "model.json", "weights.safetensors"


def write(folder: Path, model: nn.Module, architecture: Architecture) -> None:
    """Write the two files into a folder, which is made if it is missing; equal weights give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: tensor.detach().cpu().contiguous() for key, tensor in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    description = {"format": FORMAT, "architecture": architecture.as_dict(), "sha256": sha256_of(folder / WEIGHTS)}
    write_json(folder / DESCRIPTION, description)


def load(folder: Path, command: str | None = None) -> tuple[Tagger, Architecture]:
    """The model, on the CPU and ready to predict, and its description.

    Args:
        command: what makes the folder again; by default the training of the run that it is named after

    Raises:
        Damaged: a file is missing, damaged or edited, or the weights do not fit the description. Names the file and,
            where there is one, the key.
    """
    folder = Path(folder)
    command = command or command_of("train", folder)
    description, file = folder / DESCRIPTION, folder / WEIGHTS
    with _explained(description, command):
        architecture, expected = _described(content_of(description, command))
        model = build(architecture)
    content = content_of(file, command)
    try:
        weights = load_weights(content)
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise Damaged(file, f"not a whole safetensors file: {error}", command) from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        what = (
            f"SHA-256 {digest[:12]}…, but `sha256` in {description} says {str(expected)[:12]}…: one of the two files "
            "belongs to another run, or was changed"
        )
        raise Damaged(file, what, command)
    if misfit := _misfit(weights, model.state_dict()):
        raise Damaged(file, misfit, command)
    model.load_state_dict(weights)
    return model.eval(), architecture


def describe(folder: Path, command: str | None = None) -> tuple[Architecture, str]:
    """The description of a checkpoint, without reading its weights, and their SHA-256. Raises Damaged as `load`."""
    description, command = Path(folder) / DESCRIPTION, command or command_of("train", folder)
    with _explained(description, command):
        return _described(content_of(description, command))


@contextmanager
def _explained(description: Path, command: str) -> Iterator[None]:
    """Turn what a wrong description raises inside the block into Damaged."""
    try:
        yield
    except Damaged:
        raise
    except KeyError as error:
        raise Damaged(description, f"key {error} is missing", command) from None
    except (ValueError, TypeError, AttributeError, RuntimeError, TagscaleError) as error:
        raise Damaged(description, f"no model can be built from it: {str(error).rstrip('.')}", command) from None


def _described(content: bytes) -> tuple[Architecture, str]:
    """The architecture, and the SHA-256 of its weights."""
    facts: Any = from_json(content)
    if facts["format"] != FORMAT:
        raise TagscaleError(f"format {facts['format']!r}, expected {FORMAT}")
    return Architecture.from_dict(facts["architecture"]), facts["sha256"]


def _misfit(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> str:
    """The first key that is missing, unknown or of another shape than the description asks for; "" where all fit."""
    for key in sorted(expected.keys() | weights.keys()):
        if key not in weights:
            return f"weight `{key}`, which {DESCRIPTION} asks for, is missing"
        if key not in expected:
            return f"weight `{key}` is not one of the model in {DESCRIPTION}"
        if weights[key].shape != expected[key].shape:
            shapes = tuple(weights[key].shape), tuple(expected[key].shape)
            return f"weight `{key}` has shape {shapes[0]}, but {DESCRIPTION} asks for {shapes[1]}"
        if weights[key].is_floating_point() and not torch.isfinite(weights[key]).all():
            return f"weight `{key}` holds values that are not numbers"
    return ""
