"""Writing the int16 store: tracks go into shards one after another, the index comes last."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from tagscale.audio import SAMPLE_RATE
from tagscale.audio.store import BYTES_PER_SAMPLE, FACT_COLUMNS, FORMAT, PLACE_COLUMNS
from tagscale.files import write_json


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
