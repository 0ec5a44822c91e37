"""The fuzz harness: see __main__.py. PARTS makes the kinds of cases of each part in a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def _audio(folder: Path) -> list[Any]:
    from fuzz.audio import kinds

    return kinds(folder)


def _tables(folder: Path) -> list[Any]:
    from fuzz.tables import kinds

    return kinds(folder)


def _own(folder: Path) -> list[Any]:
    from fuzz import own, project

    return own.kinds(project.made(folder.parent / "project"), folder)


def _kills(folder: Path) -> list[Any]:
    from fuzz import kills, project

    return kills.kinds(project.made(folder.parent / "project"), folder)


PARTS: dict[str, Callable[[Path], list[Any]]] = {"audio": _audio, "table": _tables, "own": _own, "kill": _kills}
