"""The train stage in several processes of this machine: each runs this module with the same arguments."""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from tagscale.errors import TagscaleError
from tagscale.files import write_json
from tagscale.params import Params, parse
from tagscale.stages import train
from tagscale.training.distributed import end_with_parent, launch


def run_in(processes: int, params: Params, cell: Mapping[str, Any], paths: Mapping[str, Path | str | None]) -> None:
    """Let several processes train together, and wait for them.

    Args:
        cell: model, size and seed
        paths: what else `train.run` takes
    Raises:
        TagscaleError: one of them failed, and so all were ended.
    """
    content = {"params": params.model_dump(mode="json")} | dict(cell)
    content |= {name: None if path is None else str(path) for name, path in paths.items()}
    with tempfile.TemporaryDirectory() as folder:
        arguments = Path(folder) / "arguments.json"
        write_json(arguments, content)
        launch(processes, "-m", "tagscale.stages.several", str(arguments))


def _one_of_several(arguments: Path) -> None:
    """What each process does."""
    end_with_parent()
    content: dict[str, Any] = json.loads(arguments.read_text(encoding="utf-8"))
    settings = parse(content.pop("params"))
    for name in ("catalog", "partition", "run"):
        content[name] = Path(content[name])
    if content["unfinished"] is not None:
        content["unfinished"] = Path(content["unfinished"])
    train.run(settings, **content)


if __name__ == "__main__":
    try:
        _one_of_several(Path(sys.argv[1]))
    except TagscaleError as problem:
        Console(stderr=True).print(f"error {problem}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
