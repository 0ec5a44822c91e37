"""What the report says of the training size, against made-up studies whose truth is known.

    python benchmarks/crossing.py [--studies 1000] [--resamples 400] [--artists 30] [--output FILE]

Two models are scored at a few sizes. Their true scores are curves: power laws with a floor, as tagscale fits them,
logarithms, and others that it does not know (a sigmoid, an exponential rise, a law that breaks). Noise of the test
artists is shared by the sizes (correlation .7), noise of the seeds is not; both are known to the study as its resamples
are: the artists' through an estimated spread, the seeds' through the spread of all cells. The studies go through the
functions of `study/laws.py` that the report's sentences stand on.

What to look for: the sizes that a study leaves open hold the true crossing, and the interval of the gain of twice the
tracks holds the true gain, in 95 % of the studies. Few name a false range: one over which the leader is not ahead, or
one of an overtaking that is elsewhere. A lead at a size is judged at that size alone, as everywhere in the report, so
with equal models 5 % of the sizes have one. Beside it the straight line over the logarithm of the tracks, one number
and no interval: how often it names a crossing within a factor of 1.5 of the true one, and how often it names a leader
that is not ahead at a measured size.
"""

import argparse
import datetime
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy
from bootstrap import Table
from machine import processor
from scipy.special import expit, stdtrit

from tagscale.runtime.command import write_anything
from tagscale.study import laws

CONFIDENCE = 0.95
OF_ARTISTS, SHARED, OF_SEEDS = 0.008, 0.7, 0.005  # SDs of a difference and of a training, correlation over sizes
FOUR, THREE, SIX = (100, 300, 1000, 3000), (50, 200, 640), (50, 100, 200, 400, 800, 1600)

Curve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Case:
    name: str
    curves: tuple[Curve, Curve]
    sizes: tuple[int, ...] = FOUR
    seeds: int = 3

    def gap(self, tracks: np.ndarray) -> np.ndarray:
        """The first model minus the second in truth; what rounding leaves is 0."""
        gap = self.curves[0](tracks) - self.curves[1](tracks)
        return np.where(np.abs(gap) < 1e-12, 0.0, gap)

    @property
    def grid(self) -> np.ndarray:
        return np.geomspace(self.sizes[0], laws.REACH * self.sizes[-1], 4000)

    @property
    def gain(self) -> float:
        """What the first model truly gains from twice the tracks."""
        return float(np.diff(self.curves[0](np.array([self.sizes[-1], 2 * self.sizes[-1]])))[0])

    @property
    def crossings(self) -> np.ndarray:
        """The true ones up to `REACH` times the largest size."""
        signs = np.sign(self.gap(self.grid))
        return self.grid[1:][signs[1:] * signs[:-1] < 0]


def law(limit: float, rise: float, exponent: float) -> Curve:
    return lambda tracks: limit - rise * np.asarray(tracks, float) ** -exponent


def logarithm(start: float, slope: float) -> Curve:
    return lambda tracks: start + slope * np.log(np.asarray(tracks, float) / 100)


def sigmoid(low: float, high: float, middle: float, width: float) -> Curve:
    return lambda tracks: low + (high - low) * expit((np.log(tracks) - np.log(middle)) / width)


def saturation(limit: float, rise: float, scale: float) -> Curve:
    return lambda tracks: limit - rise * np.exp(-np.asarray(tracks, float) / scale)


def broken(limit: float, rise: float, exponent: float, start: float, slope: float) -> Curve:
    """A law until `start`, from where the score rises by `slope` more for each factor of e."""
    return lambda tracks: law(limit, rise, exponent)(tracks) + slope * np.log(np.maximum(np.asarray(tracks) / start, 1))


def crossing_at(tracks: float, exponent: float, other: float) -> tuple[Curve, Curve]:
    second = 0.55 - 1.4 * tracks**-exponent + 0.77 * tracks**-other
    return law(0.55, 1.4, exponent), law(second, 0.77, other)


