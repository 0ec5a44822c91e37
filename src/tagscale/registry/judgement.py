"""Judgement: the gate's conditions are asked of a version, its look is taken, and the champion's alias moves or stays.

Nobody waits for the gate, which may take minutes: it holds its turn only while it takes a look and while it moves the
alias. Where another process has moved the champion meanwhile, the version is judged anew, against the present one. The
look at the test part against the former stays spent, since its labels were read.
"""

import json
from collections.abc import Sequence
from typing import Any

from tagscale.registry.cost import SIZE, TIME, costs_of
from tagscale.registry.gate import (
    VACANT,
    Check,
    Verdict,
    check_cost,
    check_difference,
    check_floor,
    check_guard,
    check_looks,
    check_tags,
    check_validation,
    reasons_of,
)
from tagscale.registry.looks import Look, close, reserve
from tagscale.registry.paired import Gap
from tagscale.registry.promote import GATE, VERDICT, Incumbent, history, move, verdict_of
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.trial import CannotBeScored, Model, Trial
from tagscale.registry.versions import CHALLENGER, CHAMPION, Registry, Version
from tagscale.runtime.words import counted
from tagscale.tracking import DATA_VERSION

TRAINING_DATA = (DATA_VERSION, "tagscale.dataset_hash", "tagscale.train_tracks")  # tags of a version


def judge(registry: Registry, number: str, trial: Trial, tagger: AudioTagger) -> tuple[dict[str, Any], str | None]:
    """Let the gate judge a version and move the aliases.

    A version is judged once, but for one that was held back before the look: nothing was spent, and what held it back
    may have changed, a limit in params.yaml or the champion. It is judged anew, unless it was champion already, so that
    a rollback by hand stays in force.

    Args:
        tagger: the version's
    Returns:
        the verdict's record; and where the version was judged before, or is champion already, this in words
    """
    while True:
        version, incumbent = registry.version(number), Incumbent.of(registry)
        if words := _judged_before(registry, version, incumbent):
            return verdict_of(version) or _record_of_earlier(version, trial.metric), words
        case, look = _Case(trial, version, incumbent, tagger), None
        if case.needs_look:
            with registry.one_writer():
                if _moved(registry, incumbent):
                    continue
                gate = case.gate
                look = reserve(registry, trial.part, number, incumbent.number, gate.error, gate.looks)
        verdict = case.verdict(look)
        with registry.one_writer():
            if _moved(registry, incumbent) or registry.version(number).tags.get(GATE) != version.tags.get(GATE):
                continue
            registry.set_alias(CHALLENGER, number)
            if verdict.passed:
                move(registry, "promote", number, incumbent.alias, why=verdict.reason)
            if look:
                close(registry, look, verdict.passed)
            record = verdict.record()
            sentence = f"{'passed' if verdict.passed else 'held back'}: {verdict.reason}"
            registry.tag(number, {VERDICT: json.dumps(record), GATE: sentence})
            return record, None


def _left_out(lone: Sequence[str] | None) -> list[str]:
    """That both means go without some tags, so that they differ from those of the report."""
    return [f"without {counted(len(lone), 'tag')} that one artist alone stands behind"] if lone else []


def _moved(registry: Registry, incumbent: Incumbent) -> bool:
    return registry.aliases().get(CHAMPION) != incumbent.alias


def _judged_before(registry: Registry, version: Version, incumbent: Incumbent) -> str | None:
    """That a version is champion, or was judged before, in words; None where the gate must judge."""
    this = f"this run is registered already, as version {version.number}"
    if incumbent.alias == version.number:
        return f"{this}, the champion"
    if incumbent.number == version.number:
        return f"{this}, the last champion, whose alias is missing"
    if GATE not in version.tags:
        return None
    verdict = verdict_of(version)
    free = verdict is not None and not verdict["passed"] and verdict["look"] is None
    if free and version.number not in {record["champion"] for record in history(registry.name)}:
        return None
    force = "" if verdict and verdict["passed"] and verdict["champion"] == incumbent.number else " --force --why TEXT"
    return (
        f"{this}, and was judged then ({version.tags[GATE]}); `tagscale promote {version.number}{force}` makes it "
        "champion by hand"
    )


def _record_of_earlier(version: Version, metric: str) -> dict[str, Any]:
    """The record of a version that became champion by hand before the gate judged it."""
    words = version.tags.get(GATE, "no verdict of the gate is kept with this version")
    check = Check("earlier", words.startswith("passed"), words)
    value = version.test_metrics.get(metric)
    return Verdict(metric, "", 0.0, None, (check,), (value, None)).record() | {"reason": words}


