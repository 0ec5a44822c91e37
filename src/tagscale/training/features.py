"""The features that an encoder computes of every track, window by window: computed once and kept as files.

A row of features belongs to a window of samples, at the places that a moving window has in prediction
(`evaluation.predict`): so scores that are computed from the rows are those of the model on the audio. Rows are kept by
the SHA-256 of the track's samples, as descriptors are, and are valid for one `Recipe`. A track is encoded by itself, so
its rows do not depend on what else is encoded. So the files have the same bytes, whether computed, resumed or reused.

Files of the folder: index.parquet (track_id, audio_sha256, shard, first, windows), shard-00000.f32 ... (raw
little-endian float32, a row a window, track after track) and features.json, which vouches for them. What an interrupted
run leaves beside it, .NAME.partial, holds folders of the same kind.
"""

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from typing_extensions import TypedDict

from tagscale.audio.patches import Windows, to_wave
from tagscale.models.pretrained.encoder import Encoder
from tagscale.runtime.files import replacing, seal, settle
from tagscale.runtime.reading import Damaged, Output
from tagscale.runtime.tables import schema, table_in, write_table
from tagscale.store.read import Store

VERSION = 1  # of what is computed here
FACTS, INDEX = "features.json", "index.parquet"
COLUMNS = schema(track_id="text", audio_sha256="text", shard="whole", first="whole", windows="whole")
SHARD_TRACKS = 2048  # 100 MB for tracks of a minute at 200 features
PART_SECONDS = 15.0  # the most work that is lost with a killed process
BATCH = 32  # windows at once


@dataclass(frozen=True)
class Recipe:
    """What decides the rows, beside the samples.

    weights: SHA-256 of the encoder's
    window, hop: of the moving window, in samples
    features: numbers in a row
    """

    encoder: str
    weights: str
    window: int
    hop: int
    features: int
    version: int = VERSION


class Facts(TypedDict):
    """The content of features.json."""

    recipe: Recipe


