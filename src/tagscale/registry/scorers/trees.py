"""Trees on descriptors, which are computed from the samples as stage describe computes them from the store."""

import math
from collections.abc import Generator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tagscale import SAMPLE_RATE
from tagscale.descriptors.baseline import DescriptorTrees
from tagscale.descriptors.describe import LONG_FRAME, describe_piece, describe_recording, join, names, pieces_of
from tagscale.descriptors.describing import describe_all
from tagscale.registry.scorers import COMMAND, Heard, Scorer, Span, in_turns
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.machine import cores
from tagscale.runtime.pcm import recording
from tagscale.store.read import Store


class TreesScorer(Scorer):
    kind = "trees"
    needs = ("xgboost-cpu", "scipy", "threadpoolctl", "rich")
    shorter = "silence fills it up"
    seconds = LONG_FRAME / SAMPLE_RATE
    excerpts = (10.0, 5.0)  # a tempo needs some bars

    def __init__(self, trees: DescriptorTrees) -> None:
        self.trees = trees
        self.tags, self.kinds = tuple(trees.tags), tuple(trees.kinds)

    @property
    def dims(self) -> int:
        return len(self.trees.means)

    def hear(self, recordings: Sequence[np.ndarray], embed: bool = False) -> Heard:
        features = pd.concat([describe_recording(samples) for samples in recordings], ignore_index=True)
        return self._hear(features, embed)

    def listen(
        self, samples: np.ndarray, spans: Sequence[Span], embed: bool = False, turn_seconds: float = math.inf
    ) -> Generator[None, None, Heard]:
        samples, described = recording(samples), list[dict[str, float]]()
        pieces = [[(begin + low, begin + high) for low, high in pieces_of(end - begin)] for begin, end in spans]
        for turn in in_turns(list(chain.from_iterable(pieces)), turn_seconds):
            described += [describe_piece(samples[begin:end]) for begin, end in turn]
            yield
        each = iter(described)
        rows = [join(list(islice(each, len(of_span)))) for of_span in pieces]
        return self._hear(pd.DataFrame(rows, dtype=np.float32), embed)

    def _hear(self, features: pd.DataFrame, embed: bool) -> Heard:
        """Scores and embeddings of recordings, by their descriptors."""
        scores = self.trees.predict(features)
        return scores, self.trees.standardised(features) if embed and self.dims else [None] * len(features)

    def predict(self, store: Store, tracks: Sequence[str]) -> pd.DataFrame:
        rows = {}
        for described in describe_all(store, tracks, min(cores(), len(tracks))):
            if described.values is None:
                raise TagscaleError(f"Track {described.track_id} cannot be described: {described.reason}.")
            rows[described.track_id] = described.values
        features = pd.DataFrame([rows[track] for track in tracks], columns=list(names()))
        index = pd.Index(tracks, name="track_id")
        return pd.DataFrame(self.trees.predict(features), index=index, columns=list(self.tags))

    def facts(self) -> dict[str, Any]:
        return {}

    def write(self, folder: Path) -> None:
        self.trees.save(folder)

    @classmethod
    def read(cls, folder: Path, facts: Mapping[str, Any]) -> "TreesScorer":
        return cls(DescriptorTrees.load(folder, COMMAND))
