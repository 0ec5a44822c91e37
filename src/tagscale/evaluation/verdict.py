"""The study's findings in plain words: who leads, whether a front-end beats the baseline, how sure one can be."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tagscale.evaluation.compare import Line, comparison, crossing, fitted_line, tag_scores
from tagscale.evaluation.study import LABELS, LOWER_IS_BETTER, Study

LEVEL = 0.0005  # scores that agree to three decimals are called level
FAR = 10  # lines that meet beyond this many times the largest size are not worth a word


@dataclass(frozen=True)
class Verdict:
    """What the report says first.

    beats_baseline: whether the better front-end beats the best baseline; None where that cannot be said.
    front_end: the better front-end at the largest size, by test PR-AUC (by √MSE where no PR-AUC exists).
    rival: what its tags are shown against: the best baseline, else the other front-end, else nothing.
    findings: most important first.
    trends: what the lines over the training size say.
    certainty: how far to trust all of it.
    """

    beats_baseline: bool | None
    front_end: str
    rival: str | None
    findings: list[str]
    trends: list[str]
    certainty: list[str]


def verdict(study: Study, test_tracks: int, test_artists: int) -> Verdict:
    """Put the study's test scores at the largest training size into words."""
    table = comparison(study)
    rows = table[table["size"] == study.largest].set_index("model")
    metric = "pr_auc" if rows["test_pr_auc"].notna().any() else "rmse"
    ranked = _ranked(rows.loc[study.models], metric)
    baseline = _ranked(rows.loc[study.baselines], metric)[0] if study.baselines else None
    beats, against_baseline = _against_baseline(rows, metric, ranked, baseline)
    return Verdict(
        beats_baseline=beats,
        front_end=ranked[0],
        rival=baseline or (ranked[1] if len(ranked) > 1 else None),
        findings=[against_baseline, *_leads(study, rows)],
        trends=_trends(study),
        certainty=_certainty(study, test_tracks, test_artists),
    )


def hanley_mcneil(roc_auc: float, positives: int, negatives: int) -> float:
    """Standard error of one ROC-AUC, tracks taken as independent. Source: Hanley and McNeil, Radiology 143, 1982.

    >>> round(hanley_mcneil(0.8, 10, 90), 3)
    0.086
    """
    q1, q2 = roc_auc / (2 - roc_auc), 2 * roc_auc**2 / (1 + roc_auc)
    spread = roc_auc * (1 - roc_auc) + (positives - 1) * (q1 - roc_auc**2) + (negatives - 1) * (q2 - roc_auc**2)
    return float(np.sqrt(spread / (positives * negatives)))


def _ranked(rows: pd.DataFrame, metric: str) -> list[str]:
    """Models of the rows, best first; those without a score at the end."""
    ordered = rows[f"test_{metric}"].sort_values(ascending=metric in LOWER_IS_BETTER, kind="stable")
    return [str(name) for name in ordered.index]


def _score(rows: pd.DataFrame, model: str, metric: str) -> float:
    return float(rows[f"test_{metric}"].to_dict()[model])


def _gain(rows: pd.DataFrame, metric: str, first: str, second: str) -> float:
    """By how much the first model is better than the second; negative when it is worse."""
    return _sign(metric) * (_score(rows, first, metric) - _score(rows, second, metric))


def _sign(metric: str) -> int:
    return -1 if metric in LOWER_IS_BETTER else 1


def _against_baseline(
    rows: pd.DataFrame, metric: str, ranked: list[str], baseline: str | None
) -> tuple[bool | None, str]:
    best = ranked[0]
    if baseline is None:
        return None, f"No baseline is in the grid (train.baselines is empty): nothing says whether {best} is any good."
    ours, theirs = _score(rows, best, metric), _score(rows, baseline, metric)
    what = f"macro {LABELS[metric]} at {rows['train_tracks'].max():,} training tracks"
    if pd.isna(ours) or pd.isna(theirs):
        return None, f"There is no {what} to hold {best} against the {baseline} baseline."
    if _gain(rows, metric, best, baseline) > 0:
        caution = _caution(rows, metric, best, baseline)
        return (
            True,
            f"{best.capitalize()} beats the {baseline} baseline on {what}: {ours:.3f} against {theirs:.3f}{caution}.",
        )
    if len(ranked) == 1:
        return (
            False,
            f"{best.capitalize()} does not beat the {baseline} baseline on {what}: {ours:.3f} against {theirs:.3f}.",
        )
    return False, (
        f"No front-end beats the {baseline} baseline on {what}: "
        f"the better one, {best}, has {ours:.3f} against {theirs:.3f}."
    )


