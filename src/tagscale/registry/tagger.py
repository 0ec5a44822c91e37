"""The tagger of audio files. The registered model and tagscale's own commands both run it.

This module is the entry point of the packaged model (`_load_pyfunc`), so it imports only what tagging needs, and no
library that one kind of model alone needs. It reads weights and JSON, and never executes anything in a packaged model's
data.
"""

import json
import logging
import re
import tempfile
from base64 import b64decode
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tagscale import SAMPLE_RATE
from tagscale.decoding.audio import decode_audio
from tagscale.decoding.decode import MAX_SECONDS, Decoded, decode
from tagscale.decoding.opened import AudioError
from tagscale.evaluation.decisions import DECISIONS, Decisions
from tagscale.params.blocks import AudioLimits
from tagscale.registry.profile import PROFILE, Profile, read_profile, write_profile
from tagscale.registry.scorers import Scorer, load_scorer, middles
from tagscale.registry.tags import Tags
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import digest_of, read_json, replacing, sha256_of, write_json
from tagscale.validation.faults import FAINTEST, inaudible, judge

LISTENING = "listening.json"  # beside the scorer: groups of the tags, limits of audio files
AUDIO = "audio"  # the input column: bytes of audio files
OUTPUT = "output"  # the parameter of `predict`
SCORES, PROBABILITIES, JSON = "scores", "probabilities", "json"
OUTPUTS = (SCORES, PROBABILITIES, "decisions", JSON)  # its values; the first is the default
RESULT = "result"  # the only column of the output `json`
PATHS = "paths"  # key of MLflow's model_config
NO_PATH = f"; text is base64 here, and a path only where the model is loaded with model_config={{'{PATHS}': True}}"
BATCH_SECONDS, BATCH_RECORDINGS = 240.0, 32  # of audio that is heard at once; see evaluation.predict
Windows = tuple[np.ndarray, np.ndarray] | None
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]+=*\s*")

logger = logging.getLogger(__name__)


@dataclass
class AudioTagger:
    """A scorer of any kind with the settings for tagging files.

    groups: tag -> the group it belongs to in its taxonomy (genre, mood ...).
    limits: those of the audio files that it was trained on; None of a published encoder.
    decisions: calibrations and thresholds of the classification tags; None of a published encoder.
    longest: seconds of a file that is decoded; a longer one is rejected.
    profile: of the data that it was tested on; None of a published encoder.
    sha256: of the files that it was loaded from; "" where it was not.
    paths: `predict` takes text for the path of a file. Whoever loads the model says so, and no request: it reads files.
    """

    scorer: Scorer
    groups: dict[str, str]
    limits: AudioLimits | None = None
    decisions: Decisions | None = None
    longest: float = MAX_SECONDS
    profile: Profile | None = None
    sha256: str = ""
    paths: bool = False

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
            limits = listening["limits"]
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

    def listen(
        self, recording: Decoded, embed: bool, course: bool, turn_seconds: float
    ) -> Generator[None, None, tuple[Tags, Windows]]:
        """Hear one recording, with its course in time where it is asked for, in turns: see `Scorer.listen`.

        Returns:
            its tags as `hear` gives them; times and scores as `Scorer.windows` gives them, or None
        """
        if reason := inaudible(recording.facts()):
            return Tags("", error=reason, facts=_facts(recording)), None
        excerpts = self.scorer.spans(len(recording.samples)) if course else []
        spans = [(0, len(recording.samples)), *excerpts]
        scores, embeddings = yield from self.scorer.listen(recording.samples, spans, embed, turn_seconds)
        windows = (middles(excerpts), scores[1:]) if course else None
        return self._tags(recording, scores[0], embeddings[0]), windows

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

    def hear_each(self, decoded: Iterable[Decoded | str]) -> Iterator[Tags]:
        """Results of recordings, or of the reasons why there are none, in order; they are heard in batches.

        Each has "" as its name.
        """
        batch, seconds = list[Decoded | str](), 0.0
        for one in decoded:
            batch.append(one)
            seconds += 0 if isinstance(one, str) else len(one.samples) / SAMPLE_RATE
            if seconds >= BATCH_SECONDS or len(batch) >= BATCH_RECORDINGS:
                yield from self._heard(batch)
                batch, seconds = [], 0.0
        yield from self._heard(batch)

    def _heard(self, batch: Sequence[Decoded | str]) -> Iterator[Tags]:
        heard = iter(self.hear([one for one in batch if not isinstance(one, str)]))
        for one in batch:
            yield Tags("", error=one) if isinstance(one, str) else next(heard)

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
            TagscaleError: a version without decisions is asked for more than scores.
        """
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
        """MLflow's entry: column `audio`, bytes of audio files, or base64 of them -> one float64 column per tag.

        With `paths`, text is the path of a file.

        The parameter `output` says what the columns hold: `scores`; `probabilities`, calibrated; or `decisions`, 1
        where the score reaches the tag's threshold and 0 elsewhere. A regression tag has its score in all three. A row
        without usable audio has NaN, and the log has the reason. With `json` there is one column of text, `result`:
        what `Tags.as_dict` says of each row, its reason included. So no tag is mistaken for another column.

        Files may be in any format of `decoding.formats`. The log also warns where validation would have something to
        say of a file.
        """
        output = str((params or {}).get(OUTPUT, SCORES))
        if output not in OUTPUTS:
            raise TagscaleError(f"{OUTPUT}: found {output!r}, expected one of {', '.join(OUTPUTS)}.")
        results = list(self.hear_each(_decoded(content, self.longest, self.paths) for content in frame[AUDIO]))
        for row, tags in enumerate(results):
            if tags.error:
                logger.warning("row %d: not tagged: %s", row, tags.error)
            elif tags.warnings:
                logger.warning("row %d: tagged, but %s", row, "; ".join(tags.warnings))
        if output == JSON:
            texts = np.array([json.dumps(tags.as_dict()) for tags in results], object)
            return pd.DataFrame({RESULT: texts}, index=frame.index)
        values = [{} if tags.error else self.as_output(tags.scores, output) for tags in results]
        rows = [[of_row.get(tag, np.nan) for tag in self.tags] for of_row in values]
        shape = len(rows), len(self.tags)
        return pd.DataFrame(np.array(rows).reshape(shape), columns=list(self.tags), index=frame.index, dtype=np.float64)


def _decoded(content: Any, longest: float, paths: bool) -> Decoded | str:
    """A row's recording, or why there is none.

    MLflow's server decodes base64 of some formats of requests (dataframe_split, dataframe_records) and hands that of
    others (inputs, instances) on as text or as its bytes. No audio file consists of the letters of base64 alone.
    """
    if pd.api.types.is_scalar(content) and pd.isna(content):
        return "nothing in place of a file's bytes"
    if not isinstance(content, str | bytes | bytearray | memoryview):
        return f"{type(content).__name__} in place of a file's bytes"
    hint = ""
    if isinstance(content, str) and not paths:
        content, hint = content.encode(), NO_PATH
    if not isinstance(content, str) and _BASE64.fullmatch(content := bytes(content)):
        with suppress(ValueError):  # of text that is no base64 either, which the decoder names
            content, hint = b64decode(content), ""
    try:
        return decode_audio(content, longest=longest)
    except AudioError as error:
        return error.reason + hint


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


def _load_pyfunc(data_path: str, model_config: Mapping[str, Any] | None = None) -> AudioTagger:
    """The function that `mlflow.pyfunc.load_model` calls; the key `paths` of model_config is the tagger's `paths`."""
    return replace(AudioTagger.load(Path(data_path)), paths=bool((model_config or {}).get(PATHS)))
