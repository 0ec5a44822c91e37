"""Promotion and rollback: which version replaced which as champion, when, by whom, why, and with which metrics.

A version becomes champion where the gate has passed it against the present champion (`verdict_of`), or by force, with a
reason. What was forced says so in its record. A rollback is free.

The history says who was champion, the alias who is. Where the alias is missing, because somebody deleted it or the
version that had it, nobody is champion, and the last champion that still exists stands for one (`Incumbent`): a
candidate is held against it, and a rollback gives it the alias back.

The records are tags of the registered model (`tagscale.history.0007.3f2a91c0`, one JSON each). They lie beside the
alias, so they survive the machine that wrote them. Moves that begin at once happen one after another. The model's
description shows the last moves to people. The history reads as a line of champions: a promotion appends to it, a
rollback goes one step back. After promoting 1, 2 and 3, two rollbacks lead to 1, and promoting 4 after the first of
them makes the line 1, 2, 4.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from tagscale.evaluation.metrics import listing
from tagscale.registry.versions import CHAMPION, Registry, Version
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.provenance import user

VERDICT = "tagscale.verdict"  # a version's tag: the gate's decision with all that it rests on, as JSON
GATE = "tagscale.gate"  # a version's tag: the same in a sentence
_PREFIX = "tagscale.history."
_HEADING = "\n\n**Champions**\n\n"  # the user owns the description before it
_LONGEST_RECORDED = 1000  # characters of a reason; MLflow limits the length of a tag
_SHOWN, _LONGEST_WHY = 10, 200  # moves, and characters of a reason, in the description
_LONGEST_DESCRIPTION = 5000  # characters: the column of MLflow's databases, of which SQLite alone takes more


@dataclass(frozen=True)
class Incumbent:
    """Whom a candidate is held against.

    alias: the number of the version that is champion; None: nobody is
    version: the champion; where nobody is, the last that still exists; None: there is none
    vacant: nobody is champion, and somebody was
    """

    alias: str | None
    version: Version | None
    vacant: bool

    @property
    def number(self) -> str | None:
        return self.version.number if self.version else None

    @classmethod
    def of(cls, registry: Registry) -> "Incumbent":
        """As the registry is now."""
        alias = registry.aliases().get(CHAMPION)
        if alias is not None:
            return cls(alias, registry.version(alias), vacant=False)
        line, existing = champions(history(registry.name), None), registry.versions()
        left = [number for number in line if number in existing]
        return cls(None, existing[left[-1]] if left else None, vacant=bool(line))


def promote(name: str, version: str | int, why: str | None = None, force: bool = False) -> dict[str, Any]:
    """Make a version the champion; returns the record (see `history`).

    Args:
        force: also where the gate has not passed it against the present champion; needs a reason
    Raises:
        TagscaleError: no such model or version (names those that exist), it is the champion already, the gate has not
            passed it, or it is forced without a reason.
    """
    if force and not (why or "").strip():
        raise TagscaleError(
            "--force: a promotion past the gate is recorded with its reason; give one: `tagscale promote VERSION "
            '--force --why "TEXT"`.'
        )
    registry = Registry.open(name)
    with registry.one_writer():
        candidate = registry.version(version)
        incumbent = Incumbent.of(registry)
        if candidate.number == incumbent.alias:
            raise TagscaleError(f"Version {candidate.number} of {name!r} is the champion already; nothing was changed.")
        if not force and (objection := _objection(candidate, incumbent)):
            raise TagscaleError(
                f"Version {candidate.number} of {name!r} is not promoted: {objection}. `tagscale promote "
                f'{candidate.number} --force --why "TEXT"` makes it champion all the same, and records that.'
            )
        return move(registry, "promote", candidate.number, incumbent.alias, why or "promoted by hand", forced=force)


def verdict_of(version: Version) -> dict[str, Any] | None:
    """The gate's verdict on a version, as `Verdict.record` wrote it; None where there is none."""
    return dict(json.loads(version.tags[VERDICT])) if VERDICT in version.tags else None


def _objection(version: Version, incumbent: Incumbent) -> str | None:
    """Why the gate's verdict keeps a version from being champion; None where it does not, or it was champion last."""
    verdict, present = verdict_of(version), incumbent.number
    if incumbent.vacant and version.number == present:
        return None
    if verdict is None:
        return "the gate has not judged it"
    if verdict["champion"] != present:
        held = f"version {verdict['champion']}" if verdict["champion"] else "no champion at all"
        now = f"version {present} is champion now" if incumbent.alias else "nobody is champion now"
        last = f" (version {present} was last)" if incumbent.vacant and present else ""
        return f"the gate held it against {held}, and {now}{last}"
    return None if verdict["passed"] else f"the gate held it back: {verdict['reason']}"


