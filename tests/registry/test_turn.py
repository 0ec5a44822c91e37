"""Writers of one registry take turns: nothing that two of them do at once is lost or done twice."""

from pathlib import Path

import pytest

from tagscale.registry import turn
from tagscale.registry.promote import history, promote
from tagscale.registry.versions import CHAMPION, Registry
from tagscale.runtime.errors import TagscaleError
from tagscale.tracking import connect
from threads import at_once

NAME = "tagger"


@pytest.fixture(params=["local store", "server"])
def registry(request: pytest.FixtureRequest, store: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A model with versions 1 to 4, in a store where turns are a file's lock or, as on a server, tags."""
    made = Registry.open_or_create(NAME, "for tests")
    for _ in range(4):
        made.client.create_model_version(NAME, source=(store / "mlartifacts" / "m").as_uri())
    if request.param == "server":
        monkeypatch.setattr(turn, "database_of", lambda _: None)
        monkeypatch.setattr(turn, "_LONGEST_PAUSE", turn._SHORTEST_PAUSE * 2)
    return made


def test_promotions_at_once_are_all_made_and_recorded(registry: Registry) -> None:
    at_once(4, lambda number: promote(NAME, number + 1, "by hand", force=True))
    records = history(NAME)
    assert [record["number"] for record in records] == [1, 2, 3, 4]
    assert {record["champion"] for record in records} == {"1", "2", "3", "4"}
    before = [None, *(record["champion"] for record in records)]
    assert [record["replaced"] for record in records] == before[:-1]
    assert registry.aliases() == {CHAMPION: before[-1]}
    assert not turn._claims(registry.client, NAME)


def test_the_same_promotion_at_once_is_made_by_one(registry: Registry) -> None:
    outcomes = at_once(3, lambda _: promote(NAME, 2, "by hand", force=True))
    refused = [outcome for outcome in outcomes if isinstance(outcome, TagscaleError)]
    assert len(refused) == 2
    assert all("is the champion already" in str(error) for error in refused)
    assert len(history(NAME)) == 1


def test_claim_of_a_killed_process_is_removed_and_named(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(turn, "database_of", lambda _: None)
    monkeypatch.setattr(turn, "LONGEST_TURN_SECONDS", 0.5)
    registry.client.set_registered_model_tag(NAME, f"{turn.CLAIM}0123", "process 7 of ann on far")
    promote(NAME, 3, "by hand", force=True)
    assert registry.aliases() == {CHAMPION: "3"}
    assert not turn._claims(registry.client, NAME)
    assert "process 7 of ann on far did not end its change of tagger" in capsys.readouterr().out


def test_models_made_at_once_are_one(store: Path) -> None:
    connect()  # the store is there
    made = at_once(4, lambda _: Registry.open_or_create(NAME, "for tests"))
    assert [registry.name for registry in made if isinstance(registry, Registry)] == [NAME] * 4
