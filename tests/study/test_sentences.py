"""What the report says of a study, held against the study's tables: sentences of many made-up studies, checked by rule.

The studies are those of made_studies.py. Each rule is what a reader takes a sentence to mean; none asks the code that
wrote the sentence.
"""

import re
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from study.made_studies import POOL, made_study
from tagscale.evaluation.metrics import METRICS, Metric, shown_in
from tagscale.models.spec import label_of
from tagscale.study.answers import answers, headline
from tagscale.study.verdict import Verdict, conclude

pytestmark = pytest.mark.slow
NUMBERS = (3, 14, 74, 78, 79, 100, 127, 133, 134, 136, 138, 139, 147, 148, 158)  # of 180 those that say most
NAMES = {label_of(model).lower(): model for model in POOL}
NAME = f"({'|'.join(re.escape(name) for name in sorted(NAMES, key=len, reverse=True))})"
COUNT = r"([\d,]+)"
CERTAIN = {"beats": 1, "loses to": -1}
SURE = re.compile(r"\b(beats|loses to|is better|are better|Better than|Certain|gains most)\b")


class Told:
    """A study and all that is said of it."""

    def __init__(self, number: int) -> None:
        self.study = study = made_study(number)
        self.verdict: Verdict = conclude(study, 40, max(study.artists, 1))
        self.answers = answers(study)
        self.first = [f"{one.answer} {' '.join(one.reasons)}".strip() for one in self.answers]
        self.trends = [words for words in self.verdict.trends if words.split(":")[0] in LABELS]
        self.all = [*self.first, *self.verdict.findings, *self.verdict.trends, *self.verdict.certainty]

    def score(self, model: str, metric: Metric, size: str, part: str = "test") -> float:
        rows = self.study.runs
        rows = rows[(rows["model"] == model) & (rows["size"] == size)]
        return float(rows[f"{part}_{metric.key}"].mean())

    def lead(self, first: str, second: str, metric: Metric, size: str) -> float:
        """By how much the first is better, in the good direction."""
        return metric.sign * (self.score(first, metric, size) - self.score(second, metric, size))


LABELS = {metric.label: metric for metric in shown_in("scores")}


@pytest.fixture(scope="module")
def everything() -> list[Told]:
    return [Told(number) for number in NUMBERS]


def model_of(name: str) -> str:
    return NAMES[name.lower()]


def sizes_in(text: str) -> list[int]:
    return [int(size.replace(",", "")) for size in re.findall(r"\d[\d,]*", text.replace(", ", " "))]


def claims(told: Told) -> Iterator[tuple[str, str, Metric, str, int]]:
    """(first, second, metric, size, claim): 1 the first is better, -1 worse, beyond chance; 0 they are level."""
    study, main = told.study, told.study.main
    for sentence in told.verdict.findings:
        label = sentence.split(":")[0]
        metric = LABELS.get(label, main)
        for first, verb, second in re.findall(rf"{NAME} (beats|loses to) {NAME}\b", sentence, re.I):
            yield model_of(first), model_of(second), metric, study.largest, CERTAIN[verb]
        for first, second in re.findall(rf"{NAME} and {NAME} are level", sentence, re.I):
            yield model_of(first), model_of(second), metric, study.largest, 0
        for words in re.findall(rf"(?:beats|loses to|is level with) the {NAME} baseline", sentence, re.I):
            verb = re.search(r"(beats|loses to|is level with) the ", sentence)
            yield study.front_end, model_of(words), metric, study.largest, CERTAIN.get(verb[1], 0) if verb else 0
    best, how_sure, enough = study.recommended, *(told.answers[place].answer for place in (1, 2))
    for name in re.findall(rf"{NAME} \(", how_sure, re.I):
        yield best, model_of(name), main, study.largest, -1 if how_sure.startswith("Not sure") else 0
    if how_sure.startswith("Certain"):
        for other in study.everyone:
            if other != best:
                yield best, other, main, study.largest, 1
    for name in re.findall(rf"the {NAME} (?:baseline|encoder)", enough, re.I):
        if not enough.startswith("Not shown: it is ahead") and study.intervals:
            claim = {"B": 1, "No:": -1, "Not": 0}[next(key for key in ("B", "No:", "Not") if enough.startswith(key))]
            yield best, model_of(name), main, study.largest, claim
    for sentence in told.trends:
        metric = LABELS[sentence.split(":")[0]]
        for name, sizes in re.findall(rf"{NAME} is better (?:than [\w -]+? )?at ([\d, and]+) tracks", sentence, re.I):
            for size in sizes_in(sizes):
                other = next(model for model in pair_of(sentence, told) if model != model_of(name))
                yield model_of(name), other, metric, str(size), 1
        for sizes in re.findall(r"(?:they|\w) are level at ([\d, and]+) tracks", sentence):
            for size in sizes_in(sizes):
                yield *pair_of(sentence, told), metric, str(size), 0


