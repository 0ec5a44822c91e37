"""The index of a dataset's embeddings, as it is written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagscale.serving import neighbours
from tagscale.serving.neighbours import Neighbours, index

TRACKS = [f"t{number}" for number in range(450)]


class Sounds:
    """What `index` asks of a store."""

    hash, track_ids = "abc", TRACKS

    def samples(self, track: str) -> int:
        return 1

    def read(self, track: str, start: int, samples: int) -> int:
        return int(track[1:])


def test_an_interruption_costs_the_part_in_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = Sounds()
    embedded = list[int]()

    def embed(sound: Any) -> np.ndarray:
        embedded.append(sound)
        return np.array([np.cos(sound), np.sin(sound)], np.float32)

    work = index(tmp_path, store, "f" * 64, embed)
    for _ in range(250):
        next(work)
    work.close()
    embedded.clear()
    assert list(index(tmp_path, store, "f" * 64, embed)) == TRACKS
    assert embedded == list(range(200, 450))
    assert Neighbours.load(tmp_path, "abc", "f" * 64).track_ids == TRACKS
    monkeypatch.setattr(neighbours, "TRACKS_OF_PART", 100)
    assert list(index(tmp_path, store, "f" * 64, embed)) == TRACKS
    assert Neighbours.load(tmp_path, "abc", "f" * 64).track_ids == TRACKS, "parts of another length are replaced"
