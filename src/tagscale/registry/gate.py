"""The gate: what a candidate must show before it is champion. Differences and costs come in, a verdict goes out.

The conditions, in their order. Those before the look read no label of the test part:

    cost        the limits on milliseconds and megabytes
    tags        the candidate has every tag of the champion
    validation  the candidate is ahead of the champion on the validation part
    looks       the test part is not used up
    floor       on the test part, not below the models that stand for the least that is worth using
    guard       no guarded tag or group falls further than it may
    difference  superior: better than the champion by more than the margin; non_inferior: worse by less than the margin,
                with a reason to change, of which being better is one

Superiority and non-inferiority are one-sided t tests of the paired difference over artists, at the level of the look
(Piaggio et al. 2012, "Reporting of noninferiority and equivalence randomized trials"). All conditions must hold, so
none of them needs a stricter level because there are several (Berger 1982, "Multiparameter hypothesis testing and
acceptance sampling").

Floor and guard go by the difference itself: a candidate may be as good as the floor, which no test proves. The
floor's values are those of the report. Only the constant must be surpassed beyond chance, since what is not has learned
nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tagscale.evaluation.metrics import METRICS
from tagscale.params.blocks import GateParams
from tagscale.registry.cost import Cost
from tagscale.registry.looks import REMEDY, Look
from tagscale.registry.paired import CONFIDENCE, Gap
from tagscale.runtime.words import counted, listed

BASELINE, CONSTANT = "baseline", "constant"  # of registry.gate.floor; others are names of models
CHAMPION = "the champion"
FIRST = "the first champion: there was none to compare with"
VACANT = "the alias `champion` is missing, so version {}, the last champion that still exists, counts as the champion"
LOST = "the alias `champion` is missing, and no version that was champion is left to compare with"
NAMED = 12  # tags in a sentence
SMALLER = 0.95  # a model is smaller, or faster, where it has at most this share of the champion's megabytes, or time


@dataclass(frozen=True)
class Check:
    """One condition.

    name: its name, as above; subject: the floor's model, the guarded tag or group
    words: what was found, a sentence without its full stop
    gap: the difference that it rests on, which must be above `limit` (floor, guard) or beyond chance above it
    """

    name: str
    passed: bool
    words: str
    subject: str = ""
    gap: Gap | None = None
    limit: float = 0.0

    def record(self) -> dict[str, Any]:
        """For JSON."""
        about = {"name": self.name, "subject": self.subject, "passed": self.passed, "words": self.words}
        return about | {"limit": self.limit, "gap": self.gap.record() if self.gap else None}


@dataclass(frozen=True)
class Verdict:
    """The gate's decision on a candidate against a champion, with all that it rests on.

    champion: its version; None: there is none
    vacant: the alias of the champion is missing, and the last champion stands for one, if it still exists
    checks: the conditions that were judged; the candidate passes where all hold
    values: the metric of the candidate and of the champion, on the same tracks and tags; None where there is none
    groups: the difference in every group of tags
    part: what was compared on: tracks, artists, tags, hash, lone (tags that one artist alone stands behind)
    power: what the test part can show, see `foresight`
    notes: what a reader must know of the comparison
    """

    metric: str
    rule: str
    margin: float
    champion: str | None
    checks: tuple[Check, ...]
    values: tuple[float | None, float | None] = (None, None)
    groups: Mapping[str, Gap] = field(default_factory=dict)
    look: Look | None = None
    part: Mapping[str, Any] = field(default_factory=dict)
    power: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    vacant: bool = False

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """Why: the conditions that failed, or what the champion's place rests on."""
        words = [check.words for check in self.checks if not check.passed]
        if not words and self.champion is None:
            words = [LOST if self.vacant else FIRST, *(check.words for check in self.checks if check.name == "floor")]
        words = words or [check.words for check in self.checks if check.name == "difference"]
        return "; ".join(words) + (f" ({'; '.join(self.notes)})" if self.notes else "")

    def record(self) -> dict[str, Any]:
        """For JSON: what the version's tag, gate.json and the page are made of."""
        look = self.look
        spent = {} if look is None else {key: round(getattr(look, key), 6) for key in ("level", "spent", "error")}
        return {
            "passed": self.passed,
            "reason": self.reason,
            "metric": self.metric,
            "rule": self.rule,
            "margin": self.margin,
            "champion": self.champion,
            "vacant": self.vacant,
            "candidate_value": self.values[0],
            "champion_value": self.values[1],
            "checks": [check.record() for check in self.checks],
            "groups": {group: gap.record() for group, gap in self.groups.items()},
            "look": look and {"number": look.number, "looks": look.looks, "left": look.left} | spent,
            "warning": look and look.warning,
            "part": dict(self.part),
            "power": dict(self.power),
            "notes": list(self.notes),
        }


def check_cost(gate: GateParams, cost: Mapping[str, float]) -> list[Check]:
    """The limits that are set.

    Args:
        cost: milliseconds for 30 s of audio as `ms`, size of the files as `MB`; what a version does not know is missing
    """
    checks = []
    for unit, most in (("ms", gate.most_ms), ("MB", gate.most_megabytes)):
        if most is not None:
            known = cost.get(unit)
            words = "has no recorded cost" if known is None else f"takes {known:g} {unit}, and {most:g} are allowed"
            checks.append(Check("cost", known is not None and known <= most, f"the candidate {words}", unit))
    return checks


