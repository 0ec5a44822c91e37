"""The tagger of audio files. The registered model and tagscale's own commands both run it.

This module is the entry point of the packaged model (`_load_pyfunc`), so it imports only what tagging needs, and no
library that one kind of model alone needs. It reads weights and JSON, and never executes anything in a packaged model's
data.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tagscale.decoding.decode import MAX_SECONDS, Decoded, decode
from tagscale.decoding.opened import AudioError
from tagscale.evaluation.decisions import DECISIONS, Decisions
from tagscale.params.blocks import AudioLimits
from tagscale.registry.profile import PROFILE, Profile, read_profile, write_profile
from tagscale.registry.scorers import Scorer, load_scorer
from tagscale.registry.tags import Tags
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import digest_of, read_json, replacing, sha256_of, write_json
from tagscale.validation.faults import FAINTEST, inaudible, judge

LISTENING = "listening.json"  # beside the scorer: groups of the tags, limits of audio files
AUDIO = "audio"  # the input column: bytes of audio files
OUTPUT = "output"  # the parameter of `predict`
SCORES, PROBABILITIES = "scores", "probabilities"
OUTPUTS = (SCORES, PROBABILITIES, "decisions")  # its values; the first is the default

logger = logging.getLogger(__name__)


@dataclass
class AudioTagger:
    """A scorer of any kind with the settings for tagging files.

    groups: tag -> the group it belongs to in its taxonomy (genre, mood ...).
    limits: those of the audio files that it was trained on; None where a version of an earlier tagscale carries none.
    decisions: calibrations and thresholds of the classification tags; None where such a version carries none.
    longest: seconds of a file that is decoded; a longer one is rejected.
    profile: of the data that it was tested on; None where such a version, or a published encoder, carries none.
    sha256: of the files that it was loaded from; "" where it was not.
    """

    scorer: Scorer
    groups: dict[str, str]
    limits: AudioLimits | None = None
    decisions: Decisions | None = None
    longest: float = MAX_SECONDS
    profile: Profile | None = None
    sha256: str = ""

    @property
    def tags(self) -> tuple[str, ...]:
        return self.scorer.tags

    @property
    def kinds(self) -> dict[str, str]:
        """Tag -> classification | regression."""
        return dict(zip(self.scorer.tags, self.scorer.kinds, strict=True))

    @classmethod
    def load(cls, folder: Path) -> "AudioTagger":
        """Read what `save` wrote. Raises TagscaleError naming the file that is missing or damaged."""
        try:
            listening = read_json(folder / LISTENING)
            limits = listening.get("limits")  # missing in older versions
            groups, limits = dict(listening["groups"]), AudioLimits.model_validate(limits) if limits else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TagscaleError(
                f"{folder / LISTENING}: missing or damaged ({error!r}); register the run again."
            ) from None
        decisions, profile = _read_decisions(folder / DECISIONS), read_profile(folder / PROFILE)
        return cls(load_scorer(folder), groups, limits, decisions, profile=profile, sha256=digest_of_folder(folder))

    def save(self, folder: Path) -> None:
        """Write the scorer and the settings for tagging as a folder of its own; an earlier one is replaced."""
        limits = self.limits.model_dump() if self.limits else None
        with replacing(folder) as fresh:
            fresh.mkdir()
            self.scorer.save(fresh)
            write_json(fresh / LISTENING, {"groups": self.groups, "limits": limits})
            if self.decisions:
                write_json(fresh / DECISIONS, self.decisions.model_dump())
            if self.profile:
                write_profile(self.profile, fresh / PROFILE)

    def digest(self) -> str:
        """SHA-256 of the files that `save` writes."""
        with tempfile.TemporaryDirectory() as temporary:
            self.save(Path(temporary) / "tagger")
            return digest_of_folder(Path(temporary) / "tagger")

    def hear(self, recordings: Sequence[Decoded], embed: bool = False) -> list[Tags]:
        """Score every tag for decoded recordings of any length, in one batch, and say what is wrong with each.

        A recording with nothing to hear in it, silence or less than 0.1 s, gets the reason as its error.

        Args:
            embed: also give the embeddings of the recordings, see `Scorer.embed`
        Returns:
            a result each, in order, with "" as its name
        """
        reasons = [inaudible(recording.facts()) for recording in recordings]
        audible = [recording.samples for recording, reason in zip(recordings, reasons, strict=True) if not reason]
        heard = zip(*self.scorer.hear(audible, embed), strict=True) if audible else iter(())
        return [
            Tags("", error=reason, facts=_facts(recording)) if reason else self._tags(recording, *next(heard))
            for recording, reason in zip(recordings, reasons, strict=True)
        ]

    def _tags(self, recording: Decoded, scores: np.ndarray, embedding: np.ndarray | None) -> Tags:
        by_tag = dict(sorted(zip(self.tags, map(float, scores), strict=True), key=lambda item: -item[1]))
        return Tags(
            name="",
            scores=by_tag,
            warnings=self.warnings(recording.facts()),
            decided=self.decisions.decide(by_tag) if self.decisions else {},
            facts=_facts(recording),
            embedding=embedding,
            groups=self.groups,
            kinds=self.kinds,
        )

    def tag(self, path: Path) -> Tags:
        """The result for one audio file.

        Raises:
            AudioError: the file cannot be decoded, or there is nothing to hear in it.
        """
        (tags,) = self.hear([decode(path, self.longest)])
        if tags.error:
            raise AudioError(path, tags.error)
        return replace(tags, name=str(path))

    def as_output(self, scores: dict[str, float], output: str) -> dict[str, float]:
        """One recording's scores by tag, as `predict` gives them out.

        Raises:
            TagscaleError: no such output, or a version without decisions is asked for more than scores.
        """
        if output not in OUTPUTS:
            raise TagscaleError(f"{OUTPUT}: found {output!r}, expected one of {', '.join(OUTPUTS)}.")
        if output == SCORES:
            return scores
        if self.decisions is None:
            raise TagscaleError(f"This version has no decisions, so no {output}: register the run again.")
        decided = self.decisions.decide(scores)
        values = {tag: one.probability if output == PROBABILITIES else one.decided for tag, one in decided.items()}
        return {tag: float(values.get(tag, score)) for tag, score in scores.items()}

    def warnings(self, facts: Mapping[str, Any]) -> list[str]:
        """What is wrong with a file, by the limits of the training.

        A version without limits judges the length by its window, and takes any level above silence, any clipping and
        any offset.
        """
        window = self.scorer.seconds
        limits = self.limits or AudioLimits(min_seconds=window, silence_dbfs=FAINTEST, max_clipped=1, max_dc=1)
        warnings, seconds = judge(facts, limits), facts["source_seconds"]
        if seconds < min(limits.min_seconds, window):
            padding = f"{1 - seconds / window:.0%} of the window of {window:g} s is padding"
            warnings.append(f"{self.scorer.shorter}: {padding}")
        return warnings

    def predict(self, frame: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """MLflow's entry: column `audio`, bytes of audio files -> one float64 column per tag.

        The parameter `output` says what the columns hold: `scores`; `probabilities`, calibrated; or `decisions`, 1
        where the score reaches the tag's threshold and 0 elsewhere. A regression tag has its score in all three.

        Files may be in any format of `decoding.formats`. A row without usable audio gets NaN and a warning with the
        reason. The other rows are scored, with a warning where validation would have something to say of the file.
        """
        output = str((params or {}).get(OUTPUT, SCORES))
        rows = np.full((len(frame), len(self.tags)), np.nan)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "audio"
            for row, content in enumerate(frame[AUDIO]):
                path.write_bytes(content)
                try:
                    heard = self.tag(path)
                except AudioError as error:
                    logger.warning("row %d: not tagged: %s", row, error.reason)
                    continue
                values = self.as_output(heard.scores, output)
                rows[row] = [values[tag] for tag in self.tags]
                if heard.warnings:
                    logger.warning("row %d: tagged, but %s", row, "; ".join(heard.warnings))
        return pd.DataFrame(rows, columns=list(self.tags), index=frame.index)


def digest_of_folder(folder: Path) -> str:
    """SHA-256 over the names and contents of all files of a folder and of those in it, in the order of their names."""
    names = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())
    return digest_of({name: sha256_of(folder / name) for name in names})


def _facts(recording: Decoded) -> dict[str, Any]:
    return recording.facts() | {"format": recording.format}


def _read_decisions(path: Path) -> Decisions | None:
    """The decisions that lie beside a scorer; None where a version has none."""
    if not path.exists():
        return None
    try:
        return Decisions.model_validate(read_json(path))
    except (OSError, ValueError) as error:
        raise TagscaleError(f"{path}: damaged ({error}); register the run again.") from None


def _load_pyfunc(data_path: str) -> AudioTagger:
    """The function that `mlflow.pyfunc.load_model` calls."""
    return AudioTagger.load(Path(data_path))
