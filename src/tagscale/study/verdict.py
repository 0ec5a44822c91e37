"""The study's findings in plain words: the best front-end against baselines and all others, and how certain that is.

Which model to use, of any kind, answers.py says. Models are chosen on the validation part and judged on the test part:
the best of several test scores is too good on average. "Beats" is said where the interval of the difference leaves out
0, corrected for the comparisons of the best front-end with all others; without it two models are "level"
(`Study.level`). Results without intervals support neither word: there a model is "ahead of" another or "behind" it.
"""

from dataclasses import dataclass, replace

import numpy as np

from tagscale.evaluation.bootstrap import FEWEST_ARTISTS, Difference, share_that_holds
from tagscale.evaluation.metrics import (
    ARTISTS,
    FREQUENT_ARTISTS,
    FREQUENT_POSITIVES,
    ROC_AUC,
    Metric,
    main_metric,
)
from tagscale.models.spec import label_of
from tagscale.runtime.words import at_start, counted, listed
from tagscale.study.compare import first_metrics, tag_scores
from tagscale.study.comparison import FEW_SEEDS
from tagscale.study.grid import Study
from tagscale.study.trends import trends

ROOM = 4  # models in a figure
NAMED = 3  # front-ends that a sentence names beside the first two


@dataclass(frozen=True)
class Verdict:
    """What the report says first.

    front_end: `Study.front_end`
    rival: the model that it is compared with: the best baseline on descriptors, else the best published one, else the
        next front-end, else None.
    shown: the models of figures with room for four: the two best front-ends, the best published baseline and the best
        on descriptors, and where there is room the best pretrained encoder and the best ensemble; in the study's order.
    compared: the models whose single tags are shown, `front_end` first.
    findings: the most important one first.
    trends: what the lines over the training size say.
    certainty: how far to trust all of it.
    """

    front_end: str
    rival: str | None
    shown: list[str]
    compared: list[str]
    findings: list[str]
    trends: list[str]
    certainty: list[str]


def conclude(study: Study, test_tracks: int, test_artists: int) -> Verdict:
    """Put the study's test scores at the largest training size into words."""
    front_ends = study.ranked(study.front_ends or study.networks or study.everyone)
    published = study.ranked(study.published if study.front_ends else [])
    baselines = study.ranked([model for model in study.baselines if model not in front_ends])
    rivals = [*baselines[:1], *published[:1], *front_ends[1:2]]
    others = [study.ranked(models) for models in (study.pretrained, study.ensembles)]
    best = [*front_ends[:2], *published[:1], *baselines[:1], *(models[0] for models in others if models)]
    best = list(dict.fromkeys(best))[:ROOM]
    judge = Judge(study, study.main)
    against = [*baselines[:1], *published]
    return Verdict(
        front_end=front_ends[0],
        rival=rivals[0] if rivals else None,
        shown=[model for model in study.everyone if model in best],
        compared=best if len(study.everyone) - len(study.ensembles) > 3 else [front_ends[0], *rivals[:1]],
        findings=[
            *_choice(judge, front_ends, against),
            *_published(judge, front_ends[0], published if baselines else published[1:], bool(baselines)),
            *_best_of_all(judge, {*front_ends, *published, *baselines}),
            *_front_ends(study, front_ends),
            *_thin_tags(study),
        ],
        trends=trends(study, [model for model in study.everyone if model in front_ends[:2]]),
        certainty=_certainty(study, test_tracks, test_artists),
    )


