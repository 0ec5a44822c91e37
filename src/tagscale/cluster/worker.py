"""What a TrainJob's processes train: a request that the task writes to the volume, and that each process reads."""

import json
from pathlib import Path
from typing import Any

from tagscale.runtime.errors import TagscaleError

PATHS = ("catalog", "partition", "run", "unfinished")  # of a request; `inputs` may be an address, too


def main(file: str | Path) -> None:
    """Train this process's share of what a request asks for; exit with 1 and a message when that is impossible."""
    from tagscale.training.distributed import run_worker

    run_worker(_train, Path(file))


def _train(file: Path) -> None:
    from tagscale.training.distributed import World

    if not file.is_file():
        raise TagscaleError(
            f"{file}: no such file, but it should say what this process trains. Is the volume mounted here where the "
            "process that wrote it has it (kubernetes.volume and mount in params.yaml)?"
        )
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    expected, size = content.pop("processes"), World.current().size
    if size != expected:  # each would train all by itself, and write where the others write
        raise TagscaleError(
            f"This process should be one of {expected}, but knows of {size} (WORLD_SIZE). Start it by torchrun, with "
            "so many processes in all."
        )
    from tagscale.stages.train import train_share  # here: what cannot train says so before these seconds

    params = content.pop("params")
    train_share(params, content | {name: Path(content[name]) for name in PATHS})


if __name__ == "__main__":
    import sys

    main(sys.argv[1])
