"""The Python API: a tagger that hears files, bytes and arrays, loaded by one name.

import tagscale

tagger = tagscale.load("champion")
tagger.tag("song.mp3").top(3)
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tagscale.decoding.audio import Audio, decode_audio, name_of
from tagscale.decoding.batch import decode_each
from tagscale.decoding.decode import Decoded
from tagscale.decoding.opened import AudioError
from tagscale.evaluation.decisions import Decisions
from tagscale.models.pretrained import is_published, model_name
from tagscale.params.load import registered_model
from tagscale.registry.scorers import SAMPLE_RATE
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.tags import Tags
from tagscale.serving.results import Taggram

CHAMPION = "champion"
FOLDER = "folder"  # in place of a version's number, where a tagger comes from a folder
BATCH_SECONDS, BATCH_RECORDINGS = 240.0, 32  # of audio that `tag_all` hears at once, at most
_SCHEME = "models:/"
_VERSION = re.compile(r"(?P<name>[^/@]+)[/@](?P<version>[^/@]+)")


@dataclass(frozen=True)
class Tagger:
    """A tagger with its identity.

    Attributes:
        model: name of the registered model, of the published encoder, or of the folder
        version: its number; "published" or "folder" where it comes from no registry
        audio: what hears and scores
    """

    model: str
    version: str
    audio: AudioTagger

    @property
    def sha256(self) -> str:
        """Digest of the files that the tagger was loaded from."""
        return self.audio.sha256

    @property
    def tags(self) -> tuple[str, ...]:
        return self.audio.tags

    @property
    def kinds(self) -> dict[str, str]:
        """Tag -> classification | regression."""
        return self.audio.kinds

    @property
    def groups(self) -> dict[str, str]:
        """Tag -> its group: genre, mood ..."""
        return self.audio.groups

    @property
    def decisions(self) -> Decisions | None:
        """Calibrations and thresholds of the classification tags; None where the model has none."""
        return self.audio.decisions

    def tag(self, audio: Audio, sample_rate: int | None = None) -> Tags:
        """The tags of one recording.

        Args:
            audio, sample_rate: a path, bytes, or samples with their rate, as `decoding.audio.decode_audio` takes them
        Raises:
            AudioError: it cannot be decoded, or there is nothing to hear in it; `reason` says why.
        """
        (tags,) = self.hear([self._decode(audio, sample_rate)])
        if tags.error:
            raise AudioError(Path(name_of(audio)), tags.error)
        return replace(tags, name=name_of(audio))

    def tag_all(self, audios: Iterable[Audio], sample_rate: int | None = None) -> Iterator[Tags]:
        """The tags of many recordings, in order; they are decoded in processes of their own and heard in batches.

        A recording that cannot be tagged comes with the reason as its `error`, and ends nothing.

        Args:
            sample_rate: Hz, of all arrays among them
        """
        names, batch, seconds = list[str](), list[Decoded | str](), 0.0
        for audio, decoded in decode_each(audios, sample_rate, self.audio.longest):
            names.append(name_of(audio))
            batch.append(decoded)
            seconds += 0 if isinstance(decoded, str) else len(decoded.samples) / SAMPLE_RATE
            if seconds >= BATCH_SECONDS or len(batch) >= BATCH_RECORDINGS:
                yield from self._tagged(names, batch)
                names, batch, seconds = [], [], 0.0
        yield from self._tagged(names, batch)

    def _tagged(self, names: Sequence[str], batch: Sequence[Decoded | str]) -> Iterator[Tags]:
        heard = iter(self.hear([decoded for decoded in batch if not isinstance(decoded, str)]))
        for name, decoded in zip(names, batch, strict=True):
            yield Tags(name, error=decoded) if isinstance(decoded, str) else replace(next(heard), name=name)

    def hear(self, decoded: Sequence[Decoded], embed: bool = False) -> list[Tags]:
        """The tags of decoded recordings, in one batch; with "" as names, and reasons as errors.

        Args:
            embed: also give their embeddings
        """
        return self.audio.hear(decoded, embed)

    def taggram(self, audio: Audio, sample_rate: int | None = None, hop_seconds: float | None = None) -> Taggram:
        """The tags of a recording over time, see `Scorer.windows`.

        Args:
            audio, sample_rate: as `tag` takes them
            hop_seconds: step of the windows; by default that of the model
        Raises:
            AudioError: as `tag`.
        """
        decoded = self._decode(audio, sample_rate)
        times, scores = self.audio.scorer.windows(decoded.samples, hop_seconds)
        return Taggram(name_of(audio), times, scores, self.tags, self.audio.scorer.excerpts[0])

    def embed(self, audio: Audio, sample_rate: int | None = None) -> np.ndarray:
        """The embedding of a recording, float32 (dims,), see `Scorer.embed`.

        Args:
            audio, sample_rate: as `tag` takes them
        Raises:
            AudioError: as `tag`.
            TagscaleError: this model gives no embedding.
        """
        return self.audio.scorer.embed(self._decode(audio, sample_rate).samples)

    def _decode(self, audio: Audio, sample_rate: int | None) -> Decoded:
        return decode_audio(audio, sample_rate, self.audio.longest)


def load(which: str | Path = CHAMPION) -> Tagger:
    """The tagger of that name, run by the installed code.

    Args:
        which: "champion", "challenger" or a number, of the model that params.yaml names (registry.name), else of
            tagscale-tagger; "other-model/4", "other-model@champion", also with "models:/" before it; a published
            encoder, "msd-musicnn"; or a folder: a packaged model, the tagger in one, or that of a trained run
    Raises:
        TagscaleError: there is none of that name; or its files are missing, damaged or of another tagscale.
    """
    text = str(which)
    if isinstance(which, Path) or ("/" in text and Path(text).is_dir()):
        return Tagger(Path(which).resolve().name, FOLDER, AudioTagger.load(Path(which)))
    if is_published(text):
        from tagscale.registry.published import RELEASED, published_tagger

        return Tagger(model_name(text), RELEASED, published_tagger(text))
    from tagscale.registry.package import load_version

    match = _VERSION.fullmatch(text.removeprefix(_SCHEME))
    name, version = (match["name"], match["version"]) if match else (registered_model(), text)
    tagger, registered = load_version(name, version)
    return Tagger(registered.name, registered.number, tagger)
