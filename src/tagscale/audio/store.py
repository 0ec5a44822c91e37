"""The int16 store: every track decoded once, in a few large files that any number of readers map into memory.

Files of a store's folder: shard-00000.bin ... (raw little-endian int16, mono, 16 kHz, track after track),
index.parquet (where each track lies, and what was measured of it), store.json (format, hash, shards with their
SHA-256) and rejected.csv (tracks without usable audio, with the reason).
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from tagscale.audio import SAMPLE_RATE
from tagscale.errors import TagscaleError
from tagscale.files import read_json, write_json

FORMAT = 1
BYTES_PER_SAMPLE = 2
PLACE_COLUMNS = ["track_id", "shard", "offset", "samples"]
FACT_COLUMNS = ["source_rate", "channels", "source_seconds", "rms_dbfs", "peak", "clipped", "dc", "audio_sha256"]


class Store:
    """A store opened for reading; safe to share between threads and to send to other processes.

    >>> import tempfile
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


class StoreWriter:
    """Writes a new store into an empty or absent folder, track after track, holding one track at a time.

    The index is written when the block ends well; a folder without store.json is no store.
    """

    def __init__(self, folder: Path, shard_megabytes: int) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._limit = shard_megabytes * 1_000_000 // BYTES_PER_SAMPLE
        self._shards: list[dict[str, Any]] = []
        self._rows: list[dict[str, Any]] = []
        self._rejected: list[tuple[str, str, str]] = []
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()

    def add(self, track_id: str, samples: np.ndarray, facts: Mapping[str, Any]) -> None:
        """Append a track: samples int16, (samples,); facts by the names of FACT_COLUMNS."""
        if self._file is None or (self._shards[-1]["samples"] and self._room() < len(samples)):
            self._next_shard()
        assert self._file is not None
        shard = self._shards[-1]
        content = samples.astype("<i2", copy=False).tobytes()
        self._file.write(content)
        self._digest.update(content)
        place = {"track_id": track_id, "shard": len(self._shards) - 1, "offset": shard["samples"]}
        self._rows.append(place | {"samples": len(samples)} | {fact: facts.get(fact) for fact in FACT_COLUMNS})
        shard["samples"] += len(samples)

    def reject(self, track_id: str, path: str, reason: str) -> None:
        """Record a track that has no usable audio."""
        self._rejected.append((track_id, path, reason))

    def _room(self) -> int:
        return self._limit - self._shards[-1]["samples"]

    def _next_shard(self) -> None:
        self._close_shard()
        name = f"shard-{len(self._shards):05d}.bin"
        self._shards.append({"file": name, "samples": 0})
        self._file = open(self.folder / name, "wb")  # noqa: SIM115 (closed by _close_shard)
        self._digest = hashlib.sha256()

    def _close_shard(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._shards[-1]["sha256"] = self._digest.hexdigest()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_shard()
        if kind is not None:
            return
        index = pd.DataFrame(self._rows, columns=[*PLACE_COLUMNS, *FACT_COLUMNS]).astype({"track_id": str})
        index.to_parquet(self.folder / "index.parquet", index=False)
        rejected = pd.DataFrame(self._rejected, columns=["track_id", "path", "reason"])
        rejected.to_csv(self.folder / "rejected.csv", index=False, lineterminator="\n")
        content = hashlib.sha256()  # of the audio, however it is cut into shards
        for row in self._rows:
            content.update(f"{row['track_id']}\x1f{row['audio_sha256']}\x1e".encode())
        facts = {"format": FORMAT, "sample_rate": SAMPLE_RATE, "hash": content.hexdigest()[:12]}
        write_json(self.folder / "store.json", facts | {"shards": self._shards})
