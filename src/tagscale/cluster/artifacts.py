"""What the tasks of a Kubeflow pipeline take from several loops."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol


class Artifact(Protocol):
    """An artifact of kfp, as a task takes it."""

    path: str


def paths_of(*loops: Iterable[Artifact] | None) -> list[Path]:
    """The files or folders of the artifacts of all loops; None stands for a loop that the pipeline does not have."""
    return [Path(artifact.path) for artifacts in loops for artifact in artifacts or ()]