def pair_of(sentence: str, told: Told) -> tuple[str, ...]:
    """The two models of a sentence on the training size; where it names one alone, the other is the next front-end."""
    named = list(dict.fromkeys(model_of(name) for name in re.findall(NAME, sentence, re.I)))
    assert len(named) <= 2
    if len(named) < 2:
        front_ends = told.study.ranked(told.study.front_ends or told.study.networks or told.study.everyone)
        named = list(front_ends[:2])
    return tuple(named)


@pytest.mark.slow
def test_a_pair_has_one_relation_wherever_it_is_named(everything: list[Told]) -> None:
    count = 0
    for told in everything:
        known: dict[tuple[str, str, str, str], int] = {}
        for first, second, metric, size, claim in claims(told):
            assert {first, second} <= set(told.study.everyone)
            key, way = ((first, second), 1) if first < second else ((second, first), -1)
            relation = known.setdefault((*key, metric.key, size), way * claim)
            assert relation == way * claim, (first, second, size, told.all)
            count += 1
        best = told.study.comparison.set_index(["model", "size"])["best"].str.split()
        for (first, second, metric, size), relation in known.items():
            ahead, behind = (first, second) if relation > 0 else (second, first)
            scores = METRICS[metric].sign * told.study.scores(metric, size)
            if scores[ahead] == scores.max() and relation:
                assert metric not in best[behind, size], (behind, metric, size, told.all)
    assert count > 80


def test_better_is_beyond_chance_and_level_is_not_far_from_it(everything: list[Told]) -> None:
    """By a paired t test over artists of its own: the seeds can but add to that error."""
    certain = 0
    for told in everything:
        study, rows = told.study, told.study.resamples
        for first, second, metric, size, claim in claims(told):
            words = [metric.words(told.score(model, metric, size)) for model in (first, second)]
            if not claim:
                continue
            assert study.intervals
            assert words[0] != words[1], (first, second, size, told.all)
            assert claim * told.lead(first, second, metric, size) > 0, (first, second, size, told.all)
            of_size = rows[rows["size"] == size].groupby(["model", "resample"])[metric.key].mean()
            spread = (of_size[first] - of_size[second]).std(ddof=0) * np.sqrt(study.artists / (study.artists - 1))
            reach = stats.t.ppf(0.975, study.artists - 1) * spread
            assert abs(told.lead(first, second, metric, size)) > 0.85 * reach - 5e-4, (first, second, size, told.all)
            certain += 1
    assert certain > 50


def test_without_intervals_nothing_is_certain_and_nothing_is_in_brackets(everything: list[Told]) -> None:
    without = [told for told in everything if not told.study.intervals]
    for told in without:
        for sentence in told.all:
            assert not re.search(r"\[|Brackets", sentence), sentence
            assert not SURE.search(sentence.replace("which is better", "")), sentence
    assert len(without) > 3


def test_the_model_that_is_named_was_chosen_on_validation(everything: list[Told]) -> None:
    for told in everything:
        study, metric = told.study, told.study.main
        valid = {model: told.score(model, metric, study.largest, "valid") for model in study.everyone}
        best = told.answers[0].answer.rstrip(".").lower()
        if best.startswith("none"):
            assert np.isnan(list(valid.values())).all()
            assert not any(SURE.search(one) for one in told.first)
            continue
        assert metric.sign * valid[NAMES[best]] == max(metric.sign * value for value in valid.values())
        for name, _, score in re.findall(rf"it is {NAME} (\()(0\.\d+|1\.0+)", told.first[0], re.I):
            front = {model: valid[model] for model in study.front_ends}
            assert metric.sign * front[model_of(name)] == max(metric.sign * value for value in front.values())
            assert metric.words(front[model_of(name)]) == score


