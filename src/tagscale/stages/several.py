"""The train stage in several processes: each reads the same request and trains its share.

They are processes of this machine, which `run_in` starts, or of several, which a cluster starts
(`tagscale.cluster.trainjob`).
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from tagscale.params.load import Params, parse
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import write_json
from tagscale.stages import train

PATHS = ("catalog", "partition", "run", "unfinished")  # of a request; `inputs` may be an address, too


def run_in(processes: int, params: Params, cell: Mapping[str, Any], paths: Mapping[str, Path | str | None]) -> None:
    """Let several processes train together, and wait for them.

    Args:
        cell: model, size and seed
        paths: what else `train.run` takes
    Raises:
        TagscaleError: one of them failed, and so all were ended.
    """
    from tagscale.training.distributed import launch

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "request.json"
        write_json(file, request(processes, params, cell, paths))
        launch(processes, "-m", "tagscale.stages.several", str(file))


def request(
    processes: int, params: Params, cell: Mapping[str, Any], paths: Mapping[str, Path | str | None]
) -> dict[str, Any]:
    """What the processes are told, as JSON can hold it."""
    told = {"processes": processes, "params": params.model_dump(mode="json")} | dict(cell)
    return told | {name: None if path is None else str(path) for name, path in paths.items()}


def main(file: str | Path) -> None:
    """What each process does: train its share of what a request asks for. Ends the process with 1 when it cannot."""
    try:
        _train_share(Path(file))
    except TagscaleError as problem:
        Console(stderr=True).print(f"error {problem}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


def _train_share(file: Path) -> None:
    from tagscale.training.distributed import World, end_with_parent

    end_with_parent()
    if not file.is_file():
        raise TagscaleError(
            f"{file}: no such file, but this process is told there what to train. Is the volume mounted here where the "
            "process that wrote it has it (kubernetes.volume and mount in params.yaml)?"
        )
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    wanted, there = content.pop("processes"), World.current().size
    if there != wanted:  # each would train all by itself, and write where the others write
        raise TagscaleError(
            f"This process should be one of {wanted}, but knows of {there} (WORLD_SIZE). Start it by torchrun, with so "
            "many processes in all."
        )
    settings = parse(content.pop("params"), origin=str(file))
    given = {name: None if content[name] is None else Path(content[name]) for name in PATHS}
    train.run(settings, **(content | given))


if __name__ == "__main__":
    main(sys.argv[1])
