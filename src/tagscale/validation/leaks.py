"""Leaks: artists, albums and recordings that have tracks in more than one part of a split.

A model that heard an artist in training recognises that artist in the test tracks, and its scores are too good. Tracks
of one album share the studio as well, and identical recordings share everything (Flexer 2007, "A closer look on artist
filters for musical genre classification"). Annotations alone show all of this except identical audio.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

PARTS = ["train", "valid", "test"]
KINDS = ["artist", "album", "recording", "audio"]


@dataclass(frozen=True)
class Crossing:
    """What crosses a split, for keys of one kind.

    kind: artist, album, recording or audio.
    test_keys: different keys in test; test_keys_in_train: those of them that are in train, too.
    test_tracks: tracks in test; test_tracks_by_train: those of them whose key is in train, too.
    unknown: tracks in test whose key is unknown; they cross nothing.
    crossing: index key, columns train, valid and test (numbers of tracks), one row a key in more than one part, the
        keys with the most test tracks first.
    """

    kind: str
    test_keys: int
    test_keys_in_train: int
    test_tracks: int
    test_tracks_by_train: int
    unknown: int
    crossing: pd.DataFrame

    def in_both(self, one: str, other: str) -> int:
        """How many keys have tracks in both of two parts."""
        return int(((self.crossing[one] > 0) & (self.crossing[other] > 0)).sum())


def crossings(tracks: pd.DataFrame, audio: pd.Series | None = None) -> list[Crossing]:
    """What crosses a split: a Crossing for artists, albums, recordings and, where hashes are given, identical audio.

    An unknown key ("") is never the same as another unknown one. Artist and album together identify an album,
    because many artists have a "Greatest Hits". So an album of several artists counts once for each artist, and an
    album of an unknown artist is unknown.

    Args:
        tracks: track_id, artist, album, recording and split (train, valid, test; None = not in the split).
        audio: hash of each track's decoded audio, index track_id; tracks may be missing. None: unknown for all.
    """
    used = tracks[tracks["split"].isin(PARTS)]
    part = pd.Categorical(used["split"], categories=PARTS).codes
    artist, album = used["artist"].fillna(""), used["album"].fillna("")
    keys = {
        "artist": artist,
        "album": (artist + "\x1f" + album).where((artist != "") & (album != ""), ""),
        "recording": used["recording"].fillna(""),
    }
    if audio is not None:
        keys["audio"] = used["track_id"].map(audio).fillna("")
    return [_crossing(kind, keys[kind], part) for kind in KINDS if kind in keys]


def _crossing(kind: str, keys: pd.Series, part: np.ndarray) -> Crossing:
    known = (keys != "").to_numpy()
    codes, names = pd.factorize(keys[known])
    cells = np.bincount(codes * len(PARTS) + part[known], minlength=len(names) * len(PARTS))
    counts = pd.DataFrame(cells.reshape(-1, len(PARTS)), index=pd.Index(names, name=kind, dtype=object), columns=PARTS)
    in_train = counts["train"] > 0
    crossing = counts[(counts > 0).sum(axis=1) > 1].sort_index()
    return Crossing(
        kind=kind,
        test_keys=int((counts["test"] > 0).sum()),
        test_keys_in_train=int((in_train & (counts["test"] > 0)).sum()),
        test_tracks=int((part == PARTS.index("test")).sum()),
        test_tracks_by_train=int(counts.loc[in_train, "test"].sum()),
        unknown=int((part[~known] == PARTS.index("test")).sum()),
        crossing=crossing.sort_values(["test", "valid", "train"], ascending=False, kind="stable"),
    )


def artist_filtered(leaks: list[Crossing]) -> bool:
    """Whether no artist has tracks in two parts, as far as artists are known."""
    return all(crossing.crossing.empty for crossing in leaks if crossing.kind == "artist")


def as_json(leaks: list[Crossing]) -> dict[str, Any]:
    """The numbers by name: `test_tracks`, and for artists (albums, recordings, audio): `test_artists`,
    `test_artists_in_train`, `test_tracks_by_train_artists`, `test_tracks_without_artist` (unknown),
    `artists_in_train_and_valid` and `artists_in_valid_and_test`. None = unknown for every track."""
    numbers: dict[str, Any] = {"test_tracks": leaks[0].test_tracks}
    by_kind = {crossing.kind: crossing for crossing in leaks}
    for kind in KINDS:
        some, one = by_kind.get(kind), f"{kind}s" if kind != "audio" else kind
        numbers |= {
            f"test_{one}": some.test_keys if some else None,
            f"test_{one}_in_train": some.test_keys_in_train if some else None,
            f"test_tracks_by_train_{one}": some.test_tracks_by_train if some else None,
            f"test_tracks_without_{kind}": some.unknown if some else None,
            f"{one}_in_train_and_valid": some.in_both("train", "valid") if some else None,
            f"{one}_in_valid_and_test": some.in_both("valid", "test") if some else None,
        }
    return numbers
