"""The gate's page: a clear win, an equal candidate, and a loss in a guarded group, each with what to do next."""

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tagscale.registry.gate import Check, Verdict
from tagscale.registry.looks import Look
from tagscale.registry.paired import Gap
from tagscale.report import gate

LOOK = Look(number=22, level=0.05 / 26, spent=22 * 0.05 / 26, error=0.05, looks=26, key="")
ABOUT = {"name": "tagger", "version": "7", "alias": "champion", "candidate": "waveform-all-0", "cost": "9 ms"}
POWER = {"artists": 25, "error": 0.01, "level": 0.05 / 26, "from": "of a difference", "chances": {"0.02": 0.15}}


def gap(difference: float) -> Gap:
    return Gap("pr_auc", 0.4 + difference, 0.4, difference, 0.01, 24)


def verdict(difference: float, mood: float) -> dict[str, Any]:
    checks = (
        Check("looks", True, "look 22 of 26"),
        Check("floor", True, "better than the <baseline>", "baseline", gap(difference)),
        Check("floor", True, "better than the constant", "constant", gap(0.4)),
        Check("guard", mood >= -0.02, "mood, guarded: it falls", "mood", gap(mood), -0.02),
        Check("difference", gap(difference).p() <= LOOK.level, "PR-AUC differs", "", gap(difference)),
    )
    groups, part = {"genre": gap(difference), "mood": gap(mood)}, {"hash": "h", "tracks": 9, "artists": 25, "tags": 3}
    made = Verdict(
        "pr_auc",
        "superior",
        0.0,
        "1",
        checks,
        (0.4, 0.4),
        groups,
        LOOK,
        part | {"lone": ["oboe"]},
        POWER,
        ("scored again",),
    )
    return json.loads(json.dumps(made.record()))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("difference", "mood", "words", "step"),
    [
        (0.06, 0.05, "passed", "<code>tagscale rollback</code> makes the champion before it champion again"),
        (
            0.01,
            0.0,
            "held back",
            "A test part of about 349 artists proves a true difference of +0.010 in four of five nights",
        ),
        (0.06, -0.05, "held back", "Look at the guarded tags in the report"),
    ],
    ids=["win", "equal", "loss"],
)
def test_the_page_says_what_was_decided_and_what_to_do(
    tmp_path: Path, difference: float, mood: float, words: str, step: str
) -> None:
    gate.write(tmp_path, verdict(difference, mood), ABOUT)
    page = (tmp_path / "gate.html").read_text()
    assert f"tagger, version 7: {words}" in page
    assert step in page
    assert "than the &lt;baseline&gt;" in page
    assert "22 looks have spent 85% of the error of this test part, and 4 more are left" in page
    assert "With this test part (25 artists) a true gain of 0.02 passes one night in 7." in page
    assert page.count("<td>mood (guarded)</td>") == 1, "a guarded group has one row"
    assert "oboe" in page
    assert "http" not in page.replace("http-equiv", ""), "nothing outside the page"
    assert (tmp_path / "gate.png").read_bytes().startswith(b"\x89PNG")


def test_the_figure_has_the_interval_of_every_difference_but_the_constants() -> None:
    figure = gate.draw(verdict(0.06, -0.05))
    assert figure is not None
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["above baseline (floor)", "genre", "mood (guarded)", "all tags"]
    low, high = gap(0.06).interval()
    ends = [(segment[0][0], segment[1][0]) for segment in axes.collections[0].get_segments()]
    assert any(end == pytest.approx((low, high), abs=1e-6) for end in ends)


@pytest.mark.parametrize("narrow", [False, True])
def test_every_word_lies_within_the_figure(narrow: bool) -> None:
    record = verdict(0.06, -0.05)
    record["groups"]["a group with a long name, as users give them"] = gap(0.01).record() | {"metric": "rmse"}
    figure = gate.draw(record, narrow)
    assert figure is not None
    assert figure.get_figwidth() == (4.2 if narrow else 8.4), "inches; a phone shows 4.2 of them at full size"
    FigureCanvasAgg(figure).draw()
    (axes,) = figure.axes
    names = axes.texts if narrow else axes.get_yticklabels()
    assert [name.get_text() for name in names][1] == "√MSE of a group with a long name, as us…"
    drawn = figure.get_tightbbox()
    assert drawn.x0 >= 0
    assert drawn.x1 <= figure.get_figwidth()


def test_a_version_without_a_comparison_has_a_page_without_a_figure(tmp_path: Path) -> None:
    record = Verdict("pr_auc", "superior", 0.0, None, ()).record()
    gate.write(tmp_path, record, ABOUT | {"alias": None})
    page = (tmp_path / "gate.html").read_text()
    assert "The first champion: there was none to compare with" in page
    assert "no label of the test part was read" in page
    assert not (tmp_path / "gate.png").exists()


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("cost", "raise the limit"),
        ("champion", "<code>tagscale promote 7 --force --why TEXT</code>"),
        ("validation", "Nothing was spent"),
        ("looks", "Draw a new test part"),
        ("floor", "Train that model, or take it out of registry.gate.floor"),
    ],
)
def test_every_condition_that_fails_has_its_advice(name: str, step: str) -> None:
    record = Verdict("pr_auc", "superior", 0.0, "1", (Check(name, False, "no"),)).record()
    assert step in gate.render(record, ABOUT)


@pytest.mark.parametrize("difference", [0.0, 0.03])
def test_more_artists_are_advised_where_the_proof_is_what_lacks(difference: float) -> None:
    """A candidate that is proven not to be worse, and has no reason to change, needs no more of them."""
    check = Check("difference", False, "no reason holds", "", gap(difference), -0.02)
    record = Verdict("pr_auc", "non_inferior", 0.02, "1", (check,), look=LOOK, power=POWER).record()
    assert ("artists proves a true difference of +0.000" in gate.next_step(record, ABOUT)) == (difference == 0)