def check_tags(champion: Mapping[str, str], candidate: Mapping[str, str]) -> Check:
    """Whether who reads the champion's tags still gets them all.

    Args:
        champion, candidate: tag -> classification | regression
    """
    lost = [tag for tag, kind in champion.items() if candidate.get(tag) != kind]
    if not lost:
        return Check("tags", True, f"the candidate has all {counted(len(champion), 'tag')} of the champion")
    return Check(
        "tags", False, f"the candidate lacks {counted(len(lost), 'tag')} of the champion: {listed(lost, NAMED)}"
    )


def check_validation(gate: GateParams, gap: Gap | None) -> Check:
    """Whether a look is worth its price: one at a candidate that is behind on the validation part is not."""
    if gap is None:
        return Check("validation", False, "too few artists of the validation part stand behind a tag to compare on it")
    ahead, words = gap.difference > gate.bar, f"on the validation part {compared(gap, CHAMPION)}"
    if not ahead:
        asked = f", where more than {gate.bar:+g} is asked" if gate.bar else ""
        words += f"{asked}, so the test part is not looked at"
    return Check("validation", ahead, words, "", gap, gate.bar)


def check_looks(gate: GateParams, look: Look | None) -> Check:
    """Whether the test part has a look left."""
    if look is None:
        spent = f"the test part is used up: its looks have spent the error of {gate.error:g}; {REMEDY}"
        return Check("looks", False, spent)
    words = f"look {look.number} of {look.looks} at this test part, at a level of {look.level:.2g}"
    return Check("looks", True, words)


def check_floor(name: str, gap: Gap | None, error: float, missing: str | None = None, whose: str = "") -> Check:
    """Not below the floor; above the constant beyond chance.

    Args:
        missing: why there is nothing to compare with
        whose: the floor's model in words
    """
    if missing or gap is None:
        why = missing or "too few artists of the test part stand behind a tag to compare on it"
        return Check("floor", False, f"the floor (registry.gate.floor) names {name}, and {why}", name)
    words = compared(gap, whose or f"the {name}")
    if name == CONSTANT:
        certain = gap.p() <= error
        return Check("floor", certain, words + ("" if certain else ", which could be chance"), name, gap)
    return Check("floor", gap.difference >= 0, words, name, gap)


def check_guard(subject: str, gap: Gap | None, most: float) -> Check:
    """No further fall than allowed."""
    if gap is None:
        return Check("guard", False, f"{subject} is guarded, and too few artists stand behind it to compare", subject)
    held = gap.difference >= -most
    words = f"{subject}, guarded: {compared(gap, CHAMPION)}; it may fall by {most:g}"
    return Check("guard", held, words, subject, gap, 0 - most)


def check_difference(gate: GateParams, gap: Gap | None, look: Look, reasons: Sequence[str] = ()) -> Check:
    """Superiority, or non-inferiority with a reason.

    A candidate that is not worse may be tested for being better at the same level (a closed test, Piaggio et al. 2012).

    Args:
        reasons: those that hold of this candidate
    """
    if gap is None:
        return Check("difference", False, "too few artists of the test part stand behind a tag to compare on it")
    chance, label = gap.p(gate.bar), METRICS[gap.metric].label
    proven = chance <= look.level
    low, high = gap.interval()
    digits = 2 if f"{chance:.2g}" != f"{look.level:.2g}" else 6  # that tell the two apart
    words = (
        f"{compared(gap, CHAMPION)} ({CONFIDENCE:.0%} interval {low:+.4f} to {high:+.4f}), p = "
        f"{chance:.{digits}g} where {look.level:.{digits}g} is needed"
    )
    if gate.rule == "superior":
        asked = f"better by more than {gate.margin:g}" if gate.margin else "better"
        return Check("difference", proven, words if proven else f"not proven {asked}: {words}", "", gap, gate.bar)
    claim = f"{'not' if proven else 'not proven not to be'} worse by {gate.margin:g} in {label}"
    held = [reason for reason in gate.reasons if reason in reasons] + ["better"] * (gap.p() <= look.level)
    why = f"; reason: {', '.join(held)}" if held else f"; none of the reasons holds ({', '.join(gate.reasons)})"
    return Check("difference", proven and bool(held), f"{claim}: {words}{why}", "", gap, gate.bar)


def reasons_of(cost: Cost, champion: Cost, newer_data: bool) -> list[str]:
    """The reasons to change that hold of a candidate; both costs are measured in one process."""
    facts = {
        "smaller": cost.megabytes <= SMALLER * champion.megabytes,
        "faster": cost.ms_per_song <= SMALLER * champion.ms_per_song,
        "newer_data": newer_data,
    }
    return [reason for reason, holds in facts.items() if holds]


def compared(gap: Gap, whose: str) -> str:
    """Both values in words.

    >>> compared(Gap("pr_auc", 0.412, 0.4, 0.012, 0.004, 19), "the champion")
    'PR-AUC 0.4120 is 0.0120 better than the 0.4000 of the champion'
    """
    digits = METRICS[gap.metric].decimals + 1
    relation = "better" if gap.difference > 0 else "worse"
    size = f"{abs(gap.difference):.{digits}f} {relation} than" if gap.difference else "the same as"
    return f"{METRICS[gap.metric].label} {gap.candidate:.{digits}f} is {size} the {gap.other:.{digits}f} of {whose}"
