"""Where the project is, also for a process in a temporary copy of it, and where the files are that it begins with."""

import os
from pathlib import Path

import tagscale
from tagscale.runtime.errors import TagscaleError


def project_folder() -> Path:
    """The current folder; in a copy of the project that DVC made for an experiment, the project itself.

    `dvc exp run --temp` and the queue copy the project to .dvc/tmp/exps, run the stages there, take their outputs from
    there and delete the copy. What is no output of a stage and must outlive it belongs into the project. DVC names the
    project in DVC_ROOT (dvc/repo/experiments/queue/base.py).
    """
    here, root = Path.cwd(), os.environ.get("DVC_ROOT")
    if root and here.is_relative_to(Path(root).resolve() / ".dvc" / "tmp"):
        return Path(root)
    return here


def data_home() -> Path:
    """The folder of this user's data of tagscale, for what belongs to no project (XDG Base Directory Specification)."""
    place = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (place if place.is_absolute() else Path.home() / ".local" / "share") / "tagscale"


def shipped() -> Path:
    """Folder of what belongs to tagscale beside its package: params.yaml, dvc.yaml, presets, components, pipelines.

    It is inside the package where a wheel was installed (setup.py puts it there), and else the repository. In the
    container image, whose package comes from src alone, it is the current folder.
    """
    package = Path(tagscale.__file__).resolve().parent
    places = [package / "project", package.parents[1], Path.cwd()]
    if place := next((place for place in places if (place / "pipelines" / "__main__.py").is_file()), None):
        return place
    raise TagscaleError(
        f"{places[0]}: no such folder. This tagscale was installed without the files of a study: install a wheel, or "
        "the repository, and not a copy of src."
    )
