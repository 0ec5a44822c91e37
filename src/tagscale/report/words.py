"""Numbers as the report and the terminal print them."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np

from tagscale.evaluation.metrics import KINDS, NOTHING, Metric
from tagscale.runtime.words import listed

LONGEST_NAME = 40  # characters of a tag or a group beside its bars


class Meaning(NamedTuple):
    """What a number is: its name, and a sentence or two for readers."""

    label: str
    meaning: str


# The report's numbers that are no metrics, by key.
TERMS = {
    "train_tracks": Meaning(
        "tracks", "Tracks that the model learned from. A larger size holds those of a smaller one."
    ),
    "parameters": Meaning("parameters", "Numbers that training sets."),
    "seconds": Meaning("training", "Wall-clock time of one training, mean over seeds. It depends on the machine."),
    "rate": Meaning("patches/s", "Patches that one training takes in a second. It depends on the machine."),
    "interval": Meaning(
        "[low, high]", "How sure a score is; the section on how this was measured says what the interval holds."
    ),
    "deviation": Meaning("±", "The standard deviation over seeds: trainings that differ in their random start alone."),
    "positives": Meaning("positive tracks", "Test tracks with the tag (a label of at least 0.5), of those annotated."),
    "artists": Meaning(
        "artists",
        "Artists of the tag's positive test tracks, or of a regression tag's annotated ones. Where there is one alone "
        "(†), nothing says how another artist's tracks would be tagged, so the score has no interval.",
    ),
    "guess": Meaning(
        "guessing", "Every track gets the same score. The PR-AUC of that is the share of positive tracks."
    ),
    "correlation": Meaning(
        "bias",
        "Each test track picks as many tags as it truly has, those with its highest scores. Bias is the rank "
        "correlation of (picked + ½) / (true + ½) with the tag's share in training. 0 is none, 1 the strongest.",
    ),
    "tenth": Meaning(
        "popular tenth", "The share of the most popular tenth of the tags in all picks and all true tags."
    ),
    "lift": Meaning("0 guessing to 1 perfect", "(PR-AUC - guessing) / (1 - guessing), mean over a third of the tags."),
    "impossible": Meaning(
        "tracks with such a pair",
        "The share of test tracks for which two tags that exclude each other are predicted. Each tag is predicted as "
        "often as it is true in the validation part.",
    ),
    "pairs": Meaning("pairs a track", "Predicted pairs of tags that exclude each other, mean over the test tracks."),
}


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(8.21), duration(200), duration(3900)
    ('8.2 s', '3.3 min', '1.1 h')
    """
    size, unit = (1, "s") if seconds < 60 else (60, "min") if seconds < 3600 else (3600, "h")
    return f"{seconds / size:.1f} {unit}"


def rate_words(rate: float) -> str:
    """Patches a second: two digits below ten, none after the point above."""
    return NOTHING if np.isnan(rate) else f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def interval_words(low: float, high: float, metric: Metric) -> str:
    """A metric's interval in brackets, with one decimal less than the score; nothing where there is none.

    >>> from tagscale.evaluation.metrics import PR_AUC
    >>> interval_words(0.6401, 0.7, PR_AUC), interval_words(float("nan"), 1.0, PR_AUC)
    ('[0.64, 0.70]', '')
    """
    if np.isnan(low) or np.isnan(high):
        return ""
    return f"[{low:.{metric.decimals - 1}f}, {high:.{metric.decimals - 1}f}]"


def better_words(metric: Metric) -> str:
    """Which direction of a metric is the good one."""
    return f"{'lower' if metric.lower_is_better else 'higher'} is better"


def directions(metrics: Iterable[Metric]) -> str:
    """A clause a direction, with its metrics.

    >>> from tagscale.evaluation.metrics import PR_AUC, RMSE, ROC_AUC
    >>> directions([ROC_AUC, PR_AUC, RMSE])
    'ROC-AUC and PR-AUC: higher is better; √MSE: lower is better'
    """
    labels: dict[str, list[str]] = {}
    for metric in metrics:
        labels.setdefault(better_words(metric), []).append(metric.label)
    return "; ".join(f"{listed(names)}: {direction}" for direction, names in labels.items())


def coverage(metrics: Collection[Metric]) -> str:
    """Which metrics are means over which tags.

    >>> from tagscale.evaluation.metrics import PR_AUC, RMSE, ROC_AUC
    >>> coverage([ROC_AUC, PR_AUC, RMSE])
    'ROC-AUC and PR-AUC over the classification tags, √MSE over the regression tags'
    >>> coverage([RMSE])
    '√MSE over the regression tags'
    """
    labels = {kind: [metric.label for metric in metrics if kind in metric.kinds] for kind in KINDS}
    return ", ".join(f"{listed(names)} over the {kind} tags" for kind, names in labels.items() if names)


def shortened(name: str) -> str:
    """A name as a figure has room for it.

    >>> shortened("rock"), len(shortened("x" * 300))
    ('rock', 40)
    """
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