class Judge:
    """Words for the test scores of one metric at the largest size, where the best front-end is one of each pair."""

    def __init__(self, study: Study, metric: Metric) -> None:
        self.study, self.metric, self.size = study, metric, study.largest
        self.scores = study.scores(metric.key, self.size).to_dict()
        self.gaps = study.against(study.front_end, metric.key, self.size)

    def score(self, model: str) -> str:
        return self.metric.words(self.scores[model])

    def gap(self, first: str, second: str) -> Difference:
        """By how much the first model is better than the second, in the good direction of the metric."""
        gap = self.gaps[second if first == self.study.front_end else first]
        sign = self.metric.sign * (1 if first == self.study.front_end else -1)
        low, high = sorted((sign * gap.low, sign * gap.high))
        return replace(gap, difference=sign * gap.difference, low=low, high=high)

    def level(self, first: str, second: str) -> bool:
        return self.study.level(first, second, self.metric.key, self.size)

    def verb(self, first: str, second: str) -> str:
        if self.level(first, second):
            return "is level with"
        gap = self.gap(first, second)
        if np.isnan(gap.low):
            return "is ahead of" if gap.difference > 0 else "is behind"
        return "beats" if gap.difference > 0 else "loses to"

    def by(self, first: str, second: str) -> str:
        """The size of the difference after the verb: " by 0.030 [0.010, 0.050]"; of level ones first minus second."""
        gap, words = self.gap(first, second), self.metric.words
        level = self.level(first, second)
        sign = self.metric.sign if level else 1 if gap.difference > 0 else -1
        amount, ends = sign * gap.difference, sorted((sign * gap.low, sign * gap.high))
        interval = "" if np.isnan(gap.low) else f" [{words(ends[0])}, {words(ends[1])}]"
        return f", a difference of {words(amount)}{interval}" if level else f" by {words(amount)}{interval}"

    def interval(self, model: str) -> str:
        """The interval of a model's score: " [0.410, 0.490]"; "" where there is none."""
        table = self.study.comparison
        row = table[(table["size"] == self.size) & (table["model"] == model)].iloc[0]
        low, high = (row[f"test_{self.metric.key}_{end}"] for end in ("low", "high"))
        return "" if np.isnan(low) else f" [{self.metric.words(low)}, {self.metric.words(high)}]"


def hanley_mcneil(roc_auc: float, positives: int, negatives: int) -> float:
    """Standard error of one ROC-AUC, tracks taken as independent. Source: Hanley and McNeil, Radiology 143, 1982.

    >>> round(hanley_mcneil(0.8, 10, 90), 3)
    0.086
    """
    q1, q2 = roc_auc / (2 - roc_auc), 2 * roc_auc**2 / (1 + roc_auc)
    spread = roc_auc * (1 - roc_auc) + (positives - 1) * (q1 - roc_auc**2) + (negatives - 1) * (q2 - roc_auc**2)
    return float(np.sqrt(spread / (positives * negatives)))


def _choice(judge: Judge, front_ends: list[str], baselines: list[str]) -> list[str]:
    """The best front-end on the validation part, and what it has against the first baseline on the test part."""
    study, metric, chosen = judge.study, judge.metric, front_ends[0]
    tracks = study.runs.loc[study.runs["size"] == study.largest, "train_tracks"].max()
    what = f"macro {metric.label} at {tracks:,} training tracks"
    name, validation = label_of(chosen), study.scores(metric.key, study.largest, "valid")[chosen]
    kind = "front-end" if study.front_ends else "network" if study.networks else "model"
    level = f", level in print with {listed(names)}" if (names := study.as_good(chosen, front_ends)) else ""
    how = f"The best {kind} on validation ({metric.label} {metric.words(validation)}{level}) is {name}. On test it"
    if np.isnan(validation):
        how = f"No {kind} has a {metric.label} on validation to be chosen by. On test {name}"
    lead = how if len(front_ends) > 1 else at_start(name)
    has = f"{lead} has {judge.score(chosen)}{judge.interval(chosen)} {what}"
    if np.isnan(judge.scores[chosen]):
        return [f"There is no {what} to judge {name} by."]
    if not baselines:
        none = "other baseline is in the study" if chosen in study.baselines else "baseline is in the grid"
        return [f"{has}.", f"No {none} (train.baselines), so {name} is held against none."]
    first = baselines[0]
    if np.isnan(judge.scores[first]):
        return [f"{has}.", f"There is no {what} to hold {name} against the {label_of(first)} baseline."]
    verb, by = judge.verb(chosen, first), judge.by(chosen, first)
    return [f"{has} and {verb} the {label_of(first)} baseline ({judge.score(first)}){by}."]


