"""Courses over a training: of the learning rate, of batch norm's statistics, and when it is over."""

import math
from collections.abc import Sequence
from typing import Literal

Schedule = Literal["cosine", "constant", "halving"]

WARM_UP = 0.1  # share of the steps over which the cosine's learning rate rises


def learning_rate_factor(step: int, steps: int) -> float:
    """The schedule `cosine`: a linear rise over the first tenth, then half a cosine down to zero.

    The paper states the initial rate and no course. Trainings here are short, and falling to zero within
    `train.max_epochs` is what makes a short training good.

    >>> [round(learning_rate_factor(step, 100), 2) for step in (0, 5, 10, 55, 100)]
    [0.09, 0.55, 1.0, 0.5, 0.0]
    """
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))


def halvings(losses: Sequence[float], wait: int) -> int:
    """The schedule `halving`: how often the rate has been halved after epochs with these validation losses.

    It is halved after `wait` epochs without a better loss, and again after as many more. Source: the authors' later
    training code, which waits 75 epochs.

    >>> halvings([0.5, 0.4, 0.41, 0.42], wait=2), halvings([0.5, 0.4, 0.41, 0.42, 0.39, 0.4], wait=2)
    (1, 1)
    """
    best, since, count = float("inf"), 0, 0
    for loss in losses:
        since += 1
        if loss < best:
            best, since = loss, 0
        elif since >= wait:
            count, since = count + 1, 0
    return count


def is_over(losses: Sequence[float], max_epochs: int, patience: int) -> bool:
    """Whether a training that has had epochs with these validation losses ends.

    >>> [is_over(losses, max_epochs=9, patience=2) for losses in ([], [0.5, 0.6], [0.5, 0.6, 0.5])]
    [False, False, True]
    """
    if not losses:
        return False
    best = min(range(len(losses)), key=losses.__getitem__)
    return len(losses) >= max_epochs or len(losses) - 1 - best >= patience


def statistics_momentum(step: int, slowest: float) -> float:
    """Weight of a new batch in batch norm's running statistics: an average over about the last tenth of the steps.

    The models' own 0.01 holds from step 1,000 on. Before, it would still mix in the initial values and those of weights
    long gone, and a training on few tracks ends before.

    >>> [round(statistics_momentum(step, 0.01), 3) for step in (0, 10, 90, 5000)]
    [1.0, 0.5, 0.1, 0.01]
    """
    return max(slowest, 1 / (1 + step / 10))
