"""Looks at a test part are counted and spent: one a version and champion, never more error than there is."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.tiny import empty_store
from tagscale.registry.looks import JudgedPart, Look, close, look_records, reserve
from tagscale.registry.paired import Gap
from tagscale.registry.versions import Registry
from threads import at_once


class Tags:
    """As much of MLflow's client as looks need."""

    tracking_uri = "memory"

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}

    def get_registered_model(self, _: str) -> Any:
        return SimpleNamespace(tags=dict(self.tags))

    def set_registered_model_tag(self, _: str, key: str, value: str) -> None:
        assert len(key) <= 250
        assert len(value) <= 5000
        self.tags[key] = value


def in_memory() -> Registry:
    return Registry("tagger", Tags())  # type: ignore[arg-type]


def part_of(tracks: range, label: float = 1.0) -> JudgedPart:
    names = [f"t{number}" for number in tracks]
    return JudgedPart.of(names, pd.DataFrame({"rock": label}, names, dtype=np.float32))


def test_a_task_that_is_tried_again_takes_one_look_and_another_champion_another() -> None:
    registry, part = in_memory(), part_of(range(100))
    first = reserve(registry, part, "2", "1", error=0.05, looks=26)
    assert first is not None
    assert reserve(registry, part, "2", "1", error=0.05, looks=26) == first
    second = reserve(registry, part, "2", "3", error=0.05, looks=26)
    assert second is not None
    assert (first.number, second.number) == (1, 2)
    assert (first.level, second.spent) == (pytest.approx(0.05 / 26), pytest.approx(0.1 / 26))
    close(registry, second, passed=True)
    records = look_records(registry)
    assert [(record["number"], record["champion"], record["passed"]) for record in records] == [
        (1, "1", None),
        (2, "3", True),
    ]


def test_all_planned_looks_are_there_and_no_more() -> None:
    registry, part = in_memory(), part_of(range(100))
    looks = [reserve(registry, part, str(number), "0", error=0.05, looks=26) for number in range(1, 28)]
    assert [look and look.number for look in looks] == [*range(1, 27), None]
    assert next(number for number, look in enumerate(looks, 1) if look and look.warning) == 21, "from 80 % on"
    assert looks[20] is not None and "81% of the error" in str(looks[20].warning)  # noqa: PT018
    assert "and 5 more are left" in str(looks[20].warning)
    assert "it is used up" in str(Look.of(look_records(registry)[-1]).warning)


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_no_sequence_of_looks_and_settings_spends_more_than_the_error(sequence: list[tuple[int, int, int]]) -> None:
    registry, part = in_memory(), part_of(range(20))
    for looks, version, champion in sequence:
        reserve(registry, part, str(version), str(champion), error=0.05, looks=looks)
    records = look_records(registry)
    assert sum(record["level"] for record in records) <= 0.05 + 1e-9
    assert len({(record["version"], record["champion"]) for record in records}) == len(records)


def test_a_test_part_that_grows_or_whose_labels_are_corrected_stays_the_same_and_a_new_one_begins_anew() -> None:
    registry, part = in_memory(), part_of(range(1000))
    assert reserve(registry, part, "1", None, error=0.05, looks=26) is not None
    for number, later in enumerate((part_of(range(1000), 0.0), part_of(range(1200)), part_of(range(100, 1100))), 2):
        look = reserve(registry, later, str(number), None, error=0.05, looks=26)
        assert look is not None
        assert look.number == number
    other = reserve(registry, part_of(range(5000, 6000)), "9", None, error=0.05, looks=26)
    assert other is not None
    assert other.number == 1


@pytest.mark.parametrize(("shared", "like"), [(20, False), (60, False), (80, True), (100, True)])
def test_the_share_of_common_tracks_is_estimated_from_few_hashes(shared: int, like: bool) -> None:
    """Of two parts of 100 tracks with 60 in common, 60 of 140 are in both: less than half."""
    assert part_of(range(100)).is_like(part_of(range(100 - shared, 200 - shared))) is like
    small = part_of(range(10))
    assert small.is_like(part_of(range(2, 12))), "8 of 12"
    assert not small.is_like(part_of(range(5, 15))), "5 of 15"


def test_the_order_of_tracks_makes_no_other_part() -> None:
    names = ["b", "a", "c"]
    labels = pd.DataFrame({"rock": [1.0, 0.0, np.nan]}, names)
    assert JudgedPart.of(names, labels) == JudgedPart.of(["a", "b", "c"], labels.loc[["a", "b", "c"]])
    assert JudgedPart.of(names, labels).hash != JudgedPart.of(names, labels.rename(columns={"rock": "jazz"})).hash


def test_two_judges_at_once_take_two_looks(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    empty_store(request.config, tmp_path)
    registry, part = Registry.open_or_create("tagger", "for tests"), part_of(range(10))

    def look(number: int) -> Look | None:
        with registry.one_writer():
            return reserve(registry, part, str(number), "0", error=0.05, looks=3)

    looks = at_once(4, look)
    assert sorted(one.number for one in looks if isinstance(one, Look)) == [1, 2, 3]
    assert looks.count(None) == 1


def test_26_equal_candidates_pass_in_five_of_a_hundred_histories_at_most() -> None:
    """Where the difference is a mean over artists, so that t holds exactly; benchmarks/gate.py has real metrics."""
    random = np.random.default_rng(0)
    champion, candidates = random.standard_normal((1500, 1, 20)), random.standard_normal((1500, 26, 20))
    each = candidates - champion
    means, errors = each.mean(axis=2).ravel(), (each.std(axis=2, ddof=1) / np.sqrt(20)).ravel()
    passed = [Gap("pr_auc", 0, 0, mean, error, 19).p() <= 0.05 / 26 for mean, error in zip(means, errors, strict=True)]
    histories = np.reshape(passed, (1500, 26)).any(axis=1)
    assert 0.005 < histories.mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1500)
