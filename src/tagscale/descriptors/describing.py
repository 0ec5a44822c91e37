"""Descriptors of many tracks at once. A bad track comes with a reason; it stops no other."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from tagscale.descriptors.describe import describe_pieces, names
from tagscale.runtime.processes import Lost, answers
from tagscale.store.read import Store


@dataclass(frozen=True)
class Described:
    """A track's descriptors, float32 in the order of `names`, or the reason why it has none."""

    track_id: str
    values: np.ndarray | None = None
    reason: str = ""


def describe_all(store: Store, tracks: Iterable[str], workers: int) -> Iterator[Described]:
    """Describe tracks in `workers` processes, in the order in which they are finished.

    A track that raises, that has a descriptor which is not finite, or that ends its process twice comes with the
    reason. The processes end with this one, also when it is killed.
    """
    describe, one_thread = partial(_describe, store), partial(threadpool_limits, 1)  # the processes share the cores
    for track, described in answers(describe, tracks, workers, prepare=one_thread, in_order=False):
        if isinstance(described, Lost):
            yield Described(track, reason="its process was killed twice (too little memory?)")
        else:
            yield described


def _describe(store: Store, track: str) -> Described:
    try:
        descriptors = describe_pieces(lambda start, count: store.read(track, start, count), store.samples(track))
        values = np.array([descriptors[name] for name in names()], np.float32)
    except Exception as error:  # one track never stops the others
        return Described(track, reason=f"{type(error).__name__}: {error}")
    bad = [name for name, finite in zip(names(), np.isfinite(values), strict=True) if not finite]
    return Described(track, reason=f"not finite: {', '.join(bad[:3])}") if bad else Described(track, values)