def rollback(name: str, why: str = "rolled back by hand") -> dict[str, Any]:
    """Make the champion before the present one champion again; returns the record.

    Deleted versions are skipped. An alias that was moved without tagscale (in MLflow's pages, say) counts as a
    promotion.

    Raises:
        TagscaleError: no such model, or no earlier champion that still exists.
    """
    registry = Registry.open(name)
    with registry.one_writer():
        present = registry.aliases().get(CHAMPION)
        existing = registry.versions()
        line = champions(history(name), present)
        earlier = [number for number in (line[:-1] if present else line) if number in existing and number != present]
        if not earlier:
            raise TagscaleError(
                f"Model {name!r}: the present champion is {f'version {present}' if present else 'nobody'}, and the "
                "history knows no earlier one to go back to. `tagscale promote VERSION` makes another version champion "
                f"(there: {', '.join(number for number in existing if number != present) or 'none'})."
            )
        return move(registry, "rollback", earlier[-1], present, why)


def history(name: str) -> list[dict[str, Any]]:
    """All records, oldest first.

    Each: number (1, 2, ...), action (promote or rollback), champion and replaced (versions; replaced is None for the
    first), when (UTC, ISO 8601), by, why, metrics ({"champion": {"pr_auc": ...}, "replaced": {...}} on the test part),
    forced (promoted past the gate).
    """
    registry = Registry.open(name)
    with registry.explained():
        tags = registry.client.get_registered_model(name).tags
    return sorted(
        (json.loads(tags[key]) for key in tags if key.startswith(_PREFIX)),
        key=lambda record: (record["number"], record["when"]),
    )


def champions(records: Sequence[dict[str, Any]], present: str | None) -> list[str]:
    """The line of champions that led to the present one, oldest first.

    >>> champions([{"action": "promote", "champion": "1", "replaced": None},
    ...            {"action": "promote", "champion": "2", "replaced": "1"},
    ...            {"action": "rollback", "champion": "1", "replaced": "2"},
    ...            {"action": "promote", "champion": "3", "replaced": "1"}], present="3")
    ['1', '3']
    """
    line: list[str] = []

    def reached(number: str | None) -> None:
        if number is not None and line[-1:] != [number]:
            line.append(number)

    for record in records:
        reached(record["replaced"])  # differs from the line's end where the alias was moved without tagscale
        if record["action"] == "rollback" and record["champion"] in line:
            del line[max(place for place, entry in enumerate(line) if entry == record["champion"]) + 1 :]
        reached(record["champion"])
    reached(present)
    return line


def move(
    registry: Registry, action: str, champion: str, replaced: str | None, why: str, forced: bool = False
) -> dict[str, Any]:
    """Move the alias, then record it, so that no record tells of a move that did not happen.

    The caller holds `registry.one_writer()`, inside which it read who is `replaced`.
    """
    records = history(registry.name)
    existing = registry.versions()
    record = {
        "number": records[-1]["number"] + 1 if records else 1,
        "action": action,
        "champion": champion,
        "replaced": replaced,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": user(),
        "why": why[:_LONGEST_RECORDED],
        "forced": forced,
        "metrics": {
            role: existing[number].test_metrics
            for role, number in (("champion", champion), ("replaced", replaced))
            if number in existing
        },
    }
    registry.set_alias(CHAMPION, champion)
    with registry.explained():
        key = f"{_PREFIX}{record['number']:04d}.{uuid4().hex[:8]}"  # of its own: a record is never overwritten
        registry.client.set_registered_model_tag(registry.name, key, json.dumps(record))
        about = (registry.client.get_registered_model(registry.name).description or "").split(_HEADING)[0]
        moves = _last_moves([*records, record], _LONGEST_DESCRIPTION - len(about + _HEADING))
        registry.client.update_registered_model(registry.name, about + _HEADING + moves if moves else about)
    return record


def _last_moves(records: Sequence[dict[str, Any]], longest: int) -> str:
    """The last moves in Markdown, newest first; as many as fit into so many characters."""
    lines = list[str]()
    for record in reversed(records[-_SHOWN:]):
        when = datetime.fromisoformat(record["when"]).strftime("%Y-%m-%d %H:%M UTC")
        before = f", in place of version {record['replaced']}" if record["replaced"] else ""
        metrics = record["metrics"].get("champion", {})
        on_test = f" (test part: {listing(metrics)})" if metrics else ""
        why = " ".join(record["why"].split())[:_LONGEST_WHY]
        by = f"{record['by']}, past the gate" if record["forced"] else record["by"]
        lines.append(f"- {when}: **version {record['champion']}**{before}, by {by}: {why}{on_test}")
    fitting = [count for count in range(len(lines) + 1) if len("\n".join(lines[:count])) <= longest]
    return "\n".join(lines[: max(fitting, default=0)])
