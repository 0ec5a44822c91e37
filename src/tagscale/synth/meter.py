"""Meters as grids of sixteenth notes, swing, and a measure of syncopation."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise


@dataclass(frozen=True)
class Meter:
    """A bar as a row of beats. A simple beat has 4 sixteenth-note steps, a compound beat 6."""

    name: str
    tag: str  # one of the mutually exclusive meter tags
    beats: tuple[int, ...]  # steps of each beat
    steps_per_pulse: int  # steps of the pulse that the tempo counts

    @cached_property
    def steps(self) -> int:
        return sum(self.beats)

    @cached_property
    def beat_starts(self) -> tuple[int, ...]:
        return tuple(sum(self.beats[:number]) for number in range(len(self.beats)))

    @cached_property
    def compound(self) -> bool:
        return self.steps_per_pulse == 6

    @cached_property
    def eighths(self) -> tuple[int, ...]:
        return tuple(range(0, self.steps, 2))

    @cached_property
    def weights(self) -> tuple[float, ...]:
        """Metrical weight of each step: 1 the downbeat, 0.75 the middle of the bar, 0.5 beats, 0.25 eighths, else 0."""
        weights = [0.25 if step % 2 == 0 else 0.0 for step in range(self.steps)]
        for start in self.beat_starts:
            weights[start] = 0.5
        if len(self.beats) >= 4:
            weights[self.beat_starts[len(self.beats) // 2]] = 0.75
        weights[0] = 1.0
        return tuple(weights)

    def step_seconds(self, bpm: float) -> float:
        return 60.0 / bpm / self.steps_per_pulse


METERS = {
    "4/4": Meter("4/4", "quadruple_meter", (4, 4, 4, 4), 4),
    "3/4": Meter("3/4", "triple_meter", (4, 4, 4), 4),
    "6/8": Meter("6/8", "compound_duple_meter", (6, 6), 6),
    "12/8": Meter("12/8", "compound_quadruple_meter", (6, 6, 6, 6), 6),
    "5/4": Meter("5/4", "odd_meter", (4, 4, 4, 4, 4), 4),
    "7/8": Meter("7/8", "odd_meter", (4, 4, 6), 4),
}


def swung(step: float, ratio: float, unit: int) -> float:
    """Position of a step when pairs of `unit` steps are played long-short.

    Args:
        step: position in sixteenth notes
        ratio: share of the first half in a pair: 0.5 straight, 0.66 triplet swing
        unit: 2 swings eighth notes, 1 sixteenth notes

    >>> [round(swung(step, 0.66, 2), 2) for step in (0, 1, 2, 3, 4)]
    [0.0, 1.32, 2.64, 3.32, 4.0]
    >>> swung(2, 0.6, 1)
    2.0
    """
    pair, inside = divmod(step, 2 * unit)
    share = inside / (2 * unit)
    bent = share * 2 * ratio if share < 0.5 else ratio + (share - 0.5) * 2 * (1 - ratio)
    return 2 * unit * (pair + bent)


def syncopation(onsets: Iterable[int], meter: Meter) -> float:
    """How much the onsets of one part avoid the strong steps, in [0, 1].

    After Longuet-Higgins and Lee (1984): an onset counts when a stronger step follows before the next onset. It counts
    by the difference of the two weights.

    Args:
        onsets: steps from the start of the piece

    >>> syncopation(range(0, 32, 4), METERS["4/4"])
    0.0
    >>> syncopation([2, 6, 10, 14, 18, 22], METERS["4/4"]) > 0.4
    True
    """
    steps = sorted(set(onsets))
    weights = meter.weights
    gained = 0.0
    for onset, following in pairwise(steps):
        here = weights[onset % meter.steps]
        skipped = (weights[step % meter.steps] for step in range(onset + 1, min(following, onset + meter.steps)))
        gained += max(0.0, max(skipped, default=0.0) - here)
    return min(1.0, 1.5 * gained / max(len(steps) - 1, 1))
