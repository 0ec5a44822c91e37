"""The int16 store: every track decoded once, in a few large files that any number of readers map into memory.

Files of a store's folder: shard-00000.bin ... (raw little-endian int16, mono, 16 kHz, track after track),
index.parquet (where each track lies, and what was measured of it), store.json (format, hash, shards with their
SHA-256) and rejected.csv (tracks without usable audio, with the reason).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tagscale.audio import SAMPLE_RATE
from tagscale.errors import TagscaleError
from tagscale.files import read_json

FORMAT = 1
BYTES_PER_SAMPLE = 2
PLACE_COLUMNS = ["track_id", "shard", "offset", "samples"]
FACT_COLUMNS = ["source_rate", "channels", "source_seconds", "rms_dbfs", "peak", "clipped", "dc", "audio_sha256"]


class Store:
    """A store opened for reading; safe to share between threads and to send to other processes.

    >>> import tempfile
    >>> from tagscale.audio.writer import StoreWriter
    >>> folder = Path(tempfile.mkdtemp())
    >>> with StoreWriter(folder, shard_megabytes=1) as writer:
    ...     writer.add("song", np.arange(10, dtype=np.int16), {"source_rate": 44100})
    >>> Store.open(folder).read("song", start=3, count=4)
    array([3, 4, 5, 6], dtype=int16)
    """

    def __init__(self, folder: Path, index: pd.DataFrame, shards: list[dict[str, Any]], content_hash: str) -> None:
        self.folder = folder
        self.hash = content_hash
        self.facts = index.set_index("track_id")[["samples", *FACT_COLUMNS]]
        self._shards = shards
        self._row = {track: row for row, track in enumerate(index["track_id"])}
        self._shard = index["shard"].to_numpy(np.int64)
        self._offset = index["offset"].to_numpy(np.int64)
        self._samples = index["samples"].to_numpy(np.int64)
        self._maps: dict[int, np.ndarray] = {}  # opened on first use, in each process for itself

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """Open the store in `folder`.

        Raises:
            TagscaleError: no store there, another format, or a shard that is missing or not of its recorded length.
        """
        folder = Path(folder)
        if not (folder / "store.json").is_file():
            raise TagscaleError(f"{folder}: no store.json in it. Run `tagscale preprocess` first.")
        facts = read_json(folder / "store.json")
        if facts["format"] != FORMAT or facts["sample_rate"] != SAMPLE_RATE:
            raise TagscaleError(
                f"{folder / 'store.json'}: format {facts['format']} at {facts['sample_rate']} Hz; expected format "
                f"{FORMAT} at {SAMPLE_RATE} Hz. Run `tagscale preprocess` again."
            )
        for shard in facts["shards"]:
            path, expected = folder / shard["file"], shard["samples"] * BYTES_PER_SAMPLE
            found = path.stat().st_size if path.is_file() else None
            if found != expected:
                state = "missing" if found is None else f"{found} bytes long"
                raise TagscaleError(f"{path}: {state}, expected {expected} bytes. Run `tagscale preprocess` again.")
        return cls(folder, pd.read_parquet(folder / "index.parquet"), facts["shards"], facts["hash"])

    @property
    def track_ids(self) -> list[str]:
        """All tracks of the store, in the order of its shards."""
        return list(self._row)

    def samples(self, track_id: str) -> int:
        """Length of a track in samples at 16 kHz."""
        return int(self._samples[self._row[track_id]])

    def read(self, track_id: str, start: int, count: int) -> np.ndarray:
        """`count` samples of a track from sample `start`: int16, (count,). Reads no more than these from disk.

        Raises:
            KeyError: no such track.
            ValueError: the excerpt reaches out of the track.
        """
        row = self._row[track_id]
        if start < 0 or count < 0 or start + count > self._samples[row]:
            raise ValueError(f"track {track_id}: samples {start} to {start + count} asked, {self._samples[row]} there")
        begin = self._offset[row] + start
        return np.array(self._map(int(self._shard[row]))[begin : begin + count])  # a copy: writable, and no open map

    def _map(self, shard: int) -> np.ndarray:
        if shard not in self._maps:
            self._maps[shard] = np.memmap(self.folder / self._shards[shard]["file"], dtype="<i2", mode="r")
        return self._maps[shard]

    def __len__(self) -> int:
        return len(self._row)

    def __contains__(self, track_id: str) -> bool:
        return track_id in self._row

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}