def _leads(study: Study, rows: pd.DataFrame) -> list[str]:
    """One sentence a metric: which front-end leads, by how much, on how many tags."""
    if len(study.models) < 2:
        return []
    tags = tag_scores(study, study.largest)
    sentences = []
    for metric, label in LABELS.items():
        first, second = _ranked(rows.loc[study.models], metric)[:2]
        ours, theirs = _score(rows, first, metric), _score(rows, second, metric)
        if pd.isna(ours) or pd.isna(theirs):
            sentences.append(f"{label}: nothing to compare, no tag of the test part could be scored.")
        elif _gain(rows, metric, first, second) < LEVEL:
            sentences.append(f"{label}: {first} and {second} are level at {ours:.3f}.")
        else:
            per_tag = tags.pivot(index="tag", columns="model", values=metric)[[first, second]].dropna()
            ahead = int((_sign(metric) * (per_tag[first] - per_tag[second]) > 0).sum())
            caution = _caution(rows, metric, first, second)
            sentences.append(
                f"{label}: {first} leads {second}, {ours:.3f} to {theirs:.3f}, "
                f"and is ahead on {ahead} of {len(per_tag)} tags{caution}."
            )
    return sentences


def _caution(rows: pd.DataFrame, metric: str, first: str, second: str) -> str:
    """A warning where the difference of two means is no larger than the spread between seeds."""
    deviations = rows[f"test_{metric}_sd"].to_dict()
    spread = float(np.hypot(deviations[first], deviations[second]))  # not a number for a single seed
    if spread >= _gain(rows, metric, first, second):
        return f" (but seeds alone differ by as much: the SD of the difference is {spread:.3f})"
    return ""


def _trends(study: Study) -> list[str]:
    """Where the two front-ends' lines over the training size meet, metric by metric (figure 3 of the paper)."""
    if len(study.models) < 2:
        return []
    sizes = sorted(study.runs["train_tracks"].unique())
    if len(sizes) < 3:
        return [f"No line over the training size is fitted: that takes three sizes, this study has {len(sizes)}."]
    first, second = study.models[:2]
    sentences, basis = [], ""
    for metric, label in LABELS.items():
        lines = fitted_line(study, first, metric), fitted_line(study, second, metric)
        if lines[0] is not None and lines[1] is not None:
            sentence = _crossing(label, metric, (first, second), (lines[0], lines[1]), sizes[0], sizes[-1])
            sentences.append(sentence + _contradiction(study, metric, (first, second), (lines[0], lines[1]), sizes[-1]))
            basis = f"Each line rests on {lines[0].points} runs at {lines[0].sizes} sizes: a hint at a trend, no proof."
    return [*sentences, basis] if sentences else []


def _crossing(
    label: str, metric: str, names: tuple[str, str], lines: tuple[Line, Line], smallest: float, largest: float
) -> str:
    below = names[0] if _sign(metric) * (lines[0].at(smallest) - lines[1].at(smallest)) > 0 else names[1]
    above = names[1] if below == names[0] else names[0]
    meeting = crossing(*lines)
    if meeting is not None and smallest <= meeting <= largest:
        return (
            f"{label}: the fitted lines cross near {_rough(meeting)} training tracks; "
            f"{below} is better below, {above} above."
        )
    sentence = f"{label}: the fitted lines do not cross between {smallest:,} and {largest:,} training tracks"
    if meeting is not None and largest < meeting <= FAR * largest:
        sentence += f"; drawn on they would meet near {_rough(meeting)}, where nothing was measured"
    return f"{sentence}."


def _contradiction(study: Study, metric: str, names: tuple[str, str], lines: tuple[Line, Line], largest: float) -> str:
    """What to add where the lines name another leader at the largest size than the scores measured there."""
    means = study.runs[study.runs["train_tracks"] == largest].groupby("model")[f"test_{metric}"].mean()
    measured = _sign(metric) * (means[names[0]] - means[names[1]])
    fitted = _sign(metric) * (lines[0].at(largest) - lines[1].at(largest))
    if measured * fitted >= 0:
        return ""
    leader = names[0] if measured > 0 else names[1]
    return f" The scores measured at {largest:,.0f} tracks say otherwise: {leader} leads there, so the lines fit badly."


def _rough(tracks: float) -> str:
    """Two digits are all that such a line can bear: 1931 becomes 1,900."""
    return f"{float(f'{tracks:.2g}'):,.0f}"


def _certainty(study: Study, test_tracks: int, test_artists: int) -> list[str]:
    tags = tag_scores(study, study.largest)
    scored = tags[(tags["kind"] == "classification") & tags["roc_auc"].notna()].drop_duplicates("tag")
    sentences = []
    if len(scored):
        positives = int(scored["positives"].median())
        negatives = max(int(scored["tracks"].median()) - positives, 1)
        margin = 1.96 * hanley_mcneil(0.8, positives, negatives)
        sentences.append(
            f"The test part holds {test_tracks:,} tracks by {test_artists:,} artists, and half of its {len(scored)} "
            f"scored classification tags have {positives} positive tracks or fewer. A ROC-AUC of 0.80 on such a tag is "
            f"uncertain by about ±{margin:.2f} (95%, Hanley and McNeil 1982), and by more where tracks of one artist "
            "resemble each other: read single tags as hints, and the means over all tags as the finding."
        )
    if len(study.seeds) == 1:
        sentences.append(
            "Every cell was trained once. How much another random start would move these numbers was not measured; "
            "more seeds in train.seeds would tell, and until then small differences may be chance."
        )
    else:
        sentences.append(
            f"Every cell was trained {len(study.seeds)} times; numbers are means over seeds, ± is their standard "
            "deviation. It covers the randomness of training, not that of the choice of test tracks."
        )
    return sentences
