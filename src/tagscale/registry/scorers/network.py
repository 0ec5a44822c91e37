"""A network of any kind: the mean of its outputs over a moving window."""

import math
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tagscale.evaluation.predict import predict, scores_and_features, scores_of_recordings, window_samples
from tagscale.models.build import Architecture
from tagscale.models.pretrained.probe import JoinedProbes, Probe, have_one_encoder
from tagscale.models.tagger import Tagger
from tagscale.registry.scorers import COMMAND, Heard, Scorer, Span, windows_of
from tagscale.store.read import Store
from tagscale.training import checkpoint


class NetworkScorer(Scorer):
    """A front-end, a published baseline, or a pretrained encoder with its head.

    Args:
        hop_seconds: step of the moving window over a song; scores are means over its windows (section 4)
        window_seconds: length of that window; None: the patches that the model was trained on
    """

    kind = "network"
    needs = ("torch", "torchaudio", "safetensors")
    shorter = "the model hears it again and again"

    def __init__(
        self,
        model: Tagger | JoinedProbes,
        architecture: Architecture,
        hop_seconds: float,
        window_seconds: float | None = None,
    ) -> None:
        self.model, self.architecture = model, architecture
        self.hop_seconds, self.window_seconds = hop_seconds, window_seconds
        self.tags, self.kinds = architecture.tags, architecture.kinds

    @property
    def seconds(self) -> float:
        return window_samples(self.architecture, self.window_seconds) / self.architecture.sample_rate

    @property
    def raster(self) -> tuple[float, float]:
        return self.seconds, self.hop_seconds

    @property
    def excerpts(self) -> tuple[float, float]:
        return self.raster

    @property
    def dims(self) -> int:
        return self.model.dims

    def hear(self, recordings: Sequence[np.ndarray], embed: bool = False) -> Heard:
        window = self.hop_seconds, self.window_seconds
        if embed:
            return scores_and_features(self.model, self.architecture, recordings, *window)
        return scores_of_recordings(self.model, self.architecture, recordings, *window), [None] * len(recordings)

    def listen(
        self, samples: np.ndarray, spans: Sequence[Span], embed: bool = False, turn_seconds: float = math.inf
    ) -> Generator[None, None, Heard]:
        window, hop = (round(seconds * self.architecture.sample_rate) for seconds in self.raster)
        of_span = [windows_of(span, window, max(1, hop)) for span in spans]
        place = {one: number for number, one in enumerate(sorted({one for windows in of_span for one in windows}))}
        rows = [[place[one] for one in windows] for windows in of_span]
        scores, embeddings = yield from super().listen(samples, list(place), embed, turn_seconds)
        has = isinstance(embeddings, np.ndarray)
        return _means(scores, rows), _means(np.asarray(embeddings), rows) if has else [None] * len(rows)

    def predict(self, store: Store, tracks: Sequence[str]) -> pd.DataFrame:
        return predict(self.model, self.architecture, store, tracks, self.hop_seconds, self.window_seconds)

    @classmethod
    def joined(cls, members: Sequence[Scorer], weights: Sequence[float]) -> "NetworkScorer | None":
        """Of probes on one encoder, such as those of a study's folds: the encoder hears a recording once."""
        networks = [member for member in members if isinstance(member, NetworkScorer)]
        probes = [network.model for network in networks if isinstance(network.model, Probe)]
        windows = {(network.hop_seconds, network.window_seconds) for network in networks}
        encoders = {network.architecture.capacity.get("encoder") for network in networks}
        if len(probes) < len(members) or len(windows) > 1 or len(encoders) > 1 or not have_one_encoder(probes):
            return None
        return cls(JoinedProbes(probes, weights).eval(), networks[0].architecture, *windows.pop())

    def facts(self) -> dict[str, Any]:
        return {"hop_seconds": self.hop_seconds, "window_seconds": self.window_seconds}

    def write(self, folder: Path) -> None:
        checkpoint.write(folder, self.model, self.architecture)

    @classmethod
    def read(cls, folder: Path, facts: Mapping[str, Any]) -> "NetworkScorer":
        return cls(*checkpoint.load(folder, COMMAND), facts["hop_seconds"], facts["window_seconds"])


def _means(values: np.ndarray, rows: Sequence[Sequence[int]]) -> np.ndarray:
    """The mean of some rows of values, for each list of them: (lists, columns) float32."""
    return np.stack([values[of_list].mean(axis=0, dtype=np.float64) for of_list in rows]).astype(np.float32)
