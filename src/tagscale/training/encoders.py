"""The weights of published encoders on this machine: where they lie, and loading one.

`models.pretrained` describes the encoders. The folder PRETRAINED/NAME is a checkpoint like that of a run, with
source.json and LICENCE beside it.
"""

import os
from pathlib import Path

from tagscale.models.pretrained import ENCODERS, Published
from tagscale.models.pretrained.encoder import Encoder, architecture_of_published
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.project import data_home, project_folder
from tagscale.runtime.reading import Damaged
from tagscale.runtime.words import suggestion
from tagscale.training import checkpoint

COMMAND = "tagscale fetch-encoders"
PLACE = "TAGSCALE_PRETRAINED"  # environment variable: the folder of all encoders


def pretrained_folder() -> Path:
    """Folder of the encoders: where the environment says; else `pretrained` in a project that has it, or the user's."""
    if place := os.environ.get(PLACE):
        return Path(place)
    own = project_folder() / "pretrained"
    return own if own.is_dir() else data_home() / "pretrained"


def published(name: str) -> Published:
    """The facts of an encoder. Raises TagscaleError where there is none of this name."""
    if name not in ENCODERS:
        raise TagscaleError(f"`{name}` is no published encoder; {suggestion(name, ENCODERS)}")
    return ENCODERS[name]


def is_here(name: str) -> bool:
    """Whether the weights of an encoder are on this machine, damaged or not."""
    return (pretrained_folder() / published(name).name / checkpoint.DESCRIPTION).exists()


def absence_of(name: str, command: str = "dvc repro") -> str | None:
    """Why a model that needs the weights of an encoder is left out of a study; None where they are here.

    Args:
        command: what trains it once they are
    """
    if is_here(name):
        return None
    folder = pretrained_folder().name
    return f"the weights of its encoder {name} are not in {folder}/; `{COMMAND}` gets them, then `{command}` trains it."


def load_encoder(name: str, folder: Path | None = None) -> Encoder:
    """A published encoder, on the CPU and frozen.

    Args:
        name: a key of `models.pretrained.ENCODERS`
        folder: of all encoders; `pretrained_folder()` when not given
    Raises:
        TagscaleError: unknown name; or its weights are missing or damaged, and the message says how to get them.
    """
    expected, folder = architecture_of_published(published(name)), (folder or pretrained_folder()) / name
    tagger, architecture = checkpoint.load(folder, COMMAND)
    if architecture != expected:
        raise Damaged(folder / checkpoint.DESCRIPTION, f"describes another model than {name}", COMMAND)
    return Encoder(tagger, architecture)