def _published(judge: Judge, chosen: str, models: list[str], all_of_them: bool) -> list[str]:
    """Against which published baselines the chosen model stands how.

    all_of_them: False where another sentence has named one
    """
    scored = [model for model in models if not np.isnan(judge.scores[model])]
    if not scored or np.isnan(judge.scores[chosen]):
        return []
    groups: dict[str, list[str]] = {}
    for model in scored:
        words = f"{label_of(model)} ({judge.score(model)})"
        groups.setdefault(judge.verb(chosen, model), []).append(words)
    what = f"{'' if all_of_them else 'other '}published baseline"
    verbs = listed([f"{verb} {listed(names)}" for verb, names in groups.items()])
    if len(scored) == 1:
        return [f"{at_start(label_of(chosen))} {verbs}, the {what}, on {judge.metric.label}."]
    return [f"Of {len(scored)} {what}s, {label_of(chosen)} {verbs} on {judge.metric.label}."]


def _best_of_all(judge: Judge, named: set[str]) -> list[str]:
    """The best models of any kind on each part, where the study has kinds that the other sentences do not compare."""
    study, metric, chosen = judge.study, judge.metric, judge.study.front_end
    scored = [model for model in study.everyone if not np.isnan(judge.scores[model])]
    valid = study.scores(metric.key, study.largest, "valid")
    if not set(scored) - named or chosen not in scored or valid[scored].isna().all():
        return []
    best = study.ranked(scored)[0]
    leader = max(scored, key=lambda model: metric.sign * judge.scores[model])
    count = f"Of all {len(study.everyone)} models" if len(study.everyone) > 2 else "Of both models"
    if best == chosen:
        sentences = [f"{count}, {label_of(best)} has the best {metric.label} on validation, too."]
    else:
        has = f"on test it has {judge.score(best)} and {judge.verb(best, chosen)} {label_of(chosen)}"
        sentences = [
            f"{count}, {label_of(best)} has the best {metric.label} on validation; {has}{judge.by(best, chosen)}."
        ]
    if leader not in (best, chosen):
        has = f"{judge.score(leader)}, and {judge.verb(leader, chosen)} {label_of(chosen)}{judge.by(leader, chosen)}"
        sentences.append(
            f"On test, {label_of(leader)} has the best {metric.label}, {has}; validation did not choose it."
        )
    return sentences


def _front_ends(study: Study, front_ends: list[str]) -> list[str]:
    """One sentence a metric: the best front-end against the next one, by how much, on how many tags."""
    if len(front_ends) < 2:
        return []
    tags, (first, second, *rest), sentences = tag_scores(study, study.largest), front_ends, []
    for metric in first_metrics(study):
        judge = Judge(study, metric)
        then = _followers(judge, rest)
        if np.isnan(judge.scores[first]) or np.isnan(judge.scores[second]):
            kind = f"{metric.kinds[0]} tag" if len(metric.kinds) == 1 else "tag"
            sentences.append(f"{metric.label}: nothing to compare, no {kind} of the test part could be scored.")
        elif judge.score(first) == judge.score(second):
            names = f"{label_of(first)} and {label_of(second)}"
            sentences.append(f"{metric.label}: {names} are level at {judge.score(first)}{then}.")
        else:
            per_tag = tags.pivot(index="tag", columns="model", values=metric.key)[[first, second]].dropna()
            ahead = int((metric.sign * (per_tag[first] - per_tag[second]) > 0).sum())
            level, ours, theirs = judge.level(first, second), label_of(first), label_of(second)
            relation = f"{ours} and {theirs} are level" if level else f"{ours} {judge.verb(first, second)} {theirs}"
            scores = f"{judge.score(first)} {'and' if level else 'to'} {judge.score(second)}"
            of_tags = f"; {ours} is ahead on {ahead} of {len(per_tag)} tags" if len(per_tag) > 1 else ""
            of_tags += _seeds_caution(judge, first, second)
            sentences.append(f"{metric.label}: {relation}{judge.by(first, second)}, {scores}{of_tags}{then}.")
    return sentences


