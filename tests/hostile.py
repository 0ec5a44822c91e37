"""Decoders that misbehave, for the pool's tests: its processes import them from here."""

import os
import time
from pathlib import Path

from tagscale.decoding.batch import Outcome


def crash(path: Path, known: str) -> Outcome:
    """End the process, as a fault in a C library would."""
    os._exit(7)


def hang(path: Path, known: str) -> Outcome:
    """Take for ever over one file, none over others."""
    if path.name == "hangs":
        time.sleep(600)
    return Outcome(reason="not decoded")
