"""The tagger of audio files. The registered model and tagscale's own commands both run it.

This module is the entry point of the packaged model (`_load_pyfunc`), so it imports only what tagging needs. It reads
weights and JSON, and never executes anything in a packaged model's data.
"""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from tagscale.decoding.decode import decode
from tagscale.decoding.opened import AudioError
from tagscale.evaluation.predict import scores_of_samples, window_samples
from tagscale.models.build import Architecture
from tagscale.params.blocks import AudioLimits
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, write_json
from tagscale.training import checkpoint
from tagscale.validation.faults import FAINTEST, inaudible, judge

LISTENING = "listening.json"  # beside the checkpoint: moving window, groups of the tags, limits of audio files
AUDIO = "audio"  # the input column: bytes of audio files

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Heard:
    """What a tagger says of one file.

    scores: tag -> score in [0, 1].
    warnings: whatever validation would have quarantined the file for in training, or mentioned.
    """

    scores: dict[str, float]
    warnings: list[str]


@dataclass
class AudioTagger:
    """A trained front-end with the settings for tagging files.

    hop_seconds: step of the moving window over a song; scores are means over its windows (section 4).
    groups: tag -> the group it belongs to in its taxonomy (genre, mood ...).
    window_seconds: length of that window; None: the patches that the model was trained on.
    limits: those of the audio files that it was trained on; None where a version of an earlier tagscale carries none.
    """

    model: nn.Module
    architecture: Architecture
    hop_seconds: float
    groups: dict[str, str]
    window_seconds: float | None = None
    limits: AudioLimits | None = None

    @classmethod
    def load(cls, folder: Path) -> "AudioTagger":
        """Read what `save` wrote. Raises TagscaleError naming the file that is missing or damaged."""
        model, architecture = checkpoint.load(folder, "tagscale register")
        try:
            listening = read_json(folder / LISTENING)
            window, limits = listening.get("window_seconds"), listening.get("limits")  # missing in older versions
            limits = AudioLimits.model_validate(limits) if limits else None
            return cls(model, architecture, listening["hop_seconds"], listening["groups"], window, limits)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise TagscaleError(
                f"{folder / LISTENING}: missing or damaged ({error!r}); register the run again."
            ) from None

    def save(self, folder: Path) -> None:
        """Write the checkpoint and the settings for tagging into a new folder."""
        checkpoint.save(folder, self.model, self.architecture)
        listening = {"hop_seconds": self.hop_seconds, "window_seconds": self.window_seconds, "groups": self.groups}
        limits = self.limits.model_dump() if self.limits else None
        write_json(folder / LISTENING, listening | {"limits": limits})

    def hear(self, path: Path) -> Heard:
        """Score every tag for one audio file of any length, and say what is wrong with the file.

        Raises:
            AudioError: the file cannot be decoded, or there is nothing to hear in it: silence, or less than 0.1 s.
        """
        decoded = decode(path)
        facts = decoded.facts()
        if reason := inaudible(facts):
            raise AudioError(path, reason)
        samples, window = decoded.samples, self.window_seconds
        scores = scores_of_samples(self.model, self.architecture, samples, self.hop_seconds, window)
        return Heard(dict(zip(self.architecture.tags, map(float, scores), strict=True)), self._warnings(facts))

    def listen(self, path: Path) -> dict[str, float]:
        """The scores alone, see `hear`."""
        return self.hear(path).scores

    def _warnings(self, facts: dict[str, Any]) -> list[str]:
        """What is wrong with a file, by the limits of the training.

        A version without limits judges the length by its window, and takes any level above silence, any clipping and
        any offset.
        """
        window = window_samples(self.architecture, self.window_seconds) / self.architecture.sample_rate
        limits = self.limits or AudioLimits(min_seconds=window, silence_dbfs=FAINTEST, max_clipped=1, max_dc=1)
        warnings, seconds = judge(facts, limits), facts["source_seconds"]
        if seconds < min(limits.min_seconds, window):
            padding = f"{1 - seconds / window:.0%} of the window of {window:g} s is padding"
            warnings.append(f"the model hears it again and again: {padding}")
        return warnings

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """MLflow's entry: column `audio`, bytes of audio files -> one float64 column per tag.

        Files may be in any format of `decoding.formats`. A row without usable audio gets NaN and a warning with the
        reason. The other rows are scored, with a warning where validation would have something to say of the file.
        """
        rows = np.full((len(frame), len(self.architecture.tags)), np.nan)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "audio"
            for row, content in enumerate(frame[AUDIO]):
                path.write_bytes(content)
                try:
                    heard = self.hear(path)
                except AudioError as error:
                    logger.warning("row %d: not tagged: %s", row, error.reason)
                    continue
                rows[row] = list(heard.scores.values())
                if heard.warnings:
                    logger.warning("row %d: tagged, but %s", row, "; ".join(heard.warnings))
        return pd.DataFrame(rows, columns=list(self.architecture.tags), index=frame.index)


def _load_pyfunc(data_path: str) -> AudioTagger:
    """The function that `mlflow.pyfunc.load_model` calls."""
    return AudioTagger.load(Path(data_path))
