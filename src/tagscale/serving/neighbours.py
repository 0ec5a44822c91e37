"""Tracks that sound alike: the embeddings of a store's tracks, and those nearest to another one by their cosine.

Embeddings lie in the data folder under `embeddings/MODEL-STORE`, MODEL being the SHA-256 of the model and STORE the
store's hash: of another model, or of other audio, they are others.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing
from tagscale.store.read import Store

FOLDER, COMMAND = "embeddings", "tagscale index"
COMPLETE = "complete"  # the file that comes last
TRACKS_OF_PART = 200  # of a file: what an interruption may cost, half a minute with msd-musicnn
DIGITS = 16  # of the model's SHA-256 in the folder's name


class Neighbours:
    """Embeddings of tracks, to be compared with another one.

    Args:
        track_ids: (tracks,)
        embeddings: (tracks, dims) float32
    """

    def __init__(self, track_ids: Sequence[str], embeddings: np.ndarray) -> None:
        self.track_ids = list(track_ids)
        norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
        self._unit = embeddings / np.where(norms > 0, norms, 1)

    @classmethod
    def load(cls, data: Path, store_hash: str, model_sha256: str) -> "Neighbours":
        """Read the embeddings of a model. Raises TagscaleError where `index` did not finish them, or never began."""
        folder = folder_of(data, store_hash, model_sha256)
        parts = sorted(folder.glob("part-*.parquet"))
        if not parts or not (folder / COMPLETE).exists():
            state = "are not finished" if parts else "are not computed yet"
            raise TagscaleError(f"The embeddings of this model for the dataset {state}: `{COMMAND}` computes them.")
        read = [_read(part) for part in parts]
        return cls([track for tracks, _ in read for track in tracks], np.concatenate([vectors for _, vectors in read]))

    def nearest(self, embedding: Sequence[float] | np.ndarray, count: int) -> list[tuple[str, float]]:
        """The tracks of the largest cosine, with it, the largest first.

        Raises:
            TagscaleError: an embedding of another length, or of numbers that are not finite.
        """
        with np.errstate(over="ignore"):
            wanted = np.asarray(embedding, np.float32)
        if wanted.shape != self._unit.shape[1:]:
            raise TagscaleError(f"embedding: {wanted.size} numbers, expected {self._unit.shape[1]}.")
        norm = float(np.linalg.norm(wanted))
        if not np.isfinite(norm):
            raise TagscaleError("embedding: found numbers that are not finite, expected those of float32.")
        cosines = self._unit @ (wanted / (norm or 1))
        count = min(count, len(cosines))
        best = np.argpartition(-cosines, count - 1)[:count]
        order = best[np.argsort(-cosines[best], kind="stable")]
        return [(self.track_ids[place], float(cosines[place])) for place in order]


def folder_of(data: Path, store_hash: str, model_sha256: str) -> Path:
    return Path(data) / FOLDER / f"{model_sha256[:DIGITS]}-{store_hash}"


def index(data: Path, store: Store, model_sha256: str, embed: Callable[[np.ndarray], np.ndarray]) -> Iterator[str]:
    """Embed every track of a store, and write the embeddings into the data folder; resumes where it was interrupted.

    Args:
        embed: a recording's int16 samples at 16 kHz -> float32 (dims,)

    Yields:
        each track as it is done, those that were there before at once
    """
    folder, tracks = folder_of(data, store.hash, model_sha256), store.track_ids
    pieces = [tracks[first : first + TRACKS_OF_PART] for first in range(0, len(tracks), TRACKS_OF_PART)]
    for number, chosen in enumerate(pieces):
        part = folder / f"part-{number:05d}.parquet"
        if part.exists() and _read(part)[0] == list(chosen):  # an earlier tagscale wrote longer ones
            yield from chosen
            continue
        vectors: list[np.ndarray] = []
        for track in chosen:
            vectors.append(embed(store.read(track, 0, store.samples(track))))
            yield track
        with replacing(part) as fresh:
            _write(chosen, np.stack(vectors), fresh)
    with replacing(folder / COMPLETE) as fresh:
        fresh.write_text(f"{len(tracks)}\n")


def _write(tracks: Sequence[str], vectors: np.ndarray, part: Path) -> None:
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), vectors.shape[1])
    table = pa.table({"track_id": pa.array(tracks, pa.string()), "embedding": column})
    pq.write_table(table, part, write_page_checksum=True)


def _read(part: Path) -> tuple[list[str], np.ndarray]:
    """Tracks of a part, and their embeddings. Raises TagscaleError where it is damaged."""
    try:
        table = pq.read_table(part, page_checksum_verification=True)
        vectors = table["embedding"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        return table["track_id"].to_pylist(), vectors
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise TagscaleError(f"{part}: damaged ({error}). Delete it, and run `{COMMAND}` again.") from None