def _followers(judge: Judge, models: list[str]) -> str:
    """The other front-ends, as many by name as there is room for."""
    named = [f"{label_of(model)} {judge.score(model)}" for model in models]
    return f"; then {listed(named, NAMED)}" if models else ""


def _seeds_caution(judge: Judge, first: str, second: str) -> str:
    """A warning where seeds alone differ by as much and no interval says so."""
    study, gap = judge.study, judge.gap(first, second)
    if not np.isnan(gap.low):
        return ""
    rows = study.comparison[study.comparison["size"] == study.largest].set_index("model")
    deviations = rows[f"test_{judge.metric.key}_sd"].to_dict()
    spread = float(np.hypot(deviations[first], deviations[second]))  # NaN for a single seed
    if not spread >= abs(gap.difference):
        return ""
    return f" (but seeds alone differ by as much: the SD of the difference is {judge.metric.words(spread)})"


def _thin_tags(study: Study) -> list[str]:
    """Tags whose positive test tracks are all by one artist: how many, and the best front-end's macro without them."""
    metric, tags = main_metric("classification"), tag_scores(study, study.largest)
    rows = tags[(tags["model"] == study.front_end) & tags[metric.key].notna()]
    thin = rows[ARTISTS] < FEWEST_ARTISTS
    if not thin.any():
        return []
    frequent = (rows["positives"] >= FREQUENT_POSITIVES) & (rows[ARTISTS] >= FREQUENT_ARTISTS)
    have, these = ("has all its", "it") if thin.sum() == 1 else ("have all their", "these")
    of = f"Of {len(rows)} tags, {thin.sum()} {have}" if len(rows) > 1 else "The one scored tag has all its"
    lead = f"{of} positive test tracks by one artist, who may not be like others"
    numbers = [
        f"{metric.words(rows[metric.key].mean())} over all tags"
        if len(rows) > 1
        else metric.words(rows[metric.key].mean())
    ]
    if not thin.all():
        numbers.append(f"{metric.words(rows.loc[~thin, metric.key].mean())} without {these}")
    if frequent.any():
        over = f"the {frequent.sum()} frequent ones" if frequent.sum() > 1 else "the frequent one"
        numbers.append(f"{metric.words(rows.loc[frequent, metric.key].mean())} over {over}")
    return [f"{lead}: the {metric.label} of {label_of(study.front_end)} is {listed(numbers)}."]


def _certainty(study: Study, test_tracks: int, test_artists: int) -> list[str]:
    return [
        *_single_tags(study, test_tracks, test_artists),
        *_intervals(study, test_artists),
        *_comparisons(study),
        _seeds(study),
    ]


