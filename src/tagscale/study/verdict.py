"""The study's findings in plain words: which model leads, whether a front-end beats the baselines, how sure that is."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tagscale.evaluation.metrics import KINDS, ROC_AUC, Metric, main_metric, shown_in
from tagscale.models.spec import label_of
from tagscale.runtime.words import at_start, listed
from tagscale.study.compare import difference, tag_scores
from tagscale.study.grid import Study
from tagscale.study.trends import trends

ROOM = 4  # models in a figure


@dataclass(frozen=True)
class Verdict:
    """What the report says first.

    beats_baseline: whether the best front-end beats every baseline, the published ones too; None where there is no
        baseline or no score.
    front_end: the best front-end at the largest size, by the main metric of the first kind of tags that has one; of a
        study without front-ends the best network, and of one without networks the best model.
    rival: the model that it is compared with: the best baseline on descriptors, else the best published one, else the
        next front-end, else None.
    shown: the models of figures with room for four: the two best front-ends, the best published baseline and the best
        on descriptors, and where there is room the best pretrained encoder and the best ensemble; in the study's order.
    compared: the models whose single tags are shown, the best front-end first.
    findings: the most important one first.
    trends: what the lines over the training size say.
    certainty: how far to trust all of it.
    """

    beats_baseline: bool | None
    front_end: str
    rival: str | None
    shown: list[str]
    compared: list[str]
    findings: list[str]
    trends: list[str]
    certainty: list[str]


def conclude(study: Study, test_tracks: int, test_artists: int) -> Verdict:
    """Put the study's test scores at the largest training size into words."""
    table = study.comparison
    rows = table[table["size"] == study.largest].set_index("model")
    mains = [main_metric(kind) for kind in KINDS]
    metric = next((main for main in mains if rows[f"test_{main.key}"].notna().any()), mains[-1])
    front_ends = _ranked(rows, study.front_ends or study.networks or study.everyone, metric)
    published = _ranked(rows, study.published if study.front_ends else [], metric)
    baselines = _ranked(rows, [model for model in study.baselines if model not in front_ends], metric)
    rivals = [*baselines[:1], *published[:1], *front_ends[1:2]]
    others = [_ranked(rows, models, metric) for models in (study.pretrained, study.ensembles)]
    best = [*front_ends[:2], *published[:1], *baselines[:1], *(models[0] for models in others if models)]
    best = list(dict.fromkeys(best))[:ROOM]
    beats, against_baselines = _against_baselines(study, rows, metric, front_ends, baselines, published)
    return Verdict(
        beats_baseline=beats,
        front_end=front_ends[0],
        rival=rivals[0] if rivals else None,
        shown=[model for model in study.everyone if model in best],
        compared=best if len(study.everyone) - len(study.ensembles) > 3 else [front_ends[0], *rivals[:1]],
        findings=[
            *against_baselines,
            *_best_of_all(study, rows, metric, {*front_ends, *published, *baselines}),
            *_leads(study, rows, front_ends),
        ],
        trends=trends(study, [model for model in study.everyone if model in front_ends[:2]]),
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


def _ranked(rows: pd.DataFrame, models: list[str], metric: Metric) -> list[str]:
    """The models, best first; those without a score at the end."""
    ordered = rows.loc[models, f"test_{metric.key}"].sort_values(ascending=metric.lower_is_better, kind="stable")
    return [str(name) for name in ordered.index]


def _score(rows: pd.DataFrame, model: str, metric: Metric) -> float:
    return float(rows[f"test_{metric.key}"].to_dict()[model])


def _gain(rows: pd.DataFrame, metric: Metric, first: str, second: str) -> float:
    """By how much the first model is better than the second; negative when it is worse."""
    return metric.sign * (_score(rows, first, metric) - _score(rows, second, metric))


def _against_baselines(
    study: Study,
    rows: pd.DataFrame,
    metric: Metric,
    front_ends: list[str],
    baselines: list[str],
    published: list[str],
) -> tuple[bool | None, list[str]]:
    """Whether the best front-end beats every baseline, and the sentences that say so; the lists are best first."""
    best = front_ends[0]
    if not baselines and not published:
        return None, [
            f"No other baseline is in the study (train.baselines): nothing says whether {label_of(best)} is any good."
            if best in study.baselines
            else f"No baseline is in the grid (train.baselines is empty): nothing says whether {label_of(best)} is any "
            "good."
        ]
    what = f"macro {metric.label} at {rows['train_tracks'].max():,} training tracks"
    first, others = (baselines or published)[0], published if baselines else published[1:]
    ours, theirs = _score(rows, best, metric), _score(rows, first, metric)
    numbers = f"{metric.words(ours)} against {metric.words(theirs)}"
    name, rival = label_of(best), f"the {label_of(first)} baseline"
    if pd.isna(ours) or pd.isna(theirs):
        return None, [f"There is no {what} to hold {name} against {rival}."]
    scored = [model for model in others if not pd.isna(_score(rows, model, metric))]
    ahead = [model for model in scored if _gain(rows, metric, best, model) <= 0]
    beaten = _gain(rows, metric, best, first) > 0
    if beaten:
        too = f" and {_all_of(len(scored), bool(baselines))}" if scored and not ahead else ""
        caution = _caution(study, rows, metric, best, first)
        lead = f"{at_start(name)} beats {rival}{too} on {what}: {numbers}{caution}."
    elif len(front_ends) == 1:
        caution = _caution(study, rows, metric, first, best)
        lead = f"{at_start(name)} does not beat {rival} on {what}: {numbers}{caution}."
    else:
        better = "better" if len(front_ends) == 2 else "best"
        has = f"the {better} one, {name}, has {numbers}"
        lead = f"No front-end beats {rival} on {what}: {has}{_caution(study, rows, metric, first, best)}."
    return beaten and not ahead, [
        lead,
        *_against_published(study, rows, metric, best, scored, ahead, "" if baselines else "other "),
    ]


def _all_of(count: int, published: bool) -> str:
    """Words for the baselines beside the first one; `published`: whether they are published and that one is not."""
    kind = "published" if published else "other"
    return {1: f"the {kind} one", 2: f"both {kind} ones"}.get(count, f"all {count} {kind} ones")


def _against_published(
    study: Study, rows: pd.DataFrame, metric: Metric, best: str, published: list[str], ahead: list[str], other: str
) -> list[str]:
    """The published baselines that are as good as the best front-end, or the one that comes closest.

    other: "other " where a sentence before has named one of them.
    """
    if not published:
        return []
    if ahead:
        named = listed([f"{label_of(model)} ({metric.words(_score(rows, model, metric))})" for model in ahead])
        verb = "is" if len(ahead) == 1 else "are"
        caution = _caution(study, rows, metric, ahead[0], best)
        return [
            f"Of {len(published)} {other}published baseline{'s' * (len(published) > 1)}, {len(ahead)} {verb} at least "
            f"as good as {label_of(best)} ({metric.words(_score(rows, best, metric))}) on {metric.label}: "
            f"{named}{caution}."
        ]
    closest = published[0]
    caution = _caution(study, rows, metric, best, closest)
    return [
        f"Of the {other}published baselines, {label_of(closest)} comes closest to {label_of(best)}: "
        f"{metric.words(_score(rows, closest, metric))} against {metric.words(_score(rows, best, metric))}{caution}."
    ]


def _best_of_all(study: Study, rows: pd.DataFrame, metric: Metric, named: set[str]) -> list[str]:
    """The best model of any kind, where the study has kinds beside those that the other sentences compare."""
    if not set(study.everyone) - named:
        return []
    first, second, *_ = _ranked(rows, study.everyone, metric)
    ours, theirs = _score(rows, first, metric), _score(rows, second, metric)
    if pd.isna(ours) or pd.isna(theirs):
        return []
    return [
        f"Of all {len(study.everyone)} models, {label_of(first)} has the best {metric.label}: {metric.words(ours)} "
        f"against {metric.words(theirs)} of {label_of(second)}{_caution(study, rows, metric, first, second)}."
    ]


def _leads(study: Study, rows: pd.DataFrame, front_ends: list[str]) -> list[str]:
    """One sentence a metric: which front-end leads, by how much, on how many tags."""
    if len(front_ends) < 2:
        return []
    tags = tag_scores(study, study.largest)
    sentences = []
    for metric in shown_in("scores"):
        first, second, *rest = _ranked(rows, [model for model in study.everyone if model in front_ends], metric)
        ours, theirs = _score(rows, first, metric), _score(rows, second, metric)
        then = _followers(rows, metric, rest)
        if pd.isna(ours) or pd.isna(theirs):
            sentences.append(f"{metric.label}: nothing to compare, no tag of the test part could be scored.")
        elif _gain(rows, metric, first, second) < 0.5 / 10**metric.decimals:  # the same in print
            sentences.append(
                f"{metric.label}: {label_of(first)} and {label_of(second)} are level at {metric.words(ours)}{then}."
            )
        else:
            per_tag = tags.pivot(index="tag", columns="model", values=metric.key)[[first, second]].dropna()
            ahead = int((metric.sign * (per_tag[first] - per_tag[second]) > 0).sum())
            caution = _caution(study, rows, metric, first, second)
            sentences.append(
                f"{metric.label}: {label_of(first)} leads {label_of(second)}, {metric.words(ours)} to "
                f"{metric.words(theirs)}, and is ahead on {ahead} of {len(per_tag)} tags{caution}{then}."
            )
    return sentences


def _followers(rows: pd.DataFrame, metric: Metric, models: list[str]) -> str:
    """The front-ends behind the first two, no more than three by name."""
    named = [f"{label_of(model)} {metric.words(_score(rows, model, metric))}" for model in models[:3]]
    more = [f"{len(models) - 3} more"] if len(models) > 3 else []
    return f"; then {listed([*named, *more])}" if models else ""


def _caution(study: Study, rows: pd.DataFrame, metric: Metric, first: str, second: str) -> str:
    """A warning where the first model's lead may be chance: the choice of test artists, or the seeds."""
    warnings = []
    gap = difference(study, first, second, metric.key, study.largest)
    if gap.low <= 0 <= gap.high:
        warnings.append(
            f"could be chance: the {study.confidence:.0%} interval of the difference over test artists, "
            f"{metric.words(gap.low)} to {metric.words(gap.high)}, includes 0"
        )
    deviations = rows[f"test_{metric.key}_sd"].to_dict()
    spread = float(np.hypot(deviations[first], deviations[second]))  # NaN for a single seed
    if spread >= _gain(rows, metric, first, second):
        also = "seeds" if warnings else "but seeds alone"
        warnings.append(f"{also} differ by as much: the SD of the difference is {metric.words(spread)}")
    return f" ({'; '.join(warnings)})" if warnings else ""


def _certainty(study: Study, test_tracks: int, test_artists: int) -> list[str]:
    tags = tag_scores(study, study.largest)
    scored = tags[(tags["kind"] == "classification") & tags[ROC_AUC.key].notna()].drop_duplicates("tag")
    sentences = []
    measured = _measured_margin(study)
    if len(scored):
        positives = int(scored["positives"].median())
        negatives = max(int(scored["tracks"].median()) - positives, 1)
        about = (
            f"The test part holds {test_tracks:,} tracks by {test_artists:,} artists, and half of its {len(scored)} "
            f"scored classification tags have {positives} positive tracks or fewer."
        )
        advice = "read single tags as hints, and the means over all tags as the finding."
        if measured is not None:
            sentences.append(
                f"{about} The ROC-AUC of half of these tags is uncertain by ±{measured:.2f} or more "
                f"({study.confidence:.0%}, bootstrap over artists): {advice}"
            )
        else:
            margin = 1.96 * hanley_mcneil(0.8, positives, negatives)
            sentences.append(
                f"{about} A ROC-AUC of 0.80 on such a tag is uncertain by about ±{margin:.2f} (95%, Hanley and McNeil "
                f"1982), and by more where tracks of one artist resemble each other: {advice}"
            )
    if not study.resamples.empty:
        sentences.append(
            f"Intervals in brackets hold the score in {study.confidence:.0%} of the test parts that might have been "
            f"drawn: artists were drawn anew {study.resamples['resample'].nunique():,} times, the same ones for every "
            "model, so that differences between models are judged on the same tracks."
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


def _measured_margin(study: Study) -> float | None:
    """Half the width of the median tag's ROC-AUC interval at the largest size; None where none was measured."""
    rows = study.tags[(study.tags["size"] == study.largest) & (study.tags["part"] == "test")]
    width = float((rows[f"{ROC_AUC.key}_high"] - rows[f"{ROC_AUC.key}_low"]).median())
    return None if np.isnan(width) else width / 2
