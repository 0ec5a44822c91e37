"""A store with tracks that cannot be described, for the tests of `describe`: its processes import it from here."""

import os

import numpy as np

from tagscale.runtime.errors import TagscaleError
from tagscale.store.read import Store


class HostileStore(Store):
    """`broken` cannot be read, and `deadly` ends the process that reads it, as a want of memory would."""

    def read(self, track_id: str, start: int, count: int) -> np.ndarray:
        if track_id == "broken":
            raise TagscaleError("shard-00000.bin: the disk does not answer")
        if track_id == "deadly":
            os._exit(9)
        return super().read(track_id, start, count)