CASES = (
    Case("A: laws that cross at 600, one exponent", crossing_at(600, 0.35, 0.35)),
    Case("B: laws that cross at 600, exponents .35 and .15", crossing_at(600, 0.35, 0.15)),
    Case("C: laws that cross at 9,000, beyond all that is said", crossing_at(9000, 0.35, 0.35)),
    Case("C2: laws that cross at 4,500, beyond the sizes", crossing_at(4500, 0.35, 0.35)),
    Case("D: laws .03 apart everywhere", (law(0.55, 1.0, 0.35), law(0.52, 1.0, 0.35))),
    Case("E: equal models", (law(0.55, 1.0, 0.35), law(0.55, 1.0, 0.35))),
    Case("F: laws that cross at 200, one seed", crossing_at(200, 0.35, 0.35), THREE, 1),
    Case("G: laws that cross at 200, three seeds", crossing_at(200, 0.35, 0.35), THREE),
    Case("H: laws that cross at 300, six sizes", crossing_at(300, 0.35, 0.25), SIX),
    Case("logarithms that cross at 600", (logarithm(0.20, 0.060), logarithm(0.2537, 0.030))),
    Case("logarithm and law that cross at 600", (logarithm(0.2859, 0.06), law(0.50, 1.0, 0.35))),
    Case("sigmoid against a law, crossing at 573", (sigmoid(0.2, 0.55, 500, 0.6), law(0.50, 1.0, 0.35))),
    Case("exponential rise against a law", (saturation(0.5, 0.35, 400), law(0.50, 1.0, 0.35))),
    Case(
        "a law that breaks at 1,000 and overtakes at 2,105", (broken(0.48, 1.0, 0.35, 1000, 0.04), law(0.51, 1.0, 0.35))
    ),
    Case("crossing twice: saturation against a logarithm", (saturation(0.42, 0.25, 300), logarithm(0.26, 0.05))),
)


@dataclass(frozen=True)
class Simulated:
    """Scores (2, sizes) and resamples (resamples, 2, sizes) of one study, and its number of artists."""

    scores: np.ndarray
    resamples: np.ndarray
    artists: int


def simulated(case: Case, resamples: int, artists: int, random: np.random.Generator) -> Simulated:
    sizes = len(case.sizes)
    covariance = OF_ARTISTS**2 / 2 * (SHARED + (1 - SHARED) * np.eye(sizes))
    root = np.linalg.cholesky(covariance)
    trainings = OF_SEEDS * random.standard_normal((2, sizes, case.seeds))
    truth = np.stack([curve(np.array(case.sizes, float)) for curve in case.curves])
    scores = truth + random.standard_normal((2, sizes)) @ root.T + trainings.mean(axis=2)
    degrees = 2 * sizes * (case.seeds - 1)
    spread = np.sqrt(((trainings - trainings.mean(axis=2, keepdims=True)) ** 2).sum() / max(degrees, 1))
    known = np.sqrt(random.chisquare(artists - 1) / artists)  # resamples of n artists spread by (n - 1) / n of them
    drawn = scores + known * random.standard_normal((resamples, 2, sizes)) @ root.T
    drawn = drawn + spread / np.sqrt(case.seeds) * random.standard_normal(drawn.shape)
    return Simulated(scores, drawn, artists)


def leads_of(study: Simulated) -> np.ndarray:
    """Who leads at each size by the interval of the difference, as `study.compare` decides it: (sizes,)."""
    gaps, spread = study.scores[0] - study.scores[1], (study.resamples[:, 0] - study.resamples[:, 1]).std(axis=0)
    n = study.artists
    reach = stdtrit(n - 1, (1 + CONFIDENCE) / 2) * np.sqrt(n / (n - 1)) * spread
    return np.where(np.abs(gaps) > reach, np.sign(gaps), 0).astype(int)


def is_false(case: Case, told: laws.Outlook) -> bool:
    """Whether a range that the report would name is not so: that of one leader, or that of an overtaking."""
    if np.isnan(told.low):
        return False
    grid = case.grid
    if len(told.leaders) == 1:
        over = (grid >= told.low) & (grid <= told.high)
        return bool((case.gap(grid[over]) * told.leaders[0] <= 0).any())
    ends = np.sign(case.gap(np.array([told.low, told.high])))
    return bool(ends[0] != told.leaders[0] or ends[1] != told.leaders[1])


def wrong_leads(case: Case, leads: np.ndarray) -> bool:
    """Whether a model that is not ahead in truth leads at a measured size."""
    return bool((np.sign(case.gap(np.array(case.sizes))) * leads < (leads != 0)).any())


def straight(case: Case, scores: np.ndarray) -> tuple[bool, float]:
    """The straight lines over log(tracks): whether they name a leader that is not ahead, and where they cross."""
    positions = np.log(np.array(case.sizes, float))
    (slope, intercept), truth = (np.polyfit(positions, scores[0] - scores[1], 1)), case.gap(np.array(case.sizes))
    meeting = float(np.exp(np.clip(-intercept / slope, -50, 50)))
    if not case.sizes[0] <= meeting <= case.sizes[-1]:
        return False, np.inf
    told = np.sign(slope * positions + intercept)
    return bool((told * truth < 0).any() or not truth.any()), meeting


