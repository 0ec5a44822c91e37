"""The first questions of a reader of the study: which model, how certain, is it good enough, what next.

Each question has a function, which returns an `Answer`: words and no markup, for the report's first screen. A model is
chosen on the validation part and judged on the test part, always by the study's main metric at the largest training
size. Two models are level where `Study.level` says so.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tagscale.evaluation.metrics import GUESS, METRICS, PR_AUC
from tagscale.models.spec import label_of
from tagscale.params.blocks import RegistryParams
from tagscale.runtime.identity import run_name
from tagscale.runtime.words import at_start, listed
from tagscale.study.advice import advice
from tagscale.study.compare import tag_scores
from tagscale.study.grid import Study

Mark = Literal["good", "bad", "open"]
NAMED = 3  # models in a sentence


@dataclass(frozen=True)
class Answer:
    """A question, its answer in a sentence, sentences that support it, and whether it is good news."""

    question: str
    answer: str
    reasons: list[str] = field(default_factory=list)
    mark: Mark = "open"


def answers(study: Study, registry: RegistryParams | None = None) -> list[Answer]:
    """The questions in the order in which they are asked.

    Args:
        registry: says which run may become a version; None: nothing is said of it
    """
    return [which(study, registry), how_sure(study), good_enough(study), what_next(study)]


def which(study: Study, registry: RegistryParams | None = None) -> Answer:
    """The model that the validation part chooses, of all and of the front-ends, and the registry's where it differs."""
    metric, valid = study.main, study.scores(study.main.key, study.largest, "valid")
    best = study.recommended
    if np.isnan(valid[best]):
        return Answer("Which model?", f"None: no model has a {metric.label} on the validation part.", mark="bad")
    score = metric.words(valid[best])
    of = f", the best of {len(study.everyone)} models" if len(study.everyone) > 1 else ". It is the only model"
    level = f", level in print with {listed(names)}" if (names := study.as_good(best, study.everyone)) else ""
    reasons = [f"On the validation part its {metric.label} is {score}{of}{level}."]
    if study.front_ends and best not in study.front_ends:
        first = study.front_end
        reasons.append(f"Of the front-ends, it is {label_of(first)} ({metric.words(valid[first])}).")
    candidate = study.candidate(registry.metric, registry.candidates) if registry else None
    if registry and candidate and candidate["model"] != best:
        run, by = run_name(*(candidate[key] for key in ("model", "size", "seed"))), METRICS[registry.metric].label
        reasons.append(f"To the registry goes the best run by {by} of the kinds in `registry.candidates`, {run}.")
    return Answer("Which model?", f"{at_start(label_of(best))}.", reasons, "good")


def how_sure(study: Study) -> Answer:
    """The recommended model's test score with its interval, and whether the next ones are level with it."""
    question, metric, size = "How sure?", study.main, study.largest
    best, *others = study.ranked(study.everyone)
    if not _chosen(study):
        return Answer(question, "Not at all: no model could be chosen.", mark="bad")
    row = _row(study, best)
    score = row[f"test_{metric.key}"]
    if np.isnan(score):
        return Answer(question, f"Not at all: no tag of the test part has a {metric.label}.", mark="bad")
    low, high = row[f"test_{metric.key}_low"], row[f"test_{metric.key}_high"]
    ends = "" if np.isnan(low) else f" [{metric.words(low)}, {metric.words(high)}]"
    judged = f"On the test part its {metric.label} is {metric.words(score)}{ends}."
    level = [model for model in others if study.level(best, model, metric.key, size)]
    scores = study.scores(metric.key, size) * metric.sign
    ahead = [model for model in others if model not in level and scores[model] > scores[best]]
    if others and not study.intervals:
        place = f"{_named(study, ahead)} {_is(ahead)}" if ahead else "No other model is"
        place += " ahead of it there"
        place += f"; {_named(study, level)} {_is(level)} level in print." if level else "."
        return Answer(question, f"Unknown: the scores have no intervals ({study.no_intervals}).", [judged, place])
    if ahead:
        named = _named(study, ahead)
        return Answer(question, f"Not sure: on the test part {named} {_is(ahead)} better.", [judged], "bad")
    if level:
        named = _named(study, level)
        return Answer(question, f"Level on the test part with {named}: which is better may be chance.", [judged])
    if not others:
        return Answer(question, judged, ["There is no other model to compare it with."])
    return Answer(
        question, f"Certain at {study.confidence:.0%}: no other model is level on the test part.", [judged], "good"
    )


