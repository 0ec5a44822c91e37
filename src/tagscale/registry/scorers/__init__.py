"""Scorers: whatever gives a recording a score per tag, be it a network, trees on descriptors, or the mean of several.

A scorer is a folder: scorer.json says its kind, and the files beside it are that kind's own. Loading one reads weights
and JSON, and executes nothing. A kind imports its libraries only when one of it is loaded, so a packaged model needs
those of its own kind alone.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from tagscale import SAMPLE_RATE
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, write_json
from tagscale.runtime.machine import asleep

if TYPE_CHECKING:  # pandas takes a second to import, and tagging needs neither
    import pandas as pd

    from tagscale.store.read import Store

Embeddings = np.ndarray | list[None]
T = TypeVar("T")
Heard = tuple[np.ndarray, Embeddings]
Span = tuple[int, int]  # of a recording: its first sample, and the one behind its last
FILE, FORMAT = "scorer.json", 1
COMMAND = "tagscale register"  # writes the folder again
# kind -> its module in this folder, and the class there
KINDS = {
    "network": ("network", "NetworkScorer"),
    "trees": ("trees", "TreesScorer"),
    "mean": ("mean", "MeanScorer"),
    "ensemble": ("ensemble", "EnsembleScorer"),
}


class Scorer(ABC):
    """A score in [0, 1] per tag, for recordings of any length.

    Attributes:
        kind: key of `KINDS`
        needs: packages that this kind needs beside those of every tagger
        shorter: what it does with a recording that is shorter than `seconds`
        excerpts: length and step, in seconds, of the excerpts that `windows` scores
        raster: length and step, in seconds, of the windows whose mean its scores are; None where there are none
        dims: numbers of an embedding; 0 where it gives none
        tags, kinds: the outputs, in order; kinds are classification | regression
        seconds: the shortest recording that it hears as it is
    """

    kind: ClassVar[str]
    needs: tuple[str, ...]
    shorter: str
    tags: tuple[str, ...]
    kinds: tuple[str, ...]

    @property
    def raster(self) -> tuple[float, float] | None:
        return None

    @property
    @abstractmethod
    def seconds(self) -> float: ...

    @property
    @abstractmethod
    def excerpts(self) -> tuple[float, float]: ...

    @property
    @abstractmethod
    def dims(self) -> int: ...

    @abstractmethod
    def hear(self, recordings: Sequence[np.ndarray], embed: bool = False) -> Heard:
        """Scores, and embeddings where they are asked for, of recordings of any length; in one batch.

        Args:
            recordings: one at least, each (n,) mono, 16 kHz; int16, or floats in [-1, 1]
        Returns:
            scores (recordings, tags) float32 in [0, 1]; embeddings (recordings, dims) float32, or a None each where
            none are asked for, or the model gives none
        Raises:
            TagscaleError: a recording without samples, or with floats that are not numbers.
        """

    def scores_of(self, recordings: Sequence[np.ndarray]) -> np.ndarray:
        """Scores of recordings: (recordings, tags) float32 in [0, 1]. Arguments and errors as of `hear`."""
        return self.hear(recordings)[0]

    def scores(self, samples: np.ndarray) -> np.ndarray:
        """Scores of one recording: (tags,) float32 in [0, 1]. Samples and errors as of `hear`."""
        return self.scores_of([samples])[0]

    def embed(self, samples: np.ndarray) -> np.ndarray:
        """The embedding of one recording: (dims,) float32. Samples and errors as of `hear`.

        Of a network: what its last layer sees (`models.tagger.Tagger.encode`), averaged over the moving window; of a
        probe that is the output of its encoder. Of trees: the descriptors, standardised by the mean and the deviation
        of the training tracks. Of a mean or an ensemble: see `MeanScorer`.

        Raises:
            TagscaleError: also where this model gives no embedding.
        """
        self.require_embeddings()
        (embedding,) = self.hear([samples], embed=True)[1]
        assert embedding is not None
        return embedding

    def require_embeddings(self) -> None:
        """Raise TagscaleError where this model gives no embedding."""
        if not self.dims:
            raise TagscaleError(
                "This model gives no embedding: an earlier tagscale trained its trees and kept no means of their "
                "descriptors. Train and register it again."
            )

    def listen(
        self, samples: np.ndarray, spans: Sequence[Span], embed: bool = False, turn_seconds: float = math.inf
    ) -> Generator[None, None, Heard]:
        """Hear parts of a recording, each as a recording of its own, in turns; windows that parts share are heard once.

        Args:
            samples: of the recording, as of `hear`
            spans: its parts; one at least
            turn_seconds: of audio in a turn, about. Of trees, a piece of a part of up to ten minutes has one turn
        Yields:
            after each turn
        Returns:
            as `hear`, of the parts
        """
        heard = list[Heard]()
        for turn in in_turns(spans, turn_seconds):
            heard.append(self.hear([samples[begin:end] for begin, end in turn], embed))
            yield
        scores, embeddings = zip(*heard, strict=True)
        has = isinstance(embeddings[0], np.ndarray)
        return np.concatenate(scores), np.concatenate(embeddings) if has else [None] * len(spans)

    def spans(self, samples: int, hop_seconds: float | None = None) -> list[Span]:
        """The excerpts that `windows` scores. Arguments and errors as there."""
        seconds, step = self.excerpts
        step = step if hop_seconds is None else hop_seconds
        if not math.isfinite(step) or round(step * SAMPLE_RATE) < 1:
            raise TagscaleError(f"hop_seconds: found {step:g}, expected {1 / SAMPLE_RATE:g} s, one sample, or more.")
        return windows_of((0, samples), round(seconds * SAMPLE_RATE), round(step * SAMPLE_RATE))

    def windows(self, samples: np.ndarray, hop_seconds: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Scores over time: those of excerpts of the recording, each scored as a recording of its own.

        The excerpts are as long as `excerpts` says, and the last one ends where the recording ends. For a network they
        are the windows whose mean `scores` is.

        Args:
            samples: as of `hear`
            hop_seconds: step of the excerpts; by default that of `excerpts`
        Returns:
            times (windows,) of the middle of each excerpt in seconds, scores (windows, tags)
        Raises:
            TagscaleError: as `hear`, or a step that is not positive.
        """
        spans = self.spans(len(samples), hop_seconds)
        return middles(spans), result_of(self.listen(samples, spans))[0]

    @abstractmethod
    def predict(self, store: "Store", tracks: Sequence[str]) -> "pd.DataFrame":
        """Scores of tracks of a store: index track_id in the given order, one float32 column a tag."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What scorer.json says beside format and kind."""

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Add the files of this kind to a folder; equal scorers give equal bytes."""

    @classmethod
    @abstractmethod
    def read(cls, folder: Path, facts: Mapping[str, Any]) -> "Scorer":
        """Read what `write` wrote; `facts` are the content of scorer.json."""

    @classmethod
    def joined(cls, members: Sequence["Scorer"], weights: Sequence[float]) -> "Scorer | None":
        """A scorer that gives the weighted mean of members of this kind for less than each of them costs; else None."""
        return None

    def save(self, folder: Path) -> None:
        """Add the scorer's files to a folder."""
        self.write(folder)
        write_json(folder / FILE, {"format": FORMAT, "kind": self.kind} | self.facts())


