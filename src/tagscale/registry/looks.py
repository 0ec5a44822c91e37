"""The looks at a test part: how often its labels have decided on a champion, and how much error that has spent.

One look is one candidate that is held against one champion on the test part. Each look has a level, `error / looks`, so
the levels of all looks add up to at most `error`. By the union bound that is also the chance that any candidate passes
that is no better than the champion of its night, however the candidates depend on one another: until the first false
promotion, nothing that was promoted falsely has decided what is compared. What a look gives away is one bit, passed or
not.
Sources: Dunn 1961, "Multiple comparisons among means" (the bound); Lan and DeMets 1983, "Discrete sequential boundaries
for clinical trials" (error as a budget that looks spend); Blum and Hardt 2015, "The Ladder" (a test set that answers
again and again); Dwork et al. 2015, "The reusable holdout". Why equal levels, and neither of the last two:
benchmarks/results/gate.md.

The records are tags of the registered model (`tagscale.look.0007.3f2a91c0`, one JSON each), as those of promotions. A
test part is known by a hash of its tracks and labels. A few corrected labels or new tracks do not make it another one:
looks at a part that shares most of its tracks with the present one count, too (`JudgedPart.is_like`).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd

from tagscale.registry.versions import Registry
from tagscale.runtime.provenance import user
from tagscale.runtime.words import counted

_PREFIX = "tagscale.look."
_SKETCH = 64  # track hashes that stand for a test part
_ALIKE = 0.5  # share of the tracks of two test parts that both hold, from which they count as one
_WARNED = 0.8  # share of the error from which a warning says that it will soon be spent
_ROUNDING = 1e-9  # 26 times 0.05 / 26 is not exactly 0.05


@dataclass(frozen=True)
class JudgedPart:
    """What the looks know of a test part.

    hash: of its tracks and labels
    sketch: the least hashes of its tracks, in order: a random sample of them, the same wherever they are
    """

    hash: str
    sketch: tuple[str, ...]

    @classmethod
    def of(cls, tracks: Sequence[str], labels: pd.DataFrame) -> "JudgedPart":
        """Of the tracks, and of their labels, (tracks, tags), whose columns are the tags."""
        order = np.argsort(np.asarray(tracks, object).astype(str))
        names = [str(tracks[place]) for place in order]
        digest = hashlib.sha256("\x1e".join([*names, "", *map(str, labels.columns)]).encode())
        digest.update(labels.to_numpy("<f4")[order].tobytes())
        least = sorted(hashlib.sha256(name.encode()).hexdigest()[:8] for name in names)[:_SKETCH]
        return cls(digest.hexdigest()[:12], tuple(least))

    def is_like(self, other: "JudgedPart") -> bool:
        """Whether two parts count as one: of the tracks of both together, both hold at least half.

        Estimated by the least hashes of the tracks of both (Broder 1997, "On the resemblance and containment of
        documents").
        """
        if self.hash == other.hash:
            return True
        union = sorted({*self.sketch, *other.sketch})[:_SKETCH]
        shared = set(self.sketch) & set(other.sketch) & set(union)
        return bool(union) and len(shared) / len(union) >= _ALIKE


REMEDY = (
    "add tracks of new artists, or divide them anew (partition.seed) and promote the first candidate there by hand, "
    "since the champion has learned from the new test tracks: `tagscale promote VERSION --force --why TEXT`"
)


@dataclass(frozen=True)
class Look:
    """One look at a test part.

    number: at this test part, from 1 up
    level: the error that it may spend
    spent: what it and all looks before it may have spent
    error, looks: the settings: the error of all looks, and how many are planned
    key: of the tag that holds its record
    """

    number: int
    level: float
    spent: float
    error: float
    looks: int
    key: str

    @property
    def left(self) -> int:
        """How many more looks of this level there are."""
        return int((self.error - self.spent + _ROUNDING) / self.level)

    @property
    def warning(self) -> str | None:
        """What to say where the test part is nearly or wholly used up."""
        if self.spent + _ROUNDING < _WARNED * self.error:
            return None
        share = f"{self.spent / self.error:.0%}"
        state = f"{self.left} more {'is' if self.left == 1 else 'are'} left" if self.left else "it is used up"
        have = "has" if self.number == 1 else "have"
        return (
            f"{counted(self.number, 'look')} {have} spent {share} of the error of this test part, and {state}: {REMEDY}"
        )

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Look":
        """From its record."""
        return cls(*(record[name] for name in ("number", "level", "spent", "error", "looks", "key")))


def look_records(registry: Registry) -> list[dict[str, Any]]:
    """All looks of a registered model, oldest first.

    Each: number (at its test part), test (the part's hash), version, champion (None: none yet), level, spent (of error,
    with it), error, looks, when, by, and passed (None while it is judged).
    """
    with registry.explained():
        tags = registry.client.get_registered_model(registry.name).tags
    records = [json.loads(tags[key]) | {"key": key} for key in sorted(tags) if key.startswith(_PREFIX)]
    return sorted(records, key=lambda record: record["when"])


def reserve(
    registry: Registry, part: JudgedPart, version: str, champion: str | None, error: float, looks: int
) -> Look | None:
    """The look of a version at a test part against a champion; None where the error is spent.

    The same version against the same champion has the same look, so that a task that is tried again takes no other.
    The caller holds `registry.one_writer()`, so that two at once take two.
    """
    earlier = [record for record in look_records(registry) if part.is_like(_part_of(record))]
    level, spent = error / looks, sum(record["level"] for record in earlier)
    for record in earlier:
        if record["test"] == part.hash and (record["version"], record["champion"]) == (version, champion):
            return Look.of(record)
    if spent + level > error + _ROUNDING:
        return None
    number = len(earlier) + 1
    look = Look(number, level, spent + level, error, looks, f"{_PREFIX}{number:04d}.{uuid4().hex[:8]}")
    record = {
        "number": number,
        "test": part.hash,
        "sketch": "".join(part.sketch),
        "version": version,
        "champion": champion,
        "level": level,
        "spent": look.spent,
        "error": error,
        "looks": looks,
        "when": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "by": user(),
        "passed": None,
    }
    with registry.explained():
        registry.client.set_registered_model_tag(registry.name, look.key, json.dumps(record))
    return look


def close(registry: Registry, look: Look, passed: bool) -> None:
    """Record what came of a look."""
    with registry.explained():
        record = json.loads(registry.client.get_registered_model(registry.name).tags[look.key])
        registry.client.set_registered_model_tag(registry.name, look.key, json.dumps(record | {"passed": passed}))


def _part_of(record: dict[str, Any]) -> JudgedPart:
    text = record["sketch"]
    return JudgedPart(record["test"], tuple(text[place : place + 8] for place in range(0, len(text), 8)))
