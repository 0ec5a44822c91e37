"""The rules find nothing in what a user installs, and each finds the faults that are planted for it."""

import shutil
from pathlib import Path

import pytest

from conformance import table
from conformance.kit import ROOT, Elsewhere, Installation, Planted, Rule, elsewhere, planted, rules

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation.copied(tmp_path_factory.mktemp("clean"))


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_no_fault_is_in_what_a_user_installs(rule: Rule, clean: Installation) -> None:
    assert list(rule.check(clean)) == []


@pytest.mark.parametrize("fault", planted(), ids=lambda fault: fault.fault)
def test_a_planted_fault_is_named(fault: Planted, clean: Installation, tmp_path: Path) -> None:
    spoiled = Installation.copied(tmp_path, like=clean)
    fault.plant(spoiled)
    messages = []
    for message in fault.rule.check(spoiled):  # a rule renders one overlay after another: the first fault is enough
        messages.append(message)
        if fault.message in message:
            return
    pytest.fail(f"not named; the rule says {messages}")


@pytest.mark.parametrize("fault", elsewhere(), ids=lambda fault: fault.fault)
def test_a_test_elsewhere_exists(fault: Elsewhere) -> None:
    file, _, name = fault.test.partition("::")
    assert f"def {name}(" in (ROOT / file).read_text()


def test_every_rule_has_a_planted_fault() -> None:
    assert {rule.name for rule in rules()} == {fault.rule.name for fault in planted()}


def test_the_page_is_up_to_date() -> None:
    assert table.PAGE.read_text() == table.page(), "run `python tests/conformance/table.py`"