def test_numbers_are_the_tables(everything: list[Told]) -> None:
    count = 0
    for told in everything:
        study, metric = told.study, told.study.main
        table = study.comparison[study.comparison["size"] == study.largest].set_index("model")
        main = [words for words in told.verdict.findings if words.split(":")[0] not in LABELS]
        for sentence in [*told.first[1:3], *main]:
            for name, score in re.findall(rf"{NAME}(?: baseline| encoder)? \((\d\.\d+)\)", sentence, re.I):
                assert score == metric.words(table.loc[model_of(name), f"test_{metric.key}"]), sentence
                count += 1
        row = table.loc[study.recommended]
        for score, low, high in re.findall(r"is (\d\.\d+) \[(\d\.\d+), (\d\.\d+)\]", told.first[1]):
            ends = [metric.words(row[f"test_{metric.key}{end}"]) for end in ("", "_low", "_high")]
            assert [score, low, high] == ends
        numbers = headline(study)["best"]
        assert numbers["model"] == study.recommended
        if metric.key in numbers:
            assert numbers[metric.key] == round(row[f"test_{metric.key}"], 4)
            assert study.intervals == ("low" in numbers)
        for differences in re.findall(r"\[(-?\d\.\d+), (-?\d\.\d+)\]", " ".join(told.all)):
            assert all(-1 <= float(end) <= 1 for end in differences)
    assert count > 10


def test_the_difference_of_level_models_is_the_first_score_less_the_second(everything: list[Told]) -> None:
    count, pattern = 0, r"level, a difference of (-?\d\.\d+)(?: \[([^,]+), ([^]]+)\])?, (\d\.\d+) and (\d\.\d+)"
    for told in (*everything, Told(15), Told(19)):  # two where the metric is an error
        for difference, low, high, first, second in re.findall(pattern, " ".join(told.verdict.findings)):
            assert float(difference) == pytest.approx(float(first) - float(second), abs=0.0011)
            assert float(low or difference) <= float(difference) <= float(high or difference)
            count += 1
    assert count >= 4


def test_no_measured_score_is_on_the_other_side_of_what_is_said_of_the_size(everything: list[Told]) -> None:
    crossings = 0
    for told in everything:
        sizes = sorted(told.study.runs["train_tracks"].unique())
        for sentence in told.trends:
            metric, (one, two) = LABELS[sentence.split(":")[0]], pair_of(sentence, told)

            def ahead(model: str, size: int, metric=metric, pair=(one, two), told=told) -> bool:
                other = pair[1] if model == pair[0] else pair[0]
                return told.lead(model, other, metric, str(size)) >= -1e-9

            words = rf"{NAME} overtakes {NAME} between {COUNT} and {COUNT}"
            for after, before, low, high in re.findall(words, sentence, re.I):
                crossings += 1
                for size in sizes:
                    assert size > value(low) or ahead(model_of(before), size), sentence
                    assert size < value(high) or ahead(model_of(after), size), sentence
            if "No overtaking is in sight" in sentence:
                leader = model_of(re.findall(rf"{NAME} is better (?:than [\w -]+? )?at", sentence, re.I)[0])
                assert all(ahead(leader, size) for size in sizes), sentence
            for name, side, end in re.findall(rf"{NAME} is better (up to|from) {COUNT} tracks", sentence, re.I):
                for size in sizes:
                    inside = size <= value(end) if side == "up to" else size >= value(end)
                    assert not inside or ahead(model_of(name), size), sentence
    assert crossings > 4


def value(text: str) -> float:
    return float(text.replace(",", ""))


def test_sizes_and_models_that_are_named_are_in_the_study(everything: list[Told]) -> None:
    for told in everything:
        sizes = set(told.study.runs["train_tracks"])
        for sentence in told.verdict.trends:
            for named in re.findall(r"(?:better|ahead|level)[\w -]*? at ([\d, and]+) tracks", sentence):
                assert set(sizes_in(named)) <= sizes, sentence
        for sentence in told.all:
            for name in re.findall(rf"\b{NAME}\b(?! encoder| model)", re.sub("`[^`]*`", "", sentence), re.I):
                assert model_of(name) in told.study.everyone or name in ("ensemble", "descriptors"), sentence


def test_counts_agree_with_their_nouns_and_nothing_is_left_blank(everything: list[Told]) -> None:
    nouns = "track|artist|tag|model|seed|size|comparison|time|look|baseline|encoder|resample"
    for told in everything:
        for sentence in told.all:
            assert not re.search(rf"(?<![\d.,])1 (?!of)(\w+ ){{0,2}}({nouns})s\b", sentence), sentence
            assert not re.search(r"\bnan\b|\bNone\b(?! of|:)|–|  |-0\.0+\b(?!\d)|\.\.|±0\.00 ", sentence), sentence
            assert sentence[0].isupper() or sentence[0] in "√", sentence
            assert sentence.rstrip().endswith((".", "]")), sentence
