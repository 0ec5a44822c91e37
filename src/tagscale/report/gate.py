"""The gate's page: one verdict as HTML and as a figure, from its record (`registry.gate.Verdict.record`)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tagscale.evaluation.bootstrap import one_sided
from tagscale.evaluation.metrics import METRICS
from tagscale.report.figures import save_png
from tagscale.report.pictures import data_uri
from tagscale.report.rows import intervals
from tagscale.report.templates import templates
from tagscale.runtime.files import replacing

PASSED, HELD, PLAIN = "#2e7d4f", "#b3261e", "#5a616a"  # of a condition that holds, of one that does not, of a group
KEY = "right of the dashed line: the candidate is better\nbars: 95 % intervals over artists; black tick: the limit"
STEPS = {  # what to do, by the first condition that failed
    "cost": "Register a smaller or faster model, or raise the limit in registry.gate: `tagscale register` then judges "
    "this version again.",
    "tags": "Who reads these tags would miss them: find out why the data lost them (`validate` names tags with too few "
    "positives). Where they may go, a person decides: `tagscale promote {version} --force --why TEXT`.",
    "champion": "No comparison is possible here. A person decides: `tagscale promote {version} --force --why TEXT`.",
    "validation": "Nothing was spent. The next candidate is compared again; a gain needs other data or another model.",
    "looks": "Draw a new test part: tracks of new artists, or another `partition.seed`. There the first candidate is "
    "promoted by hand, for the champion has learned from the new test tracks.",
    "no floor": "Train that model, or take it out of registry.gate.floor: `tagscale register` then judges this "
    "version again.",
    "floor": "A model of the floor scores higher. Look at the report: training may have gone wrong, or data are few.",
    "guard": "Look at the guarded tags in the report: their labels, their tracks, or a model trained on more of them.",
    "difference": "The version stays challenger, and later ones are judged as before.",
    "earlier": "Nothing: the verdict is an earlier one.",
}


def write(folder: Path, record: dict[str, Any], about: dict[str, Any]) -> None:
    """Write gate.html and gate.png.

    Args:
        about: name and version of the model, its alias now, the run it is from (candidate), its cost in words, the
            version that became champion in its place (stand_in), where there is one, and what to do where nobody is
            champion and somebody was (vacancy)
    """
    if (figure := draw(record)) is not None:
        with replacing(folder / "gate.png") as fresh:
            save_png(figure, fresh)
    with replacing(folder / "gate.html") as fresh:
        fresh.write_text(render(record, about), encoding="utf-8")


def render(record: dict[str, Any], about: dict[str, Any]) -> str:
    """The page, without a reference to anything outside it."""
    environment = templates()
    wide, narrow = (draw(record, narrow) for narrow in (False, True))
    return environment.get_template("gate.html").render(
        record=record,
        about=about,
        wide=wide and data_uri(wide),
        narrow=narrow and data_uri(narrow),
        metric=METRICS[record["metric"]].label,
        step=next_step(record, about),
        power=power_words(record["power"]),
        rows=_rows(record),
        earlier=any(check["name"] == "earlier" for check in record["checks"]),
    )


def next_step(record: dict[str, Any], about: dict[str, Any]) -> str:
    """What to do after this verdict."""
    failed = [check["name"] for check in record["checks"] if not check["passed"]]
    if not failed and (vacancy := about.get("vacancy")):
        return str(vacancy)
    if not failed and about["alias"] != "champion":
        return (
            "Nothing: another version was made champion since, as `tagscale history` tells, and stays. `tagscale "
            f"promote {about['version']}` makes this one champion again, or says what speaks against it."
        )
    if not failed and record["champion"] is None:
        return "Nothing. Later candidates are held against this version."
    if not failed:
        return "Nothing. `tagscale rollback` makes the champion before it champion again."
    unlooked = failed[0] == "floor" and record["look"] is None
    step = STEPS["no floor" if unlooked else failed[0]].format(version=about["version"])
    if stand_in := about.get("stand_in"):
        step = f"Version {stand_in}, the model of the floor, is champion in its place: there was none. " + step
    if vacancy := about.get("vacancy"):
        step = f"{vacancy} {step}"
    check = next((check for check in record["checks"] if check["name"] == "difference" and check["gap"]), None)
    if failed[0] == "difference" and check and record["power"]:
        gap, excess = check["gap"], check["gap"]["difference"] - check["limit"]
        if excess > 0 and one_sided(excess, gap["error"], gap["degrees"] + 1) > record["power"]["level"]:
            proof = f"proves a true difference of {gap['difference']:+.3f} in four of five nights"
            step += f" A test part of about {artists_needed(excess, record['power']):,} artists {proof}."
    return step


def artists_needed(gain: float, power: dict[str, Any]) -> int:
    """Artists with whom a true gain passes one look in 80 of 100 cases, by the normal approximation.

    >>> artists_needed(0.02, {"artists": 25, "error": 0.01, "level": 0.05})
    39
    """
    from scipy.special import ndtri

    reach = (ndtri(1 - power["level"]) + ndtri(0.8)) * power["error"] / gain
    return int(-(-power["artists"] * reach**2 // 1))


def power_words(power: dict[str, Any]) -> str:
    """What one look at the test part can show; "" where nothing tells.

    >>> power_words({"artists": 25, "chances": {"0.02": 0.25, "0.05": 0.97}})
    'With this test part (25 artists) a true gain of 0.02 passes one night in 4, of 0.05 nearly always.'
    >>> power_words({"artists": 25, "chances": {"0.02": 0.7, "0.05": 0.8}})
    'With this test part (25 artists) a true gain of 0.02 passes 7 nights in 10, of 0.05 in 8 of 10.'
    """
    if not power.get("chances"):
        return ""
    chances = [
        f"of {gain} {_often(chance, not place)}" for place, (gain, chance) in enumerate(power["chances"].items())
    ]
    return f"With this test part ({power['artists']} artists) a true gain {', '.join(chances)}."


def _often(chance: float, first: bool) -> str:
    verb, nights = ("passes ", "night ") if first else ("", "")
    if chance < 0.001:
        return f"{verb}hardly ever"
    if chance > 0.95:
        return f"{verb}nearly always"
    if chance > 2 / 3:
        return f"passes {10 * chance:.0f} nights in 10" if first else f"in {10 * chance:.0f} of 10"
    return f"{verb}one {nights}in {1 / chance:.0f}"


def draw(record: dict[str, Any], narrow: bool = False) -> Figure | None:
    """Every difference with its interval and the limit that it must be above; None where nothing was compared.

    The constant is left out where there is more to see: it lies so far below that it hides the rest.

    Args:
        narrow: for a phone: the names stand above the bars
    """
    rows = _rows(record)
    rows = [row for row in rows if row.get("subject") != "constant"] or rows
    if not rows:
        return None
    table = pd.DataFrame([row["gap"] for row in rows]).rename(columns={"difference": "value"})
    table["name"], table["limit"] = [row["title"] for row in rows], [row["limit"] or np.nan for row in rows]
    table["colour"] = [{None: PLAIN, True: PASSED, False: HELD}[row["passed"]] for row in rows]
    table["strong"] = [row["name"] == "difference" for row in rows]
    above = sum(row["name"] != "floor" for row in rows)
    whom = " or ".join(["champion"] * (above > 0) + ["floor"] * (above < len(rows)))
    title = f"{METRICS[record['metric']].label}: candidate minus {whom}"
    return intervals(table, above, middle=0, title=title, label=KEY, narrow=narrow)


def _rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The differences from top to bottom: name, gap, limit (None: none is asked), passed, and what it is against."""
    rows = []
    for check in record["checks"]:
        if check["gap"]:
            rows.append(check | {"title": _title(check)})
    order = {"difference": 0, "validation": 1, "guard": 2, "floor": 3}
    rows = sorted(rows, key=lambda row: order[row["name"]])
    guarded = {row["subject"] for row in rows if row["name"] == "guard"}
    groups = [
        {"name": "group", "title": group, "gap": gap, "limit": None, "passed": None}
        for group, gap in record["groups"].items()
        if group not in guarded
    ]
    heads = [row for row in rows if row["name"] in ("difference", "validation", "guard")]
    rows = heads + groups + [row for row in rows if row["name"] == "floor"]
    for row in rows:
        if row["gap"]["metric"] != record["metric"]:  # of a group whose tags have another one
            row["title"] = f"{METRICS[row['gap']['metric']].label} of {row['title']}"
    return rows


def _title(check: dict[str, Any]) -> str:
    names = {"difference": "all tags", "validation": "all tags, validation part"}
    of_subject = {"guard": f"{check['subject']} (guarded)", "floor": f"above {check['subject']} (floor)"}
    return names.get(check["name"]) or of_subject[check["name"]]
