"""The gate lets only a strictly better candidate pass, and says why."""

import pytest

from tagscale.registry.gate import judge, same_test

TEST = {"tagscale.partition_hash": "p", "tagscale.dataset_hash": "d", "tagscale.hop_seconds": "3.0"}


@pytest.mark.parametrize(
    ("metric", "candidate", "champion", "passed"),
    [
        ("pr_auc", 0.41, 0.40, True),
        ("pr_auc", 0.40, 0.40, False),
        ("pr_auc", 0.39, 0.40, False),
        ("roc_auc", 0.900001, 0.9, True),
        ("rmse", 0.11, 0.12, True),
        ("rmse", 0.12, 0.12, False),
        ("rmse", 0.13, 0.12, False),
        ("pr_auc", None, 0.40, False),
        ("pr_auc", 0.40, None, False),
        ("pr_auc", None, None, False),
    ],
)
def test_only_strictly_better_passes(
    metric: str, candidate: float | None, champion: float | None, passed: bool
) -> None:
    verdict = judge(metric, candidate, champion)
    assert verdict.passed is passed
    assert (verdict.candidate_value, verdict.champion_value) == (candidate, champion)


def test_reasons_are_sentences_with_both_numbers() -> None:
    assert judge("rmse", 0.2, 0.1).reason == "√MSE 0.2000 is worse than the champion's 0.1000 on the same test tracks"
    assert judge("pr_auc", 0.400001, 0.4).reason.startswith("PR-AUC 0.400001 is better than the champion's 0.400000")
    assert judge("pr_auc", None, 0.4, "these tracks").reason == "the candidate has no PR-AUC on these tracks"


@pytest.mark.parametrize("changed", sorted(TEST))
def test_recorded_metrics_count_only_on_the_same_labels_tracks_and_window(changed: str) -> None:
    assert same_test(TEST, TEST)
    assert not same_test(TEST, TEST | {changed: "other"})
    assert not same_test(TEST, {key: TEST[key] for key in TEST if key != changed})
    assert not same_test({}, {}), "a version without these tags was measured nobody knows where"
