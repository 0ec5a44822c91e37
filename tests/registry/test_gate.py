"""The gate's conditions: what passes, what is held back, and in which words."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from registry.tiny import ROOT
from tagscale.params.blocks import GateParams
from tagscale.params.load import parse, read_yaml
from tagscale.registry.cost import Cost
from tagscale.registry.gate import (
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
from tagscale.registry.looks import Look
from tagscale.registry.paired import Gap
from tagscale.registry.trial import Trial, same_test
from tagscale.runtime.errors import TagscaleError

TEST = {"tagscale.partition_hash": "p", "tagscale.dataset_hash": "d", "tagscale.hop_seconds": "3.0"}
LOOK = Look(number=3, level=0.05 / 26, spent=0.15 / 26, error=0.05, looks=26, key="")


def gate(**changes: Any) -> GateParams:
    content = read_yaml(ROOT / "params.yaml")
    content["registry"]["gate"] |= changes
    return parse(content).registry.gate


def gap(difference: float, error: float = 0.01, metric: str = "pr_auc") -> Gap:
    sign = -1 if metric == "rmse" else 1
    return Gap(metric, 0.4 + sign * difference, 0.4, difference, error, degrees=24)


def test_superiority_needs_a_difference_beyond_chance_at_the_level_of_the_look() -> None:
    assert check_difference(gate(), gap(0.04), LOOK).passed
    held = check_difference(gate(), gap(0.025), LOOK)
    assert not held.passed, "p = 0.01 would pass a single test"
    assert held.words == (
        "not proven better: PR-AUC 0.4250 is 0.0250 better than the 0.4000 of the champion (95% interval +0.0044 to "
        "+0.0456), p = 0.0098 where 0.0019 is needed"
    )
    assert not check_difference(gate(margin=0.02), gap(0.04), LOOK).passed
    assert check_difference(gate(), gap(0.04, metric="rmse"), LOOK).words.startswith("√MSE 0.3600 is 0.0400 better")
    assert not check_difference(gate(), None, LOOK).passed


def test_non_inferiority_needs_a_margin_and_a_reason_that_holds() -> None:
    params = gate(rule="non_inferior", margin=0.03, reasons=["smaller", "faster"])
    assert check_difference(params, gap(0.005), LOOK, ["smaller"]).passed
    assert check_difference(params, gap(0.005), LOOK, ["smaller"]).words.endswith("; reason: smaller")
    none = check_difference(params, gap(0.005), LOOK, ["newer_data"])
    assert not none.passed
    assert none.words.endswith("none of the reasons holds (smaller, faster)")
    better = check_difference(params, gap(0.04), LOOK)
    assert better.passed
    assert better.words.endswith("; reason: better")
    worse = check_difference(params, gap(-0.02), LOOK, ["smaller"])
    assert not worse.passed
    assert worse.words.startswith("not proven not to be worse by 0.03 in PR-AUC")
    for changes in ({"margin": 0.0}, {"margin": 0.03, "reasons": []}):
        with pytest.raises(TagscaleError, match=r"registry\.gate: non_inferior needs a margin above 0"):
            gate(rule="non_inferior", **changes)


def test_reasons_are_measured() -> None:
    champion = Cost(100.0, 10.0, "here")
    assert reasons_of(Cost(94.0, 9.8, "here"), champion, newer_data=False) == ["faster"]
    assert reasons_of(Cost(99.0, 9.0, "here"), champion, newer_data=True) == ["smaller", "newer_data"]
    assert reasons_of(champion, champion, newer_data=False) == []


def test_a_look_is_spent_only_where_the_candidate_is_ahead_on_the_validation_part() -> None:
    assert check_validation(gate(), gap(0.001)).passed
    assert check_validation(gate(), gap(0.0)).words.endswith("so the test part is not looked at")
    assert check_validation(gate(rule="non_inferior", margin=0.02), gap(-0.01)).passed
    assert check_validation(gate(margin=0.02), gap(0.01)).words == (
        "on the validation part PR-AUC 0.4100 is 0.0100 better than the 0.4000 of the champion, where more than +0.02 "
        "is asked, so the test part is not looked at"
    )
    assert not check_validation(gate(), None).passed
    assert not check_looks(gate(), None).passed
    assert check_looks(gate(), LOOK).words == "look 3 of 26 at this test part, at a level of 0.0019"


def test_the_floor_may_be_equalled_and_the_constant_must_be_surpassed_beyond_chance() -> None:
    assert check_floor("baseline", gap(0.0), 0.05, whose="Descriptors").passed
    below = check_floor("baseline", gap(-0.001), 0.05, whose="Descriptors")
    assert not below.passed
    assert below.words == "PR-AUC 0.3990 is 0.0010 worse than the 0.4000 of Descriptors"
    assert check_floor("constant", gap(0.02), 0.05).passed
    assert check_floor("constant", gap(0.01), 0.05).words.endswith(", which could be chance")
    assert not check_floor("baseline", None, 0.05).passed
    missing = check_floor("baseline", None, 0.05, "the study has none")
    assert (missing.passed, missing.words) == (
        False,
        "the floor (registry.gate.floor) names baseline, and the study has none",
    )


def test_guards_allow_a_fall_of_so_much() -> None:
    assert check_guard("mood", gap(-0.02), 0.02).passed
    held = check_guard("mood", gap(-0.021), 0.02)
    assert not held.passed
    assert (
        held.words
        == "mood, guarded: PR-AUC 0.3790 is 0.0210 worse than the 0.4000 of the champion; it may fall by 0.02"
    )
    assert not check_guard("mood", None, 0.02).passed
    assert f"{check_guard('mood', gap(0.0), 0.0).limit:g}" == "0"


def test_every_tag_of_the_champion_stays() -> None:
    champion = {"rock": "classification", "energy": "regression"}
    assert check_tags(champion, champion | {"jazz": "classification"}).words == (
        "the candidate has all 2 tags of the champion"
    )
    lacking = check_tags(champion, {"rock": "classification", "energy": "classification"})
    assert (lacking.passed, lacking.words) == (False, "the candidate lacks 1 tag of the champion: energy")


def test_a_chance_and_a_level_that_print_alike_get_more_digits() -> None:
    close = check_difference(gate(), gap(0.0321), LOOK)
    assert close.passed
    assert close.words.endswith("p = 0.00187439 where 0.00192308 is needed"), "not 0.0019 where 0.0019 is needed"


def test_limits_of_cost_hold_where_they_are_set() -> None:
    assert check_cost(gate(), {}) == []
    params = gate(most_ms=100, most_megabytes=5)
    assert [check.passed for check in check_cost(params, {"ms": 100.0, "MB": 5.1})] == [True, False]
    assert check_cost(params, {"MB": 5.1})[0].words == "the candidate has no recorded cost"
    assert check_cost(params, {"ms": 1, "MB": 5.1})[1].words == "the candidate takes 5.1 MB, and 5 are allowed"


def test_a_verdict_passes_where_all_conditions_hold_and_names_those_that_fail() -> None:
    good, bad = Check("floor", True, "as good as the floor"), Check("guard", False, "mood falls")
    passed = Verdict("pr_auc", "superior", 0.0, "1", (good, Check("difference", True, "better")))
    assert (passed.passed, passed.reason) == (True, "better")
    held = Verdict("pr_auc", "superior", 0.0, "1", (good, bad), notes=("scored again",))
    assert (held.passed, held.reason) == (False, "mood falls (scored again)")
    first = Verdict("pr_auc", "superior", 0.0, None, (good,))
    assert first.reason == "the first champion: there was none to compare with; as good as the floor"
    assert held.record()["checks"][1] == {
        "name": "guard",
        "subject": "",
        "passed": False,
        "words": "mood falls",
        "limit": 0.0,
        "gap": None,
    }


def test_no_gain_beyond_perfect_is_foretold() -> None:
    part = SimpleNamespace(artists=lambda _: 25, params=SimpleNamespace(registry=SimpleNamespace(gate=gate())))

    def gains(other: float, metric: str) -> list[str]:
        known = Gap(metric, other, other, 0.0, 0.01, 24)
        return list(Trial.foresight(cast(Any, part), 0.05, known, "test", "")["chances"])

    assert gains(0.4, "pr_auc") == gains(0.3, "rmse") == ["0.01", "0.02", "0.05"]
    assert gains(0.975, "pr_auc") == gains(0.025, "rmse") == ["0.01", "0.02"]
    assert gains(0.995, "pr_auc") == []


@pytest.mark.parametrize("changed", sorted(TEST))
def test_results_are_of_the_same_test_only_with_the_same_labels_tracks_and_window(changed: str) -> None:
    assert same_test(TEST, TEST)
    assert not same_test(TEST, TEST | {changed: "other"})
    assert not same_test(TEST, {key: TEST[key] for key in TEST if key != changed})
    assert not same_test({}, {}), "a version without these tags was measured nobody knows where"
