"""A stage's output, edited as another version of the stage would have written it."""

from pathlib import Path
from typing import Any

from tagscale.runtime.files import SEAL, read_json, seal


def reseal(folder: Path, name: str, **changes: Any) -> None:
    """Write the folder's JSON file anew, with other facts and with the digests of the files as they are now."""
    facts = read_json(folder / name)
    files = facts.pop("files")
    facts.pop(SEAL)
    seal(folder, name, facts | changes, files)
