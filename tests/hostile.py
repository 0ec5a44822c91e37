"""Decoders that misbehave, for the pool's tests: its processes import them from here."""

import os
import time

from tagscale.decoding.batch import Job, Outcome


def crash(job: Job) -> Outcome:
    """End the process, as a fault in a C library would."""
    os._exit(7)


def hang(job: Job) -> Outcome:
    """Take for ever over one file, none over others."""
    if job.path.name == "hangs":
        time.sleep(600)
    return Outcome(reason="not decoded")
