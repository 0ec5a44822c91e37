"""A version that a process holds, and what it says of recordings."""

import base64
import logging
import math
from collections.abc import Generator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tagscale import SAMPLE_RATE
from tagscale.decoding.decode import Decoded
from tagscale.evaluation.predict import BATCH_SECONDS, BATCH_SECONDS_GPU
from tagscale.registry.tagger import AudioTagger, Windows
from tagscale.registry.tags import Tags
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.pcm import FULL_SCALE
from tagscale.serving.server.lineup import Slot
from tagscale.serving.server.model import Request
from tagscale.serving.server.work import MORE, Answer

logger = logging.getLogger(__name__)

COLUMNS = 1200  # of a spectrogram to look at, at most
PICTURE_SECONDS = 240  # of audio in a turn of it: 90 MB


class Held:
    """A loaded version in its slot.

    Attributes:
        turn_seconds: of audio that is heard of one recording before others have their turn: a batch of the model's
        begun: recordings that wait for their next turn
    """

    def __init__(self, slot: Slot) -> None:
        self.slot, self.tagger = slot, AudioTagger.load(Path(slot.folder))
        self.turn_seconds = BATCH_SECONDS_GPU if torch.cuda.is_available() else BATCH_SECONDS
        self.begun: dict[str, Generator[None, None, Answer]] = {}  # by their files
        self.names = {"model": slot.model, "version": slot.version, "sha256": self.tagger.sha256}

    def about(self) -> dict[str, Any]:
        """What GET /models says of it."""
        thresholds = self.tagger.decisions.tags if self.tagger.decisions else {}
        tags = [
            {
                "tag": tag,
                "group": self.tagger.groups.get(tag, ""),
                "kind": kind,
                "threshold": thresholds[tag].threshold if tag in thresholds else None,
            }
            for tag, kind in self.tagger.kinds.items()
        ]
        dims = self.tagger.scorer.dims
        return {"name": self.slot.name, "role": self.slot.role, **self.names, "embedding_dims": dims, "tags": tags}

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """What the version says of recordings, or `MORE`: then the next turn of this one is to be asked for.

        Short ones are scored in one batch. One that is longer than a turn, or whose course in time or spectrogram is
        asked for, is heard alone, a turn each time, so that others need not wait for its end.
        """
        for gone in [file for file in self.begun if not Path(file).exists()]:  # whoever asked has left
            del self.begun[gone]
        alone = [self._is_long(request) for request in requests]
        batch = iter(self._batch([request for request, is_alone in zip(requests, alone, strict=True) if not is_alone]))
        return [
            self._turn(request) if is_alone else next(batch) for request, is_alone in zip(requests, alone, strict=True)
        ]

    def _is_long(self, request: Request) -> bool:
        seconds = request["facts"]["source_seconds"]
        return bool(request["taggram"] or request["spectrogram"]) or seconds > self.turn_seconds

    def _batch(self, requests: Sequence[Request]) -> list[Answer]:
        """Score recordings in one batch; one by one where that fails, so that only the guilty one has no scores."""
        try:
            recordings = [_recording(request) for request in requests]
            tags = self.tagger.hear(recordings, embed=any(request["embedding"] for request in requests))
            return [self._said(*each, None) for each in zip(requests, tags, strict=True)]
        except Exception as error:
            if len(requests) > 1:
                return [self._batch([request])[0] for request in requests]
            return [self._failed(error)]

    def _turn(self, request: Request) -> Answer:
        """The next turn of a recording."""
        work = self.begun.pop(request["samples"], None) or self._listen(request)
        try:
            next(work)
        except StopIteration as ended:
            answer: Answer = ended.value
            return answer
        except Exception as error:
            return self._failed(error)
        self.begun[request["samples"]] = work
        return dict(MORE)

    def _listen(self, request: Request) -> Generator[None, None, Answer]:
        recording = _recording(request)
        course, embed = request["taggram"], request["embedding"]
        tags, windows = yield from self.tagger.listen(recording, embed, course, self.turn_seconds)
        answer = self._said(request, tags, windows)
        if request["spectrogram"] and not tags.error:
            answer["spectrogram"] = yield from spectrogram(recording.samples)
        return answer

    def _failed(self, error: Exception) -> Answer:
        logger.warning("a recording could not be scored", exc_info=not isinstance(error, TagscaleError))
        reason = str(error) if isinstance(error, TagscaleError) else f"it could not be scored ({error!r})"
        return {**self.names, "error": reason}

    def _said(self, request: Request, tags: Tags, windows: Windows) -> Answer:
        if tags.error:
            return {**self.names, "error": tags.error}
        answer = {**self.names, "scores": tags.scores}
        answer["decisions"] = {tag: asdict(decided) for tag, decided in tags.decided.items()}
        answer |= {"warnings": tags.warnings, "facts": tags.facts}
        if windows:
            times, scores = windows
            by_tag = dict(zip(self.tagger.tags, scores.T.round(6).tolist(), strict=True))
            answer["taggram"] = {"times": times.tolist(), "scores": by_tag}
        if request["embedding"] and tags.embedding is not None:
            answer["embedding"] = tags.embedding.tolist()
        return answer


def _recording(request: Request) -> Decoded:
    """The recording, whose samples stay on disk: many may be begun."""
    file = Path(request["samples"])
    samples = np.memmap(file, np.int16, "r") if file.stat().st_size else np.empty(0, np.int16)
    return Decoded(samples=samples, **request["facts"])


def spectrogram(samples: np.ndarray) -> Generator[None, None, dict[str, Any]]:
    """The log-mel that models hear, as a picture: bytes from the least value to the greatest, base64.

    It is computed in turns of PICTURE_SECONDS, of which one is in memory at a time.

    Returns:
        seconds: of a column; bands: rows, from 0 Hz to 8 kHz; columns; data: row by row, the lowest band first
    """
    from tagscale.audio.logmel import HOP, LogMel  # here: torchaudio takes a second to import

    samples = samples if len(samples) >= 2 * HOP else np.pad(samples, (0, 2 * HOP - len(samples)))
    log_mel, frames, parts = LogMel(), len(samples) // HOP, list[torch.Tensor]()
    step = math.ceil(frames / COLUMNS)
    turn = max(1, PICTURE_SECONDS * SAMPLE_RATE // (step * HOP)) * step
    for first in range(0, frames, turn):
        before = min(first, 1)  # a frame looks back as far as one hop
        wave = torch.from_numpy(samples[(first - before) * HOP : (first + turn) * HOP].astype(np.float32) / FULL_SCALE)
        with torch.inference_mode():
            bands = log_mel(wave[None])[..., before:]  # (1, bands, frames)
            parts.append(torch.nn.functional.avg_pool1d(bands, step, ceil_mode=True)[0])
        yield
    columns = torch.cat(parts, dim=1)
    span = (columns.max() - columns.min()).clamp(min=1e-6)
    picture = ((columns - columns.min()) / span * 255).round().to(torch.uint8)
    data = base64.b64encode(picture.numpy().tobytes()).decode()
    return {"seconds": step * HOP / SAMPLE_RATE, "bands": len(picture), "columns": picture.shape[1], "data": data}