@dataclass
class Tally:
    """What came out, study by study."""

    held: list[bool] = field(default_factory=list)  # a true crossing lies among the open sizes; where laws describe it
    lawful: list[bool] = field(default_factory=list)
    overtakes: list[bool] = field(default_factory=list)
    ranges: list[tuple[float, float]] = field(default_factory=list)
    false_range: list[bool] = field(default_factory=list)
    false_lead: list[bool] = field(default_factory=list)
    gains: list[bool] = field(default_factory=list)  # the interval holds the true gain of twice the tracks
    widths: list[float] = field(default_factory=list)
    line_near: list[bool] = field(default_factory=list)
    line_false: list[bool] = field(default_factory=list)

    def cells(self, case: Case) -> list[str]:
        """A row of the table."""
        middle = np.median(np.array(self.ranges), axis=0) if self.ranges else None
        return [
            case.name,
            f"{', '.join(f'{size:,}' for size in case.sizes)}; {case.seeds}",
            share(self.held),
            share(self.overtakes) + (f", {middle[0]:,.0f} to {middle[1]:,.0f}" if middle is not None else ""),
            share(self.false_range),
            share(self.false_lead),
            share(self.lawful),
            f"{share(self.line_near) if len(case.crossings) == 1 else '–'}, {share(self.line_false)}",
            f"{share(self.gains)}, ±{np.median(self.widths) / 2:.4f} about {case.gain:.4f}" if self.gains else "–",
        ]


def measure(case: Case, studies: int, resamples: int, artists: int, random: np.random.Generator) -> Tally:
    sizes, tally = np.array(case.sizes, float), Tally()
    for _ in range(studies):
        study = simulated(case, resamples, artists, random)
        spans = laws.settled(study.scores, study.resamples, sizes, CONFIDENCE, artists)
        leads = leads_of(study)
        told = laws.outlook(study.scores[0] - study.scores[1], leads, sizes, spans)
        tally.lawful.append(spans is not None)
        for at in case.crossings if spans is not None else ():
            tally.held.append(any(span.low <= at <= span.high and not span.leader for span in spans or ()))
        tally.false_range.append(is_false(case, told))
        tally.false_lead.append(wrong_leads(case, leads))
        tally.overtakes.append(len(told.leaders) == 2)
        tally.ranges += [(told.low, told.high)] * (len(told.leaders) == 2)
        gain = laws.gain(study.scores[0], study.resamples[:, 0], sizes, sizes[-1], CONFIDENCE, artists)
        if gain is not None:
            tally.gains.append(gain.low <= case.gain <= gain.high)
            tally.widths.append(gain.high - gain.low)
        wrong, meeting = straight(case, study.scores)
        tally.line_false.append(wrong)
        tally.line_near.append(len(case.crossings) == 1 and abs(np.log(meeting / case.crossings[0])) < np.log(1.5))
    return tally


def share(values: list[bool]) -> str:
    return f"{100 * np.mean(values):.1f} %" if values else "–"


def main() -> None:
    write_anything()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--artists", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=None, help="a Markdown file to write the table to as well")
    arguments = parser.parse_args()
    begin = time.process_time()
    table = Table()
    columns = ("true curves", "sizes; seeds", "open sizes hold the crossing", "says: overtakes, median range")
    columns += (
        "a range is false",
        "a lead at a size is false",
        "laws describe it",
        "straight line: near the crossing, false",
    )
    table.head(*columns, "gain of twice the tracks held")
    for number, case in enumerate(CASES):
        random = np.random.default_rng([arguments.seed, number])
        table.add(*measure(case, arguments.studies, arguments.resamples, arguments.artists, random).cells(case))
    about = (
        f"{datetime.date.today()}, {processor()}, {time.process_time() - begin:.0f} CPU s, Python "
        f"{platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}; {arguments.studies:,} "
        f"studies of {arguments.resamples} resamples a row, {arguments.artists} artists, seed {arguments.seed}. SD "
        f"of a difference over artists {OF_ARTISTS}, of a training over seeds {OF_SEEDS}."
    )
    print(about)
    if arguments.output:
        command = " ".join(
            f"--{name} {getattr(arguments, name)}" for name in ("studies", "resamples", "artists", "seed")
        )
        text = f"# Overtaking, and the gain of more tracks\n\n`python benchmarks/crossing.py {command}`\n\n{about}\n\n"
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text + "\n".join(table.lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
