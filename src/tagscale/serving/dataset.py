"""What a server knows of a dataset: its tracks, their sound as models hear it, and the truth about them."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tagscale import SAMPLE_RATE
from tagscale.catalog.tables import Catalog
from tagscale.store.read import Store

WIDTH = 2  # bytes of a sample
BLOCK = 1 << 18  # samples that are read at a time
HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")  # of a WAV file of PCM


class Dataset:
    """The catalog and the store of a data folder, opened for reading.

    Attributes:
        catalog, store: as the stages `catalog` and `preprocess` wrote them; a track may be in the catalog alone
    """

    def __init__(self, folder: Path) -> None:
        """Open the folders `catalog` and `store` in a data folder. Raises TagscaleError where one is damaged."""
        self.catalog, self.store = Catalog.load(folder / "catalog"), Store.open(folder / "store")
        self.hash = self.catalog.hash  # computed, which takes a while
        tracks = self.catalog.tracks
        self._place = {track: place for place, track in enumerate(tracks["track_id"])}
        words = [
            tracks[column].fillna("").astype(str).str.casefold() for column in ("track_id", "artist", "title", "path")
        ]
        self._words = [" ".join(row) for row in zip(*words, strict=True)]
        sounds = self.store.facts["audio_sha256"]
        self._of_sound = {sound: str(track) for track, sound in sounds.items() if isinstance(sound, str)}

    def __contains__(self, track_id: str) -> bool:
        return track_id in self._place

    def named(self, track_id: str) -> dict[str, str]:
        """Id, artist and title of a track."""
        track = self.catalog.tracks.iloc[self._place[track_id]]
        return {column: str(track[column]) for column in ("track_id", "artist", "title")}

    def track(self, track_id: str) -> dict[str, Any]:
        """A track with its path, the SHA-256 of its decoded samples, and the truth: tag -> label, None = unknown."""
        labels = self.catalog.labels.iloc[self._place[track_id]]
        truth = {str(tag): None if np.isnan(label) else float(label) for tag, label in labels.items()}
        sound = self.store.facts["audio_sha256"].get(track_id) if track_id in self.store else None
        path = str(self.catalog.tracks["path"].iloc[self._place[track_id]])
        return self.named(track_id) | {"path": path, "audio_sha256": sound, "truth": truth}

    def of_sound(self, audio_sha256: str) -> str | None:
        """The track whose decoded samples have this SHA-256."""
        track = self._of_sound.get(audio_sha256)
        return track if track in self._place else None

    def search(self, text: str, most: int) -> tuple[list[dict[str, str]], int]:
        """The first tracks whose id, artist, title or path hold all words of a text, and how many more there are."""
        wanted = text.casefold().split()
        places = [place for place, words in enumerate(self._words) if all(word in words for word in wanted)]
        ids = self.catalog.tracks["track_id"]
        return [self.named(str(ids.iloc[place])) for place in places[:most]], max(0, len(places) - most)

    def wav(self, track_id: str) -> tuple[int, Iterator[bytes]] | None:
        """A track as a WAV file, mono at 16 kHz: its length in bytes, and its parts. None where the store has none."""
        if track_id not in self.store:
            return None
        samples = self.store.samples(track_id)
        return HEADER.size + WIDTH * samples, self._wav(track_id, samples)

    def _wav(self, track_id: str, samples: int) -> Iterator[bytes]:
        size = WIDTH * samples
        of_format = 16, 1, 1, SAMPLE_RATE, WIDTH * SAMPLE_RATE, WIDTH, 8 * WIDTH  # PCM, one channel
        yield HEADER.pack(b"RIFF", HEADER.size - 8 + size, b"WAVE", b"fmt ", *of_format, b"data", size)
        for start in range(0, samples, BLOCK):
            yield self.store.read(track_id, start, min(BLOCK, samples - start)).astype("<i2", copy=False).tobytes()
