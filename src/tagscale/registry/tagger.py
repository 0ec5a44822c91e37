"""The tagger of audio files. The registered model and tagscale's own commands both run it.

This module is the entry point of the packaged model (`_load_pyfunc`), so it imports only what tagging needs. It reads
weights and JSON, and never executes anything in a packaged model's data.
"""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from tagscale.decoding.decode import decode
from tagscale.decoding.opened import AudioError
from tagscale.evaluation.predict import scores_of_samples
from tagscale.models.build import Architecture
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, write_json
from tagscale.training import checkpoint

LISTENING = "listening.json"  # beside the checkpoint: step of the moving window, groups of the tags
AUDIO = "audio"  # the input column: bytes of audio files

logger = logging.getLogger(__name__)


@dataclass
class AudioTagger:
    """A trained front-end with the settings for tagging files.

    hop_seconds: step of the moving window over a song; scores are means over its windows (section 4).
    groups: tag -> the group it belongs to in its taxonomy (genre, mood ...).
    window_seconds: length of that window; None: the patches that the model was trained on.
    """

    model: nn.Module
    architecture: Architecture
    hop_seconds: float
    groups: dict[str, str]
    window_seconds: float | None = None

    @classmethod
    def load(cls, folder: Path) -> "AudioTagger":
        """Read what `save` wrote. Raises TagscaleError naming the file that is missing or damaged."""
        model, architecture = checkpoint.load(folder, "tagscale register")
        try:
            listening = read_json(folder / LISTENING)
            window = listening.get("window_seconds")  # missing in older versions
            return cls(model, architecture, listening["hop_seconds"], listening["groups"], window)
        except (OSError, ValueError, KeyError) as error:
            raise TagscaleError(
                f"{folder / LISTENING}: missing or damaged ({error!r}); register the run again."
            ) from None

    def save(self, folder: Path) -> None:
        """Write the checkpoint and the settings for tagging into a new folder."""
        checkpoint.save(folder, self.model, self.architecture)
        listening = {"hop_seconds": self.hop_seconds, "window_seconds": self.window_seconds, "groups": self.groups}
        write_json(folder / LISTENING, listening)

    def listen(self, path: Path) -> dict[str, float]:
        """Score of every tag for one audio file of any length, in [0, 1]. Raises AudioError with the reason."""
        samples = decode(path).samples
        scores = scores_of_samples(self.model, self.architecture, samples, self.hop_seconds, self.window_seconds)
        return dict(zip(self.architecture.tags, map(float, scores), strict=True))

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """MLflow's entry: column `audio`, bytes of audio files -> one float64 column per tag.

        Files may be in any format of `decoding.formats`. A row without usable audio gets NaN and a warning with the
        reason. The other rows are scored.
        """
        rows = np.full((len(frame), len(self.architecture.tags)), np.nan)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "audio"
            for row, content in enumerate(frame[AUDIO]):
                path.write_bytes(content)
                try:
                    rows[row] = list(self.listen(path).values())
                except AudioError as error:
                    logger.warning("row %d: not tagged: %s", row, error.reason)
        return pd.DataFrame(rows, columns=list(self.architecture.tags), index=frame.index)


def _load_pyfunc(data_path: str) -> AudioTagger:
    """The function that `mlflow.pyfunc.load_model` calls."""
    return AudioTagger.load(Path(data_path))
