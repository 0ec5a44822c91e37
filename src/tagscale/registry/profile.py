"""The profile of a version's data: what its model says of tracks that it has not learned from, and how these sound.

`tagscale watch` compares what was served with it. The tracks are those of the test part: no weight, no early stopping,
no calibration and no threshold comes from them, so the model scores them as it scores new music of the same kind. In a
partition in folds they are all tracks, each scored by the mean of the two models that were not trained on it.

The profile keeps the values of each track, not a summary of them, so that any statistic of two samples can be computed
later. Of a large part it keeps a sample. Scores and measurements were there before; embeddings are made for the
profile, of the middle of a few tracks. A packaged model carries this module.
"""

import json
from collections.abc import Callable, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError, model_validator

from tagscale.decoding.formats import FORMATS
from tagscale.runtime.block import Block
from tagscale.runtime.errors import TagscaleError

PROFILE = "profile.json"  # the file that holds it, beside listening.json in a packaged model
MOST_TRACKS = 1000  # 1.5 MB with 140 tags; the standard error of an AUC from more is below 0.01 on their side
SEED = 1
MOST_EMBEDDED, EMBEDDED_SECONDS = 60, 30.0  # tracks, and of each: half an hour of audio, tagged in seconds
MEASURES = {  # name here and in rows of scores -> name among the facts of decoding
    "seconds": "source_seconds",
    "rate": "source_rate",
    "channels": "channels",
    "rms_dbfs": "rms_dbfs",
    "peak": "peak",
    "clipped": "clipped",
}


class Profile(Block):
    """Scores and measurements of unseen tracks; every list has a value a track, in the same order.

    tracks: of the test part; the lists hold so many, or `MOST_TRACKS`
    folds: of the partition, whose models scored the two folds that each was not trained on; 0: one model scored all
    artists: number of each track's artist
    scores: tag -> scores in [0, 1]
    measures: key of `MEASURES` -> values, None where nothing was measured
    formats: name of the audio format by the suffix, "" = unknown
    warned: whether the tagger warns of the track
    embedded: places of the tracks, among the others, that `embeddings` are of; none in a partition in folds, most of
        whose models have learned from each track, and where a model gives no embedding
    embeddings: of the middle of each of these
    """

    tracks: int = Field(ge=1)
    folds: int = Field(ge=0)
    artists: list[int]
    scores: dict[str, list[float]]
    measures: dict[str, list[float | None]]
    formats: list[str]
    warned: list[bool]
    embedded: list[int] = Field(default_factory=list)
    embeddings: list[list[float]] = Field(default_factory=list)

    @model_validator(mode="after")
    def one_value_a_track(self) -> "Profile":
        columns: dict[str, Sized] = {"formats": self.formats, "warned": self.warned, **self.scores, **self.measures}
        sizes = {name: len(values) for name, values in columns.items()}
        if len(self.embedded) != len(self.embeddings) or not set(self.embedded) <= set(range(len(self.artists))):
            raise ValueError(f"embedded: expected {len(self.embeddings)} places of tracks")
        if wrong := [name for name, size in sizes.items() if size != len(self.artists)]:
            raise ValueError(f"{wrong[0]} has {sizes[wrong[0]]} values, expected {len(self.artists)} as of artists")
        return self

    def __len__(self) -> int:
        return len(self.artists)


def profile_of(
    scores: pd.DataFrame,
    facts: pd.DataFrame,
    artists: Sequence[int] | np.ndarray,
    paths: Sequence[str],
    warnings: Callable[[Any], Sequence[str]],
    folds: int = 0,
    embed: Callable[[Sequence[str]], np.ndarray] | None = None,
) -> Profile:
    """The profile of tracks.

    Args:
        scores: (tracks, tags), index track_id
        facts: of decoding, as the store keeps them, with the same index
        artists, paths: of each track, in the order of `scores`
        warnings: what a tagger says of a file of such facts, given by name
        embed: gives the embeddings of tracks, (tracks, dims); None: there are none
    """
    random = np.random.default_rng(SEED)
    rows = np.sort(random.permutation(len(scores))[:MOST_TRACKS])
    embedded = np.sort(random.permutation(len(rows))[:MOST_EMBEDDED] if embed else np.zeros(0, int))
    embeddings = embed([str(track) for track in scores.index[rows[embedded]]]) if embed else np.zeros((0, 0))
    kept, values = facts.loc[scores.index[rows]], scores.to_numpy(np.float32)[rows]
    return Profile(
        tracks=len(scores),
        folds=folds,
        artists=np.asarray(artists)[rows].tolist(),
        scores={str(tag): list(map(shortest, values[:, place])) for place, tag in enumerate(scores.columns)},
        measures={name: _numbers(kept[fact]) for name, fact in MEASURES.items()},
        formats=[format_by_suffix(str(path)) for path in np.asarray(paths, object)[rows]],
        warned=[bool(warnings(row)) for row in kept.to_dict("records")],
        embedded=embedded.tolist(),
        embeddings=[[float(f"{value:.5g}") for value in embedding] for embedding in embeddings],
    )


def format_by_suffix(path: str) -> str:
    """The first name of the audio format that has the suffix of a path or address; "" where none has.

    >>> format_by_suffix("Artist/Album/1.OPUS"), format_by_suffix("notes.txt")
    ('ogg', '')
    """
    suffix = Path(path).suffix.lower()
    return next((entry.names[0] for entry in FORMATS if suffix in entry.suffixes), "")


def write_profile(profile: Profile, path: Path) -> None:
    """Write a profile as JSON, a line a list."""
    path.write_text(json.dumps(profile.model_dump(), separators=(",", ":")).replace("],", "],\n") + "\n", "utf-8")


def read_profile(path: Path) -> Profile | None:
    """Read what `write_profile` wrote; None where there is no file, as beside a published encoder.

    Raises:
        TagscaleError: the file is damaged.
    """
    try:
        return Profile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise TagscaleError(f"{path}: damaged ({problem}); register the run again.") from None
    except OSError as error:
        raise TagscaleError(f"{path}: cannot be read ({error}); register the run again.") from None


def shortest(value: float) -> float:
    """The number of the fewest digits that is the same float32.

    >>> shortest(float(np.float32(0.1)))
    0.1
    """
    return float(str(np.float32(value)))


def _numbers(values: pd.Series) -> list[float | None]:
    return [None if pd.isna(value) else float(f"{value:.6g}") for value in values]
