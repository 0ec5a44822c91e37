"""The length of a training in steps, and its learning rates, against values worked out by hand."""

import pytest

from sounds import settings
from tagscale.training.budget import Budget, History, learning_rate


def budget(**different: object) -> Budget:
    return Budget.of(settings(**different), patches=100, validation_patches=300)


def test_epochs_are_counted_in_steps() -> None:
    """12 whole batches of 8 in an epoch of 100 patches."""
    spans = {"max_steps": "600 epochs", "min_steps": "2 epochs", "patience": "150 epochs", "validate_every": "1 epoch"}
    stated = budget(schedule="halving", **spans)
    assert stated == Budget(max_steps=7200, min_steps=24, patience=1800, validate_every=12)


@pytest.mark.parametrize("patches", [20, 100, 80_000])
def test_steps_are_the_same_for_every_training_size(patches: int) -> None:
    stated = settings(max_steps=4000, min_steps=500, patience=600, validate_every=100, schedule="constant")
    assert Budget.of(stated, patches, 300) == Budget(4000, 500, 600, 100)


@pytest.mark.parametrize(("max_steps", "expected"), [(4000, 200), (800, 40), (700, 38)])
def test_validations_are_twenty_at_most_and_read_no_more_than_the_training(max_steps: int, expected: int) -> None:
    """300 validation patches are 38 batches of 8."""
    assert budget(max_steps=max_steps, validate_every=None).validate_every == expected


def flat(until: int, every: int = 10) -> History:
    """A loss that is best at the first validation."""
    return [(steps, 0.5 if steps == every else 0.6) for steps in range(every, until + 1, every)]


def test_patience_counts_from_the_minimum_on() -> None:
    short = Budget(max_steps=100, min_steps=0, patience=20, validate_every=10)
    long = Budget(max_steps=100, min_steps=50, patience=20, validate_every=10)
    assert next(steps for steps in range(10, 101, 10) if short.is_over(flat(steps))) == 30
    assert next(steps for steps in range(10, 101, 10) if long.is_over(flat(steps))) == 70


def test_a_training_that_ends_early_cools_down_first() -> None:
    """After 500 steps in vain: a fifth of 600 steps more, in which the rate falls to zero."""
    stated = settings(schedule="trapezoid", max_steps=6000, min_steps=0, patience=500, validate_every=100)
    plan = Budget.of(stated, 100, 300)
    history = flat(600, every=100)
    assert not plan.is_over(history)
    assert plan.end(history[:-1]) == 6000
    assert plan.end(history) == 720
    assert plan.next_validation(history) == 700
    better = [*history, (700, 0.1)]
    assert plan.next_validation(better) == plan.end(better) == 720, "a better loss on the way down does not turn it"
    assert plan.is_over([*better, (720, 0.1)])
    rates = [learning_rate(stated, plan, step, history) / stated.learning_rate for step in (599, 600, 660, 719)]
    assert rates == pytest.approx([1, 1, 0.5, 1 / 120])


def test_a_patience_that_runs_out_in_the_cool_down_lengthens_nothing() -> None:
    plan = Budget(max_steps=600, min_steps=0, patience=520, validate_every=10, cool_down=0.2)
    assert plan.end(flat(550)) == 600
