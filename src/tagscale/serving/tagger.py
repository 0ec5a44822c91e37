"""The Python API: a tagger that hears files, bytes and arrays, loaded by one name.

import tagscale

tagger = tagscale.load("champion")
tagger.tag("song.mp3").top(3)
"""

import os
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tagscale.decoding.audio import Audio, decode_audio, name_of
from tagscale.decoding.batch import decode_each
from tagscale.decoding.decode import Decoded
from tagscale.decoding.opened import AudioError
from tagscale.evaluation.decisions import Decisions
from tagscale.models.pretrained import is_published, model_name
from tagscale.params.load import evaluate_of, read_yaml, registered_model
from tagscale.registry.local_version import local_version
from tagscale.registry.tagger import LISTENING, AudioTagger
from tagscale.registry.tags import Tags
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.mlflow_env import TAGGER
from tagscale.serving.results import Taggram
from tagscale.validation.faults import inaudible

CHAMPION = "champion"
ALIASES = (CHAMPION, "challenger")
FOLDER = "folder"  # in place of a version's number, where a tagger comes from a folder
_SCHEME = "models:/"
_VERSION = re.compile(r"(?P<name>[^/@]+)[/@](?P<version>[^/@]+)")


@dataclass(frozen=True, eq=False)
class Tagger:
    """A tagger with its identity.

    Attributes:
        model: name of the registered model, of the published encoder, or of the folder
        version: its number; "published" or "folder" where it comes from no registry
        audio: what hears and scores
    """

    model: str
    version: str
    audio: AudioTagger = field(repr=False)

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
        (tags,) = self.hear([self._audible(audio, sample_rate)])
        return replace(tags, name=name_of(audio))

    def tag_all(self, audios: Iterable[Audio], sample_rate: int | None = None) -> Iterator[Tags]:
        """The tags of many recordings, in order; they are decoded in processes of their own and heard in batches.

        A recording that cannot be tagged comes with the reason as its `error`, and ends nothing.

        Args:
            sample_rate: Hz, of all arrays among them
        Raises:
            TypeError: one recording in place of many, as a path, whose letters would be taken for paths, or samples.
        """
        if isinstance(audios, str | bytes | bytearray | memoryview | os.PathLike) or _is_samples(audios):
            raise TypeError(
                f"tag_all takes many recordings, as [audio]; found {type(audios).__name__}. `tag` takes one."
            )
        names = deque[str]()

        def decoded() -> Iterator[Decoded | str]:
            for name, one in decode_each(audios, sample_rate, self.audio.longest):
                names.append(name)
                yield one

        for tags in self.audio.hear_each(decoded()):
            yield replace(tags, name=names.popleft())

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
        decoded = self._audible(audio, sample_rate)
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
        return self.audio.scorer.embed(self._audible(audio, sample_rate).samples)

    def _audible(self, audio: Audio, sample_rate: int | None) -> Decoded:
        decoded = decode_audio(audio, sample_rate, self.audio.longest)
        if reason := inaudible(decoded.facts()):
            raise AudioError(Path(name_of(audio)), reason)
        return decoded


def _is_samples(audios: Any) -> bool:
    """Whether these are the samples of one channel; a row of more dimensions is a recording."""
    return isinstance(audios, np.ndarray) and audios.ndim == 1 and audios.dtype.kind in "fiu"


def load(which: str | Path = CHAMPION) -> Tagger:
    """The tagger of that name, run by the installed code.

    Args:
        which: "champion", "challenger" or a number, of the model that params.yaml names (registry.name), else of
            tagscale-tagger; "other-model/4", "other-model@champion", also with "models:/" before it; the name alone of
            another model, for its champion; a published encoder, "msd-musicnn"; or a folder: a packaged model, the
            tagger in one, or a trained run. A text names a folder where it has a slash and the folder exists.
    Raises:
        TagscaleError: there is none of that name; or its files are missing, damaged or of another tagscale.
    """
    _hear_in_forks()
    text = str(which)
    if isinstance(which, Path) or (os.sep in text and Path(text).is_dir()):
        return _from_folder(Path(which))
    text = text.removeprefix(_SCHEME)
    if not text or text.startswith((".", os.sep)) or text.count(os.sep) > 1:
        expected = "a version (champion, 4, other-model/4), a published encoder, or a folder that exists"
        raise TagscaleError(f"{str(which)!r}: no such folder, and no name of a version; expected {expected}.")
    if match := _VERSION.fullmatch(text):
        return load_model(match["name"], match["version"])
    return load_model(registered_model(), text) if text in ALIASES or text.isdigit() else load_model(text)


@cache
def _hear_in_forks() -> None:
    """Let processes that are forked from now on hear, as web servers do that load before they fork.

    OpenMP's threads do not survive a fork, and PyTorch would wait for them for ever: such a process has one thread.
    """

    def hear_with_one_thread() -> None:
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)

    os.register_at_fork(after_in_child=hear_with_one_thread)


def load_model(name: str, version: str | None = None) -> Tagger:
    """The tagger of a registered model; of a published encoder also without a registry.

    Args:
        version: number or alias. When not given, a published encoder is read from its folder, and from the registry
            where it is not there; of any other model it is the champion.
    Raises:
        TagscaleError: see `load`.
    """
    if version is not None or not is_published(name):
        return _registered(name, version or CHAMPION)
    from tagscale.registry.published import RELEASED, published_tagger

    try:
        return Tagger(model_name(name), RELEASED, published_tagger(name))
    except TagscaleError as missing:
        from tagscale.registry.versions import NoSuchModel

        try:
            return _registered(model_name(name), CHAMPION)  # a machine without the folder may have the registry
        except NoSuchModel:
            raise missing from None


def _registered(name: str, version: str) -> Tagger:
    if "mlflow" not in sys.modules and (local := local_version(name, version)):
        number, folder = local
        return Tagger(name, number, AudioTagger.load(folder))
    from tagscale.registry.package import load_version

    tagger, registered = load_version(name, version)
    return Tagger(registered.name, registered.number, tagger)


def _from_folder(folder: Path) -> Tagger:
    name = folder.resolve().name
    for inside in (folder / TAGGER, folder):
        if (inside / LISTENING).is_file():
            return Tagger(name, FOLDER, AudioTagger.load(inside))
    if (folder / "run.json").is_file():
        return Tagger(name, FOLDER, _of_run(folder.resolve()))
    raise TagscaleError(
        f"{folder}: no tagger there. Expected a packaged model (with {TAGGER}/{LISTENING}), the tagger in one "
        f"({LISTENING}), or the folder of a trained run (run.json)."
    )


def _of_run(run: Path) -> AudioTagger:
    """The tagger of a run's folder, with the window that the project's settings say; its tags are in no groups."""
    from tagscale.registry.trained import scorer_of

    project = next((folder for folder in run.parents if (folder / "params.yaml").is_file()), None)
    if project is None:
        raise TagscaleError(
            f"{run}: no params.yaml in a folder above it, whose block `evaluate` says how the model's window moves. "
            "Leave the run in its project, or register it."
        )
    window = evaluate_of(read_yaml(project / "params.yaml"), str(project / "params.yaml"))
    folders = {path.parent.name: path.parent for path in project.glob("**/runs/*/run.json")}
    tagger = AudioTagger(scorer_of(run, folders, window), {})
    return replace(tagger, sha256=tagger.digest())
