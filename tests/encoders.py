"""A stand-in for the weights of a published encoder: random ones, in a folder like that of the real ones."""

from pathlib import Path

import torch

from tagscale.models.build import build
from tagscale.models.pretrained import ENCODERS
from tagscale.models.pretrained.encoder import architecture_of_published
from tagscale.training import checkpoint


def write_encoder(folder: Path, name: str, seed: int = 0) -> Path:
    """Write FOLDER/NAME, whose features differ from sound to sound."""
    architecture = architecture_of_published(ENCODERS[name])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        checkpoint.write(folder / name, build(architecture), architecture)
    return folder / name