class _Case:
    """One version before the gate: what can be judged without the test part's labels, and what they say."""

    def __init__(self, trial: Trial, version: Version, incumbent: Incumbent, tagger: AudioTagger) -> None:
        self.trial, self.version, self.champion, self.tagger = trial, version, incumbent.version, tagger
        self.vacant = incumbent.vacant
        self.gate = trial.params.registry.gate
        known = {unit: float(version.tags[key]) for unit, key in (("ms", TIME), ("MB", SIZE)) if key in version.tags}
        self.checks = check_cost(self.gate, known)
        self.rival: Model | None = None
        self.theirs: AudioTagger | None = None
        self.validation: Gap | None = None
        self.notes: list[str] = []
        if self.champion:
            self.notes += [VACANT.format(self.champion.number)] * self.vacant
            self._meet(self.champion)
        floors = {name: trial.floor(name) for name in self.gate.floor}
        self.floors = {name: model for name, model in floors.items() if isinstance(model, Model)}
        missing = {name: why for name, why in floors.items() if isinstance(why, str)}
        self.checks += [check_floor(name, None, self.gate.error, why) for name, why in missing.items()]

    def _meet(self, champion: Version) -> None:
        """Compare with the champion on the validation part, where it can be scored."""
        try:
            self.rival, self.theirs, notes = self.trial.champion(champion, self.version)
        except CannotBeScored as error:
            self.checks.append(Check("champion", False, str(error)))
            return
        self.notes += notes
        self.checks.append(check_tags(self.theirs.kinds, self.tagger.kinds))
        self.validation = self.trial.compare(self.rival, "valid").overall(self.trial.metric)
        self.checks.append(check_validation(self.gate, self.validation))

    @property
    def needs_look(self) -> bool:
        """Whether all conditions before the look hold, and there is something to look at."""
        return all(check.passed for check in self.checks) and bool(self.champion or self.floors)

    def verdict(self, look: Look | None) -> Verdict:
        """The verdict, with a look where one is needed and there was one left."""
        trial, checks = self.trial, list(self.checks)
        groups: dict[str, Gap] = {}
        gap, lone = None, None
        if self.needs_look:
            checks.append(check_looks(self.gate, look))
        if look:
            for name, model in self.floors.items():
                gap = trial.compare(model, "test").in_table(trial.metric)
                checks.append(check_floor(name, gap, self.gate.error, whose=model.words))
            if self.rival:
                paired = trial.compare(self.rival, "test")
                gap, groups, lone = paired.overall(trial.metric), paired.groups(trial.metric), paired.lone(trial.metric)
                for name, most in self.gate.guard.items():
                    checks.append(check_guard(name, paired.among(trial.metric, trial.guarded(name)), most))
                checks.append(check_difference(self.gate, gap, look, self._reasons()))
        compared = gap if self.rival else None
        return Verdict(
            metric=trial.metric,
            rule=self.gate.rule,
            margin=self.gate.margin,
            champion=self.champion.number if self.champion else None,
            checks=tuple(checks),
            values=(gap.candidate if gap else None, compared.other if compared else None),
            groups=groups,
            look=look,
            part=trial.facts(lone),
            power={} if self.needs_look and look is None else self._power(compared),
            notes=(*self.notes, *_left_out(lone)),
            vacant=self.vacant,
        )

    def _reasons(self) -> list[str]:
        if self.gate.rule == "superior" or self.theirs is None or self.champion is None:
            return []
        ours, theirs = self.version.tags, self.champion.tags
        newer = any(ours.get(key) != theirs.get(key) for key in TRAINING_DATA)
        cost, of_champion = costs_of(self.tagger, self.theirs)
        return reasons_of(cost, of_champion, newer)

    def _power(self, compared: Gap | None) -> dict[str, Any]:
        """What a look can show, by the error of the nearest difference that is known."""
        trial, level = self.trial, self.gate.error / self.gate.looks
        if compared:
            return trial.foresight(level, compared, "test", "of the difference to the champion on this test part")
        if self.validation:
            where = "of the difference to the champion on the validation part"
            return trial.foresight(level, self.validation, "valid", where)
        if other := trial.runner_up():
            gap = trial.compare(other, "valid").overall(trial.metric)
            where = "of the difference between the study's two best runs on the validation part"
            return trial.foresight(level, gap, "valid", where)
        return {}
