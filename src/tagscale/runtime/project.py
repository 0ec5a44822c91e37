"""Where the project is, also for a process in a temporary copy of it."""

import os
from pathlib import Path


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