def _single_tags(study: Study, test_tracks: int, test_artists: int) -> list[str]:
    tags = tag_scores(study, study.largest)
    scored = tags[(tags["kind"] == "classification") & tags[ROC_AUC.key].notna()].drop_duplicates("tag")
    if not len(scored):
        return []
    positives = int(scored["positives"].median())
    negatives = max(int(scored["tracks"].median()) - positives, 1)
    held = f"The test part holds {counted(test_tracks, 'track')} by {counted(test_artists, 'artist')}"
    if len(scored) == 1:
        return [f"{held}, and its one scored classification tag has {counted(positives, 'positive track')}."]
    about = (
        f"{held}, and half of its {len(scored)} scored classification tags have "
        f"{counted(positives, 'positive track')} or fewer."
    )
    advice = "read single tags as hints, and the means over all tags as the finding."
    tags_with, measured = _measured_margin(study)
    if tags_with and measured >= 0.005:
        some = "half of these tags" if tags_with == len(scored) else f"half of the {tags_with} that have an interval"
        some = "the one that has an interval" if tags_with == 1 else some
        return [
            f"{about} The ROC-AUC of {some} is uncertain by ±{measured:.2f} or more "
            f"({study.confidence:.0%}, bootstrap over artists): {advice}"
        ]
    if tags_with:
        return [f"{about} So {advice}"]
    margin = 1.96 * hanley_mcneil(0.8, positives, negatives)
    return [
        f"{about} A ROC-AUC of 0.80 on such a tag is uncertain by about ±{margin:.2f} (95%, Hanley and McNeil "
        f"1982), and by more where tracks of one artist resemble each other: {advice}"
    ]


def _intervals(study: Study, test_artists: int) -> list[str]:
    """What the brackets mean, and where they hold less than they should."""
    if not study.intervals:
        return [f"The scores have no intervals ({study.no_intervals}): any difference here may be chance."]
    starts = " and with other random starts" if len(study.seeds) > 1 else ""
    held = share_that_holds(test_artists, study.confidence)
    so_often = (
        ""
        if held is None
        else f" By simulation, with so few artists about {held:.0%} of such intervals hold it "
        "(benchmarks/results/coverage.md)."
    )
    return [
        f"Brackets are {study.confidence:.0%} confidence intervals of the mean score over test parts of "
        f"{counted(test_artists, 'other artist')} like these{starts}.{so_often} They say nothing about all music: a "
        "test part of more artists has another mean score, since rare tags gain or lose by it. Artists were drawn anew "
        f"{study.resamples['resample'].nunique():,} times, the same ones for every model, so that differences between "
        "models are judged on the same tracks."
    ]


def _comparisons(study: Study) -> list[str]:
    """How models were chosen and compared."""
    if len(study.everyone) < 2:
        return []
    choice = (
        f"Models are chosen by their {study.main.label} on the validation part and judged on the test part, whose best "
        "score is too good on average."
    )
    if not study.intervals:
        return [f"{choice} Models are level where their scores are equal in print."]
    count = len(study.everyone) - 1
    corrected = f"are corrected for its {count} comparisons (Holm 1979)" if count > 1 else "are of one comparison"
    return [
        f"{choice} Intervals of differences from {label_of(study.front_end)} {corrected}. Models are level where such "
        "an interval holds 0, or where their scores are equal in print. "
        f"{study.main.label} decides; what is said of other metrics is descriptive."
    ]


def _seeds(study: Study) -> str:
    if len(study.seeds) == 1:
        return (
            "Every cell was trained once. How much another random start would move these numbers was not measured: the "
            "intervals are of artists alone. More seeds in train.seeds would tell; until then small differences may be "
            "chance."
        )
    intervals = "; intervals hold both the choice of artists and of seeds" if study.intervals else ""
    if study.intervals and len(study.seeds) < FEW_SEEDS:
        intervals += ", and are wider for so few seeds (Satterthwaite 1946)"
    return (
        f"Every cell was trained {len(study.seeds)} times; numbers are means over seeds, ± is their standard "
        f"deviation, the randomness of training alone{intervals}."
    )


def _measured_margin(study: Study) -> tuple[int, float]:
    """How many tags have a ROC-AUC interval at the largest size, and half the width of the median one."""
    rows = study.tags[(study.tags["size"] == study.largest) & (study.tags["part"] == "test")]
    widths = (rows[f"{ROC_AUC.key}_high"] - rows[f"{ROC_AUC.key}_low"]).dropna()
    return rows.loc[widths.index, "tag"].nunique(), float(widths.median()) / 2