class Features:
    """A folder of features, opened for reading.

    Args:
        command: what makes the folder again
    Raises:
        Damaged: a file is missing or not as it was written.
    """

    def __init__(self, folder: Path, command: str) -> None:
        self._output = Output(folder, FACTS, command)
        self.recipe = self._output.facts(Facts)["recipe"]
        self.index = table_in(self._output, INDEX, COLUMNS)
        self._row = {track: row for row, track in enumerate(self.index["track_id"])}

    def each(self, tracks: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Every track with its rows, (windows, features) float32, shard by shard; in memory there is one shard.

        Raises:
            Damaged: a track is not there; a shard is missing or not as it was written.
        """
        wanted = list(tracks)
        missing = [track for track in wanted if track not in self._row]
        if missing:
            what = f"no features of {len(missing)} of {len(wanted)} tracks, the first is {missing[0]!r}"
            raise self._output.damaged(INDEX, what)
        rows = np.sort([self._row[track] for track in wanted])
        table = self.index.iloc[rows]
        for shard in sorted(set(table["shard"])):
            group = table[table["shard"] == shard]
            content = self._output.content(shard_name(shard))
            values = np.frombuffer(content, "<f4").reshape(-1, self.recipe.features)
            for track, first, windows in zip(group["track_id"], group["first"], group["windows"], strict=True):
                yield str(track), values[first : first + windows]

    def means(self, tracks: Sequence[str]) -> np.ndarray:
        """The mean row of every track, in the given order: (tracks, features) float32."""
        place = {track: number for number, track in enumerate(tracks)}
        means = np.empty((len(tracks), self.recipe.features), np.float32)
        for track, rows in self.each(tracks):
            means[place[track]] = rows.mean(axis=0, dtype=np.float64)
        return means


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.f32"


def write(folder: Path, recipe: Recipe, tracks: Iterable[tuple[str, str, np.ndarray]]) -> None:
    """Write the files of a folder, which must exist: track_id, SHA-256 of the samples and rows of every track."""
    shard = first = 0
    entries = []
    file = None
    try:
        for number, (track, digest, rows) in enumerate(tracks):
            if number % SHARD_TRACKS == 0:
                if file:
                    file.close()
                shard, first = number // SHARD_TRACKS, 0
                file = (folder / shard_name(shard)).open("wb")
            assert file is not None
            file.write(np.ascontiguousarray(rows, "<f4").tobytes())
            entries.append((track, digest, shard, first, len(rows)))
            first += len(rows)
    finally:
        if file:
            file.close()
    index = pd.DataFrame(entries, columns=COLUMNS.names)
    write_table(index.astype({"track_id": str, "audio_sha256": str}), folder / INDEX)
    seal(folder, FACTS, {"recipe": asdict(recipe)})


class Encoding:
    """The features of a list of tracks that are to be in a folder: what is there already, and what is still missing.

    Args:
        tracks, digests: all tracks, and the SHA-256 of the samples of each; "" where it is unknown, and such a track is
            never reused
        previous: folder of an earlier run, whose rows are reused
    """

    def __init__(
        self, folder: Path, recipe: Recipe, tracks: Sequence[str], digests: Sequence[str], previous: Path, command: str
    ) -> None:
        self.folder, self.recipe, self.command = folder, recipe, command
        self.tracks, self.digests = list(tracks), dict(zip(tracks, digests, strict=True))
        self.partial = folder.with_name(f".{folder.name}.partial")
        settle(previous)
        self._sources: dict[str, tuple[Features, str]] = {}  # digest -> where its rows are, and under which track
        self._fresh: list[tuple[str, str, np.ndarray]] = []
        self._written = time.monotonic()
        for source in [previous, *sorted(self.partial.glob("*"))]:
            self._reuse(source)
        self.missing = [track for track in self.tracks if self.digests[track] not in self._sources]

    def _reuse(self, folder: Path) -> None:
        if not os.path.lexists(folder / FACTS):
            return
        try:
            features = Features(folder, self.command)
            if features.recipe != self.recipe:
                return
            for _ in features.each(features.index["track_id"]):
                pass  # its shards are whole
        except Damaged as damage:
            print(f"{damage.path}: {damage.what}. Its rows are computed again.", flush=True)
            return
        index = features.index[features.index["audio_sha256"] != ""]
        for digest, track in zip(index["audio_sha256"], index["track_id"], strict=True):
            self._sources.setdefault(digest, (features, track))

    def add(self, track: str, rows: np.ndarray) -> None:
        """Keep the rows of a track; they are on disk some seconds later."""
        self._fresh.append((track, self.digests[track] or f"unknown {track}", rows))
        if time.monotonic() - self._written > PART_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Write the rows that are only in memory."""
        if self._fresh:
            part = self.partial / f"{time.time_ns()}-{os.getpid()}"  # two processes write different folders
            self.partial.mkdir(parents=True, exist_ok=True)
            with replacing(part) as fresh:
                fresh.mkdir()
                write(fresh, self.recipe, self._fresh)
            features = Features(part, self.command)
            self._sources |= {digest: (features, track) for track, digest, _ in self._fresh}
        self._fresh, self._written = [], time.monotonic()

    def finish(self) -> None:
        """Write the folder, its tracks sorted, and remove the parts."""
        self.keep()
        with replacing(self.folder) as fresh:
            fresh.mkdir()
            write(fresh, self.recipe, self._sorted())
        shutil.rmtree(self.partial, ignore_errors=True)

    def _sorted(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """Every track with its rows, sorted; a shard's worth of them is read at a time."""
        tracks = sorted(self.tracks)
        for begin in range(0, len(tracks), SHARD_TRACKS):
            some = tracks[begin : begin + SHARD_TRACKS]
            places = {track: self._sources[self.digests[track] or f"unknown {track}"] for track in some}
            rows: dict[tuple[int, str], np.ndarray] = {}
            by_source: dict[int, tuple[Features, list[str]]] = {}
            for features, name in places.values():
                by_source.setdefault(id(features), (features, []))[1].append(name)
            for key, (features, names) in by_source.items():
                rows |= {(key, name): values for name, values in features.each(dict.fromkeys(names))}
            for track, (features, name) in places.items():
                yield track, self.digests[track], rows[id(features), name]


@torch.inference_mode()
def encode_track(encoder: Encoder, store: Store, track: str, recipe: Recipe, device: torch.device) -> np.ndarray:
    """The rows of a track, (windows, features) float32; the encoder is on the device already."""
    windows = Windows(store, [track], np.zeros(1, np.int64), recipe.window, recipe.hop)
    rows: list[Tensor] = []
    for first in range(0, len(windows), BATCH):
        patches, _ = windows.__getitems__(list(range(first, min(first + BATCH, len(windows)))))
        rows.append(encoder.encode(to_wave(patches.to(device))).float().cpu())
    return torch.cat(rows).numpy()
