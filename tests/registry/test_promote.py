"""Promotion and rollback move the champion alias and leave a record that survives."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tagscale.registry.promote import VERDICT, champions, history, promote, rollback
from tagscale.registry.versions import CHALLENGER, CHAMPION, Registry
from tagscale.runtime.errors import TagscaleError

NAME = "tagger"


@pytest.fixture
def registry(store: Path) -> Registry:
    """A model with versions 1 to 4, without a champion; version n has a test PR-AUC of 0.n."""
    made = Registry.open_or_create(NAME, "for tests")
    for number in range(1, 5):
        tags = {"tagscale.test.pr_auc": f"0.{number}", "tagscale.model": "waveform"}
        made.client.create_model_version(NAME, source=(store / "mlartifacts" / "m").as_uri(), tags=tags)
    return made


def champion(registry: Registry) -> str | None:
    return registry.aliases().get(CHAMPION)


def test_promotion_moves_the_alias_and_says_who_replaced_whom(registry: Registry) -> None:
    begun = datetime.now(UTC).replace(microsecond=0)
    promote(NAME, 1, why="the first", force=True)
    promote(NAME, "2", why="louder", force=True)
    first, second = history(NAME)
    assert champion(registry) == "2"
    assert (first["champion"], first["replaced"], first["why"]) == ("1", None, "the first")
    assert (second["number"], second["action"]) == (2, "promote")
    assert (second["champion"], second["replaced"], second["why"]) == ("2", "1", "louder")
    assert second["metrics"] == {"champion": {"pr_auc": 0.2}, "replaced": {"pr_auc": 0.1}}
    assert second["by"]
    assert begun <= datetime.fromisoformat(second["when"]) <= datetime.now(UTC)


def test_a_champion_is_no_longer_challenger(registry: Registry) -> None:
    registry.set_alias(CHALLENGER, "3")
    promote(NAME, CHALLENGER, "by hand", force=True)
    assert registry.aliases() == {CHAMPION: "3"}


def test_rollbacks_go_further_back_and_end_at_the_first_champion(registry: Registry) -> None:
    for number in (1, 2, 3):
        promote(NAME, number, "by hand", force=True)
    assert rollback(NAME)["champion"] == "2"
    assert rollback(NAME)["champion"] == "1"
    with pytest.raises(
        TagscaleError, match=r"champion is version 1, and the history\s+knows no earlier one.*there: 2, 3"
    ):
        rollback(NAME)
    assert champion(registry) == "1"
    assert [record["action"] for record in history(NAME)] == ["promote"] * 3 + ["rollback"] * 2


def test_promotion_after_a_rollback_forgets_the_undone(registry: Registry) -> None:
    for number in (1, 2, 3):
        promote(NAME, number, "by hand", force=True)
    rollback(NAME)
    promote(NAME, 4, "by hand", force=True)
    assert rollback(NAME)["champion"] == "2"
    assert rollback(NAME)["champion"] == "1"


def test_champion_that_came_back_can_be_rolled_back(registry: Registry) -> None:
    for number in (1, 2, 1):
        promote(NAME, number, "by hand", force=True)
    assert [rollback(NAME)["champion"] for _ in range(2)] == ["2", "1"]


def test_deleted_version_is_passed_over(registry: Registry) -> None:
    for number in (1, 2, 3):
        promote(NAME, number, "by hand", force=True)
    registry.client.delete_model_version(NAME, "2")
    assert rollback(NAME)["champion"] == "1"


def test_alias_moved_by_other_means_counts_as_a_promotion(registry: Registry) -> None:
    promote(NAME, 1, "by hand", force=True)
    registry.client.set_registered_model_alias(NAME, CHAMPION, "4")
    assert rollback(NAME)["champion"] == "1"
    assert history(NAME)[-1]["replaced"] == "4"


def test_removed_champion_is_put_back(registry: Registry) -> None:
    promote(NAME, 1, "by hand", force=True)
    promote(NAME, 2, "by hand", force=True)
    registry.client.delete_registered_model_alias(NAME, CHAMPION)
    assert rollback(NAME)["champion"] == "2"


def test_the_last_champion_needs_no_verdict_to_get_its_alias_back(registry: Registry) -> None:
    for number in (1, 2):
        promote(NAME, number, "by hand", force=True)
    registry.client.delete_registered_model_alias(NAME, CHAMPION)
    registry.tag("1", {VERDICT: json.dumps({"champion": None, "passed": True})})
    said = r"held it against no champion at all, and nobody is champion now \(version 2 was last\)"
    with pytest.raises(TagscaleError, match=said):
        promote(NAME, 1)
    assert promote(NAME, 2)["champion"] == champion(registry) == "2"


def test_more_than_nine_records_stay_in_order(registry: Registry) -> None:
    for turn in range(11):
        promote(NAME, turn % 2 + 1, "by hand", force=True)
    assert [record["number"] for record in history(NAME)] == list(range(1, 12))


def test_description_tells_the_last_moves_to_people_and_keeps_their_words(registry: Registry) -> None:
    promote(NAME, 1, why="the\nfirst " + 10_000 * "!", force=True)
    promote(NAME, 2, "by hand", force=True)
    rollback(NAME)
    about, told = registry.client.get_registered_model(NAME).description.split("**Champions**")
    assert about.strip() == "for tests"
    newest, _, oldest = told.strip().splitlines()
    assert "**version 1**, in place of version 2, by " in newest
    assert newest.endswith("rolled back by hand (test part: PR-AUC 0.100)")
    assert "**version 1**, by " in oldest
    assert "the first !!!" in oldest
    assert len(oldest) < 350


def test_a_long_description_leaves_room_for_fewer_moves(registry: Registry) -> None:
    """A database other than SQLite refuses more than 5,000 characters, when the alias has moved already."""
    for length, moves in ((4700, 1), (4990, 0)):
        registry.client.update_registered_model(NAME, "x" * length)
        promote(NAME, "1" if moves else "2", why="w" * 150, force=True)
        description = registry.client.get_registered_model(NAME).description
        assert len(description) <= 5000
        assert (description.count("x" * length), description.count("\n- ")) == (1, moves)


def test_errors_name_what_exists(registry: Registry) -> None:
    with pytest.raises(TagscaleError, match=r"'tagger' has no version '9'; there: 1, 2, 3, 4"):
        promote(NAME, 9, "by hand", force=True)
    with pytest.raises(TagscaleError, match=r"No model 'flute'.*there: tagger"):
        promote("flute", 1)
    with pytest.raises(TagscaleError, match=r"No model 'flute'"):
        rollback("flute")
    with pytest.raises(TagscaleError, match="knows no earlier one"):
        rollback(NAME)
    with pytest.raises(TagscaleError, match=r"has no champion\..*tagscale promote"):
        registry.version(CHAMPION)
    promote(NAME, 2, "by hand", force=True)
    with pytest.raises(TagscaleError, match="Version 2 of 'tagger' is the champion already"):
        promote(NAME, 2, "by hand", force=True)
    assert len(history(NAME)) == 1


def test_line_without_records_is_the_present_champion() -> None:
    assert champions([], None) == []
    assert champions([], "7") == ["7"]