def windows_of(span: Span, length: int, hop: int) -> list[Span]:
    """The positions of a moving window over a part of a recording; the last one ends where the part ends.

    >>> windows_of((100, 180), 30, 20), windows_of((100, 110), 30, 20)
    ([(100, 130), (120, 150), (140, 170), (150, 180)], [(100, 110)])
    """
    begin, end = span
    last = max(end - length, begin)
    return [(start, min(start + length, end)) for start in [*range(begin, last, hop), last]]


def middles(spans: Sequence[Span]) -> np.ndarray:
    """The middle of each part of a recording, in seconds."""
    return np.array(spans).mean(axis=1) / SAMPLE_RATE


def result_of(work: Generator[None, None, T]) -> T:
    """What a generator returns at its end."""
    while True:
        try:
            next(work)
        except StopIteration as ended:
            result: T = ended.value
            return result


def in_turns(spans: Sequence[Span], seconds: float) -> Iterator[list[Span]]:
    """The parts in lists of so many seconds, or of one part."""
    turn, length = list[Span](), 0.0
    for begin, end in spans:
        own = (end - begin) / SAMPLE_RATE
        if turn and length + own > seconds:
            yield turn
            turn, length = [], 0.0
        turn.append((begin, end))
        length += own
    yield turn


@asleep()
def load_scorer(folder: Path) -> Scorer:
    """The scorer that `save` wrote into a folder.

    Raises:
        TagscaleError: a file is missing or damaged, or of a kind or format that this tagscale does not know.
    """
    file = Path(folder) / FILE
    try:
        facts = dict(read_json(file))
        kind, version = facts["kind"], facts["format"]
        if version != FORMAT or kind not in KINDS:
            expected = f"format {FORMAT} and one of {', '.join(KINDS)}"
            raise TagscaleError(
                f"{file}: format {version!r} and kind {kind!r}, expected {expected}. A newer tagscale wrote it: "
                f"install that one, or run `{COMMAND}` again."
            )
        module, name = KINDS[kind]
        loaded: Scorer = getattr(import_module(f"{__name__}.{module}"), name).read(Path(folder), facts)
        return loaded
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TagscaleError(f"{file}: missing or damaged ({error!r}); register the run again.") from None
