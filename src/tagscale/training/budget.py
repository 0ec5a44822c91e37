"""How long a training takes, in optimiser steps, and the learning rate of each of them.

Source of the schedule `halving`: the authors' later training code. The paper states the initial rate and no schedule.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tagscale.audio.loading import epoch_steps
from tagscale.params.blocks import Span, TrainParams, epochs_of

WARM_UP = 0.1  # share of train.max_steps over which the rate of `cosine` rises; that of `trapezoid` at most
WARM_UP_STEPS = 100  # over which the rate of `trapezoid` rises
COOL_DOWN = 0.2  # steps of the fall to 0 at the end of `trapezoid`, as a share of those before
VALIDATIONS = 20  # at most, of one training, where train.validate_every is null

History = Sequence[tuple[int, float]]  # of every validation: the steps before it, and its loss


@dataclass(frozen=True)
class Budget:
    """The length of one training, in optimiser steps.

    Attributes:
        max_steps: steps of a training that does not end early
        min_steps: steps after which `patience` begins to count
        patience: a training ends, or cools down, after so many steps without a better validation loss
        validate_every: steps from one validation to the next; there is one after the last step, too
        cool_down: steps over which the rate falls to 0 at the end, as a share of those before; 0: none
    """

    max_steps: int
    min_steps: int
    patience: int
    validate_every: int
    cool_down: float = 0.0

    @classmethod
    def of(cls, settings: TrainParams, patches: int, validation_patches: int) -> "Budget":
        """The budget of a training on so many patches an epoch.

        Where `train.validate_every` is null, a validation reads no more patches than the steps since the one before it,
        and there are at most 20: they take a quarter of the time at most, whatever the number of training tracks.
        """
        per_epoch = epoch_steps(patches, settings.batch)

        def steps(span: Span) -> int:
            epochs = epochs_of(span)
            return int(span) if epochs is None else epochs * per_epoch

        max_steps = steps(settings.max_steps)
        by_rule = max(-(-validation_patches // settings.batch), -(-max_steps // VALIDATIONS))
        every = by_rule if settings.validate_every is None else steps(settings.validate_every)
        cool_down = COOL_DOWN if settings.schedule == "trapezoid" else 0.0
        return cls(max_steps, steps(settings.min_steps), steps(settings.patience), every, cool_down)

    def end(self, history: History) -> int:
        """The number of steps after which the training ends, as far as these validations tell.

        It is `max_steps` until `patience` runs out. From then on the training ends at once, or with its cool-down.

        >>> budget = Budget(max_steps=90, min_steps=20, patience=20, validate_every=10, cool_down=0.2)
        >>> [budget.end(history) for history in ([], [(10, 0.5), (30, 0.6)], [(10, 0.5), (30, 0.6), (40, 0.6)])]
        [90, 90, 48]
        """
        best, lowest = 0, float("inf")
        for steps, loss in history:
            if loss < lowest:
                best, lowest = steps, loss
            elif steps - max(best, self.min_steps) >= self.patience:
                return min(self.max_steps, round(steps * (1 + self.cool_down)))
        return self.max_steps

    def is_over(self, history: History) -> bool:
        """Whether the training ends after these validations."""
        return bool(history) and history[-1][0] >= self.end(history)

    def next_validation(self, history: History) -> int:
        """The number of steps before the next validation.

        >>> budget = Budget(max_steps=25, min_steps=0, patience=20, validate_every=10)
        >>> [budget.next_validation(history) for history in ([], [(10, 0.5)], [(10, 0.5), (20, 0.4)])]
        [10, 20, 25]
        """
        validated = history[-1][0] if history else 0
        return min(validated + self.validate_every, self.end(history))


def kept_step(history: History, keep: str) -> int:
    """The number of steps before the validation whose weights are kept (`train.keep`).

    `last`: those of the newest validation. Where the schedule ends at a rate of 0, nothing is gained by choosing among
    earlier ones, and a choice by the loss does harm where tracks are few: there the loss rises, because the model is
    too sure of its scores, while their ranking still gets better (benchmarks/results/recipe.md).
    `best`: those of the lowest validation loss; of the first of several.

    >>> history = [(10, 0.5), (20, 0.4), (30, 0.45)]
    >>> kept_step(history, "last"), kept_step(history, "best")
    (30, 20)
    """
    return history[-1][0] if keep == "last" else min(history, key=lambda validation: validation[1])[0]


def learning_rate(settings: TrainParams, budget: Budget, step: int, history: History) -> float:
    """The learning rate of a step.

    Args:
        history: of the validations before the step
    """
    return settings.learning_rate * SCHEDULES[settings.schedule](budget, step, history)


def constant(budget: Budget, step: int, history: History) -> float:
    """The schedule `constant`: 1 at every step."""
    return 1.0


def trapezoid(budget: Budget, step: int, history: History) -> float:
    """The schedule `trapezoid`: a short linear rise, a constant rate, and a linear fall to zero over the last sixth.

    Where `train.patience` runs out, the fall begins there: whatever the number of steps that a training takes, its last
    weights are annealed, which needs no guess of that number.
    Source: Haegele et al. 2024, "Scaling laws and compute-optimal training beyond fixed training durations".

    >>> budget = Budget(max_steps=60, min_steps=0, patience=20, validate_every=10, cool_down=0.2)
    >>> [round(trapezoid(budget, step, []), 2) for step in (0, 3, 6, 50, 55, 60)]
    [0.14, 0.57, 1.0, 1.0, 0.5, 0.0]
    >>> [trapezoid(budget, step, [(10, 0.5), (20, 0.6), (30, 0.6)]) for step in (30, 33, 36)]
    [1.0, 0.5, 0.0]
    """
    end = budget.end(history)
    fall = end / (1 + budget.cool_down)  # step from which the rate falls
    rise = risen(step, min(WARM_UP_STEPS, round(WARM_UP * budget.max_steps)))
    return min(rise, 1.0, (end - step) / (end - fall))


def risen(step: int, rise: int) -> float:
    """A linear rise over so many steps, then 1.

    >>> [risen(step, 3) for step in (0, 1, 2, 3)]
    [0.25, 0.5, 0.75, 1.0]
    """
    return min(1.0, (step + 1) / (rise + 1))


def cosine(budget: Budget, step: int, history: History) -> float:
    """The schedule `cosine`: a linear rise over the first tenth of `max_steps`, then half a cosine down to zero.

    >>> budget = Budget(max_steps=100, min_steps=0, patience=100, validate_every=10)
    >>> [round(cosine(budget, step, []), 2) for step in (0, 5, 10, 55, 100)]
    [0.09, 0.55, 1.0, 0.5, 0.0]
    """
    rise = max(1, round(WARM_UP * budget.max_steps))
    if step < rise:
        return risen(step, rise)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, budget.max_steps - rise))))


def halving(budget: Budget, step: int, history: History) -> float:
    """The schedule `halving`: half after half of `train.patience` without a better loss, so once before the end.

    With a patience of 150 epochs it is the 75 epochs of the authors' later training code.
    """
    return float(0.5 ** halvings(history, max(1, budget.patience // 2)))


def halvings(history: History, wait: int) -> int:
    """How often the rate has been halved: after `wait` steps without a better loss, and again after as many more.

    >>> worse = [(10, 0.5), (20, 0.4), (30, 0.41), (40, 0.42)]
    >>> halvings(worse, wait=20), halvings([*worse, (50, 0.39), (60, 0.4)], wait=20)
    (1, 1)
    """
    best, since, count = float("inf"), 0, 0  # `since`: steps before the best loss or the last halving
    for steps, loss in history:
        if loss < best:
            best, since = loss, steps
        elif steps - since >= wait:
            count, since = count + 1, steps
    return count


Schedule = Callable[[Budget, int, History], float]  # gives the share of train.learning_rate
SCHEDULES: dict[str, Schedule] = {"trapezoid": trapezoid, "cosine": cosine, "constant": constant, "halving": halving}
