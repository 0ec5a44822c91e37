"""What a training starts from in place of random weights: a trained network of the same model and capacity.

All weights are taken but those of the output, which are fitted first, as a linear probe of the network: from a random
output, the first steps would spoil what the other layers have learned.
Source: Kumar et al. 2022, "Fine-tuning can distort pretrained features and underperform out-of-distribution".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tagscale.audio.patches import SpacedPatches, to_wave
from tagscale.models.build import Architecture, checked
from tagscale.models.pretrained import ENCODERS
from tagscale.models.spec import ENCODER_NETWORKS
from tagscale.models.tagger import Tagger
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import sha256_of
from tagscale.training import checkpoint
from tagscale.training.encoders import load_encoder, pretrained_folder
from tagscale.training.head import fit_head

KEY = "train.start_from"
EXPECTED = (
    "expected the folder of a trained network (runs/spectrogram-all-0), or a version in the registry "
    "(models:/NAME@ALIAS or models:/NAME/VERSION)"
)
AN_ENCODER = "a published encoder is what the model `finetune` starts from (its block in params.yaml names one)"
WITHOUT_WEIGHTS = {"dropout"}  # keys of a capacity that may differ
BATCH = 32  # patches at once


@dataclass(frozen=True)
class Start:
    """The weights that a training starts from, without those of the output.

    weights: by their keys in the network's state dict
    sha256: of the file that they are from
    """

    weights: dict[str, Tensor]
    sha256: str


def start_from_encoder(name: str) -> Start:
    """The start of the model `finetune`: a published encoder. Raises TagscaleError as `load_encoder`."""
    weights = load_encoder(name).tagger.state_dict()
    file = pretrained_folder() / name / checkpoint.WEIGHTS
    return Start(_without_output({f"encoder.{key}": value for key, value in weights.items()}), sha256_of(file))


def start_from_checkpoint(folder: Path, wanted: Architecture, name: str, command: str | None = None) -> Start:
    """The start that a checkpoint gives.

    Args:
        folder: of the checkpoint
        wanted: description of the network that starts; tags and patch length may differ
        name: what `train.start_from` says
        command: what makes the folder again; by default the training of the run that it is named after
    Raises:
        TagscaleError: no network there, one of another model, capacity or sample rate, or a damaged file.
    """
    _check_network(folder, name)
    trained, sha256 = checkpoint.describe(folder, command)
    if trained.model in ENCODER_NETWORKS:
        raise TagscaleError(f"{KEY}: {name}: {AN_ENCODER}; {EXPECTED}.")
    differences = [
        f"{key} {value!r}, expected {expected!r}"
        for key, (value, expected) in _compared(trained, wanted).items()
        if value != expected
    ]
    if differences:
        raise TagscaleError(
            f"{KEY}: {name}: {'; '.join(differences)}. A training starts only from a network of the same model and "
            f"capacity: take another start, or let the block of `model` in params.yaml say what this one has."
        )
    return Start(_without_output(checkpoint.load(folder, command)[0].state_dict()), sha256)


def start_at_probe(
    network: Tagger,
    training: SpacedPatches,
    validation: SpacedPatches,
    kinds: Sequence[str],
    class_weights: Literal["none", "balanced"],
) -> None:
    """Give the output of a network the weights of a linear probe of its present embeddings.

    Args:
        training, validation: the probe learns from the former, and the latter chooses how much it is regularised
        kinds: classification | regression, per tag
    """
    known, valid = (_mean_features(network, patches) for patches in (training, validation))
    head = fit_head(known, training.targets, valid, validation.targets, list(kinds), class_weights)
    with torch.no_grad():
        network.output.weight.copy_(head.weight)
        network.output.bias.copy_(head.bias)


@torch.no_grad()
def _mean_features(network: Tagger, patches: SpacedPatches) -> np.ndarray:
    """(tracks, features) float32: what the output sees of each track, the mean over its patches."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device).eval()
    rows = []
    for first in range(0, len(patches), BATCH):
        waves, _ = patches.__getitems__(list(range(first, min(first + BATCH, len(patches)))))
        rows.append(network.encode(to_wave(waves.to(device))).float().cpu())
    return torch.cat(rows).unflatten(0, (-1, patches.per_track)).mean(dim=1).numpy()


def _check_network(folder: Path, name: str) -> None:
    """Raise TagscaleError where a folder holds no network."""
    if (folder / checkpoint.DESCRIPTION).exists():
        return
    if name.replace("-", "_") in ENCODERS:
        what = f"{AN_ENCODER}; {EXPECTED}"
    elif not folder.exists():
        what = f"no such folder; {EXPECTED}"
    elif folds := sorted(folder.glob("fold-*")):
        what = f"a run of {len(folds)} models, one a fold; name the folder of one of them ({folder / folds[0].name})"
    else:
        what = f"it has no {checkpoint.DESCRIPTION}, so it is no network (but trees, or the mean of models); {EXPECTED}"
    raise TagscaleError(f"{KEY}: {name}: {what}.")


def _compared(trained: Architecture, wanted: Architecture) -> dict[str, tuple[object, object]]:
    """What decides whether weights of one network fit another: key -> value of each."""
    facts: dict[str, tuple[object, object]] = {
        "sample_rate": (trained.sample_rate, wanted.sample_rate),
        "model": (trained.model, wanted.model),
    }
    if trained.model != wanted.model:
        return facts
    ours, theirs = checked(wanted.model, wanted.capacity), checked(trained.model, trained.capacity)
    return facts | {f"capacity.{key}": (theirs[key], ours[key]) for key in ours if key not in WITHOUT_WEIGHTS}


def _without_output(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without last layers, which all models call `output`; of a model of parts each part has one."""
    return {key: value for key, value in weights.items() if "output" not in key.split(".")}