def good_enough(study: Study) -> Answer:
    """The recommended model against guessing, against the best baseline and the best pretrained encoder."""
    question, metric, size = "Good enough?", study.main, study.largest
    best = study.recommended
    if not _chosen(study) or np.isnan(study.scores(metric.key, size)[best]):
        missing = "there is no test score" if _chosen(study) else "no model could be chosen"
        return Answer(question, f"Nobody knows: {missing}.", mark="bad")
    reasons = [guessed] if (guessed := _guessing(study, best)) else []
    reasons.append("Whether it may replace the model in use is for the registry's gate to say: `tagscale results`.")
    if best in study.baselines:
        reasons.insert(0, f"No model has a better {metric.label} on the validation part.")
        return Answer(question, f"Only as a baseline: {label_of(best)} needs no network.", reasons)
    kinds = {"baseline": study.baselines, "encoder": study.pretrained}
    rivals = {study.ranked(models)[0]: kind for kind, models in kinds.items() if models and best not in models}
    if not rivals:
        return Answer(question, "Unknown: the study has no baseline (train.baselines).", reasons)
    named = {model: f"the {label_of(model)} {kind} ({_words(study, model)})" for model, kind in rivals.items()}
    level = [model for model in rivals if study.level(best, model, metric.key, size)]
    scores = study.scores(metric.key, size) * metric.sign
    behind = [model for model in rivals if model not in level and scores[model] > scores[best]]
    if not study.intervals:
        groups = {"behind": behind, "level with": level}
        groups["ahead of"] = [model for model in rivals if model not in (*behind, *level)]
        verbs = listed([f"{verb} {listed([named[one] for one in of])}" for verb, of in groups.items() if of])
        return Answer(question, f"Not shown: it is {verbs}, and the scores have no intervals.", reasons)
    if behind:
        names = listed([named[model] for model in behind])
        return Answer(question, f"No: {names} {_is(behind)} better on the test part.", reasons, "bad")
    if level:
        names = listed([named[model] for model in level])
        return Answer(question, f"Not shown: it is level with {names}.", reasons)
    return Answer(question, f"Better than {listed(list(named.values()))}.", reasons, "good")


def what_next(study: Study) -> Answer:
    """The step that gains most over the recommended model, as far as the study's own runs tell: see advice.py."""
    if not _chosen(study):
        return Answer("What next?", "A larger validation part: none of its tags can be scored.")
    steps = advice(study, study.recommended)
    known = [option for option in steps.options if option.known]
    twice, most = steps.sentences[0], steps.sentences[-1]
    only_tracks = known == steps.options[:1]  # both sentences would speak of the same step
    mark: Mark = "good" if any(option.gains(steps.metric) for option in known) else "open"
    return Answer("What next?", twice if only_tracks else most, [] if only_tracks else [twice], mark)


def headline(study: Study) -> dict[str, Any]:
    """The study in few numbers, however many models it has: for `dvc metrics` and `dvc exp show`; four decimals.

    best: the recommended model, its test score and the ends of its interval; gain_over_baseline, gain_low: what it has
    more than the best baseline, and at least, in the good direction of the metric; twice_the_tracks: what it would gain
    by them; hours: of all trainings. A number that the study cannot tell is missing.
    """
    metric, size, best = study.main, study.largest, study.recommended
    row = _row(study, best)
    numbers = {metric.key: row[f"test_{metric.key}"]} | {
        end: row[f"test_{metric.key}_{end}"] for end in ("low", "high")
    }
    gains: dict[str, float] = {}
    baselines = study.ranked(study.baselines or study.published)
    if baselines and best not in baselines:
        gap = study.against(best, metric.key, size)[baselines[0]]
        ends = [metric.sign * end for end in (gap.low, gap.high)]
        gains = {"gain_over_baseline": metric.sign * gap.difference, "gain_low": min(ends)}
    gains["twice_the_tracks"] = advice(study, best).options[0].gain
    gains["hours"] = study.runs["seconds"].sum() / 3600
    return {"best": {"model": best} | _known(numbers)} | _known(gains)


def _known(numbers: dict[str, float]) -> dict[str, float]:
    """Those of the numbers that are known, four decimals each."""
    return {key: round(float(number), 4) for key, number in numbers.items() if not np.isnan(number)}


def _row(study: Study, model: str) -> dict[Any, Any]:
    """The model's row of the comparison at the largest size."""
    rows = study.comparison
    row: dict[Any, Any] = rows[(rows["model"] == model) & (rows["size"] == study.largest)].to_dict("records")[0]
    return row


def _guessing(study: Study, model: str) -> str:
    """What guessing gets where the model has its score; "" where the metric says nothing of it."""
    if study.main is not PR_AUC:
        return ""
    tags = tag_scores(study, study.largest)
    scored = tags[(tags["model"] == model) & tags[PR_AUC.key].notna()]
    return f"Guessing has {PR_AUC.words(float(scored[GUESS].mean()))}."


def _chosen(study: Study) -> bool:
    """Whether the validation part has a score to choose the recommended model by."""
    return bool(study.scores(study.main.key, study.largest, "valid").notna()[study.recommended])


def _named(study: Study, models: list[str]) -> str:
    """The models with their test scores, no more than `NAMED` by name."""
    return listed([f"{label_of(model)} ({_words(study, model)})" for model in models], NAMED)


def _words(study: Study, model: str) -> str:
    """The model's test score as tables print it."""
    return study.main.words(float(study.scores(study.main.key, study.largest)[model]))


def _is(models: list[str]) -> str:
    return "is" if len(models) == 1 else "are"
