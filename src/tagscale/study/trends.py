"""What the lines over the training size say in words: where two models' lines meet, and whether the scores agree.

Source: Pons et al. 2018, section 5.1, figure 3.
"""

from collections.abc import Sequence

from tagscale.evaluation.metrics import METRICS, Metric
from tagscale.report.appearance import name_of
from tagscale.study.compare import Line, crossing, fitted_line
from tagscale.study.grid import Study

FAR = 10  # lines that meet beyond this many times the largest size are not worth a word


def trends(study: Study, models: Sequence[str]) -> list[str]:
    """Where the lines of two models over the training size meet, metric by metric; nothing for fewer than two."""
    if len(models) < 2:
        return []
    sizes = sorted(study.runs["train_tracks"].unique())
    if len(sizes) < 3:
        return [f"No line over the training size is fitted: that takes three sizes, this study has {len(sizes)}."]
    first, second = models
    sentences, basis = [], ""
    for metric in METRICS.values():
        lines = fitted_line(study, first, metric.key), fitted_line(study, second, metric.key)
        if lines[0] is not None and lines[1] is not None:
            sentence = _crossing(metric, (first, second), (lines[0], lines[1]), sizes[0], sizes[-1])
            sentences.append(sentence + _contradiction(study, metric, (first, second), (lines[0], lines[1]), sizes[-1]))
            basis = f"Each line rests on {lines[0].points} runs at {lines[0].sizes} sizes: a hint at a trend, no proof."
    return [*sentences, basis] if sentences else []


def _crossing(metric: Metric, names: tuple[str, str], lines: tuple[Line, Line], smallest: float, largest: float) -> str:
    below = names[0] if metric.sign * (lines[0].at(smallest) - lines[1].at(smallest)) > 0 else names[1]
    above = names[1] if below == names[0] else names[0]
    meeting = crossing(*lines)
    if meeting is not None and smallest <= meeting <= largest:
        return (
            f"{metric.label}: the fitted lines cross near {_rough(meeting)} training tracks; "
            f"{name_of(below)} is better below, {name_of(above)} above."
        )
    sentence = f"{metric.label}: the fitted lines do not cross between {smallest:,} and {largest:,} training tracks"
    if meeting is not None and largest < meeting <= FAR * largest:
        sentence += f"; drawn on they would meet near {_rough(meeting)}, where nothing was measured"
    return f"{sentence}."


def _contradiction(
    study: Study, metric: Metric, names: tuple[str, str], lines: tuple[Line, Line], largest: float
) -> str:
    """What to add where the lines name another leader at the largest size than the scores measured there."""
    means = study.runs[study.runs["train_tracks"] == largest].groupby("model")[f"test_{metric.key}"].mean()
    measured = metric.sign * (means[names[0]] - means[names[1]])
    fitted = metric.sign * (lines[0].at(largest) - lines[1].at(largest))
    if measured * fitted >= 0:
        return ""
    leader = names[0] if measured > 0 else names[1]
    return (
        f" The scores measured at {largest:,.0f} tracks say otherwise: {label_of(leader)} leads there, "
        "so the lines fit badly."
    )


def _rough(tracks: float) -> str:
    """Two digits are all that such a line can bear: 1931 becomes 1,900."""
    return f"{float(f'{tracks:.2g}'):,.0f}"
