"""Results that a study does without: the folder of a run holds, in place of the run, the reason why there is none.

A study of several models does not fail because what one of them needs cannot be had on this machine, as the weights of
a published encoder. The stages then write such folders, and whoever reads the study leaves the run out and says so.
"""

import os
from pathlib import Path

from typing_extensions import TypedDict

from tagscale.runtime.files import replacing, write_json
from tagscale.runtime.reading import read_json

ABSENT = "absent.json"  # in the folder


class Absence(TypedDict):
    """The content of absent.json: which run is missing, and why."""

    run: str
    reason: str


def write_absent(folder: Path, run: str, reason: str) -> None:
    """Write the folder of a run, or of what it needs, without one; print a line about it."""
    with replacing(folder) as fresh:
        fresh.mkdir()
        write_json(fresh / ABSENT, {"run": run, "reason": reason})
    print(f"{run} is left out: {reason}", flush=True)


def absence_in(folder: Path | str) -> Absence | None:
    """Why a folder holds no run; None where it holds one. Raises Damaged."""
    file = Path(folder) / ABSENT
    return read_json(file, Absence, "dvc repro") if os.path.lexists(file) else None
